"""When a process counts as healthy: what its checks said in a row, against thresholds.

Pure. Making the checks is the business of `artemis.cli.run_checks`.
"""

from __future__ import annotations


class Health:
    """Begins as not healthy; ``healthy`` passed checks in a row make it so, ``unhealthy`` failed ones end it."""

    def __init__(self, *, healthy: int = 1, unhealthy: int = 3) -> None:
        self._needed = {True: healthy, False: unhealthy}
        self._in_a_row = 0
        self.good = False
        """Whether it counts as healthy."""
        self.ever = False
        """Whether it ever did."""
        self.reason = "not checked yet"
        """What the last failed check said."""

    def heard(self, reason: str) -> bool:
        """Take in a check, empty for passed, else why it failed; return whether ``good`` changed by it."""
        passed = not reason
        self.reason = reason or self.reason
        if passed == self.good:
            self._in_a_row = 0
            return False
        self._in_a_row += 1
        if self._in_a_row < self._needed[passed]:
            return False
        self._in_a_row = 0
        self.good = passed
        self.ever = self.ever or passed
        return True
