"""Where a nats-server is."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def nats_server() -> str | None:
    """The command: beside this Python, where `make bench` puts it, or on the PATH; None without one."""
    own = str(Path(sys.executable).parent)
    return shutil.which("nats-server", path=os.pathsep.join((own, os.environ.get("PATH", os.defpath))))
