"""What the commands end with; part of their contract with scripts. Nothing here acts."""

from typing import Final

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
UNREACHABLE: Final = 3
