"""Connections that come and go: the program runs, and says what it found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parent.parent / "churn.py"


def test_nothing_is_left_of_connections() -> None:
    """After connections of all kinds, over every transport, both processes are as before."""
    ended = subprocess.run(
        [sys.executable, str(PROGRAM), "--seconds", "0.7", "--visitors", "8", "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    told = json.loads(ended.stdout)
    assert [] == told["broken"], ended.stderr
    assert 0 == ended.returncode
    assert {"tcp", "tls", "ws", "wss", "quic"} == told["per_second"].keys()
    assert all(rate > 0 for rate in told["per_second"].values())
