"""Which instances fail so often that they are left out for a while. Pure: outcomes and the time come in.

An instance is left out after ``failures`` failed requests in a row, for ``rest`` seconds. When it returns, one more
failure leaves it out again, for twice as long as the last time and at most 32 times ``rest``; the first success ends
that. Not here: that never more than half of the instances are left out, see `choices`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from artemis.client.balancing.members import Member

DOUBLINGS = 5
"""How often the rest grows: to 32 times the first, which is 5 minutes with the default of 10 s."""


@dataclass(frozen=True, slots=True)
class OutlierRule:
    """After how many ``failures`` in a row an instance rests, and for how many seconds; ``rest`` 0 switches it off."""

    failures: int
    rest: float

    def note(self, member: Member, *, ok: bool, now: float) -> float | None:
        """Take in how a request ended; return the seconds of rest if that leaves the instance out from now on."""
        if ok:
            member.failures = 0
            if member.resting_until is None:
                member.ejections = 0
            return None
        member.failures += 1
        # One that returned after a rest is on probation: it does not get to fail so many requests again.
        allowed = 1 if member.ejections else self.failures
        if not self.rest or member.resting_until is not None or member.failures < allowed:
            return None
        rest = self.rest * (1 << min(member.ejections, DOUBLINGS))
        member.ejections += 1
        member.resting_until = now + rest
        return rest
