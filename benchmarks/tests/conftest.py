"""The benchmarks are programs in a folder, not a package: tests import their modules from there."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
