"""Which instances stay in a view although a whole answer does not show them: a registry that lost its memory loses
leases, not instances, and callers that believed it would have nobody left to call.

Pure: what was shown, what is reported and the time come in, what stays and until when goes out. It doubts answers that
show everything there is; changes that a node tells one by one never come here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artemis.client.names import Key


@dataclass(frozen=True, slots=True)
class Guard:
    """See ``guard_share`` and ``guard_hold`` (seconds) of `ClientOptions`; either 0 switches it off."""

    share: float
    hold: float

    def doubts(self, shown: int, reported: int, kept: int, *, most: int = 0, broken: bool = False) -> bool:
        """Say whether an answer with ``reported`` instances is doubted where ``shown`` were there before.

        ``kept`` of them are among the reported. ``most`` are as many as there were lately: what is lost in several
        answers is lost as well.

        - An empty one always is, if there was any instance, and one with fewer than the share of those before.
        - So is one that is smaller and keeps fewer than the share, whoever else it shows. If it is not smaller, it is
          believed: that is how it looks when all instances were replaced.
        - So is any if the sequence is ``broken``: the node does not know the position that it was asked to go on from.
          Its past is lost or another one, and those who are alive may only be about to register again.
        """
        if not self.share or not self.hold or not shown:
            return False
        if broken or reported == 0 or reported < self.share * max(shown, most):
            return True
        return kept < self.share * shown and reported < shown

    def held(
        self,
        shown: Mapping[Key, object],
        reported: Mapping[Key, object],
        held: Mapping[Key, float],
        now: float,
        *,
        most: int = 0,
        broken: bool = False,
    ) -> dict[Key, float]:
        """Return what stays of ``shown`` although it is not ``reported``, and until when (monotonic seconds).

        ``shown`` includes what is ``held`` already. Its time is not prolonged by further answers that leave it out.
        """
        kept = sum(key in reported for key in shown)
        doubted = self.doubts(len(shown), len(reported), kept, most=most, broken=broken)
        stays: dict[Key, float] = {}
        for key in shown:
            if key not in reported:
                until = held.get(key, now + self.hold if doubted else now)
                if until > now:
                    stays[key] = until
        return stays

    def reason(self, shown: int, kept: int, age: float) -> str:
        """Return why an answer is doubted that shows ``kept`` of those before, and what to do, for people."""
        return (
            f"the registry shows {kept} of the {shown} instances that it showed {age:.0f} s ago, and has not told "
            f"that the others went; they are kept for up to {self.hold:g} s. If they really went, nothing has to be "
            "done. Otherwise the registry may have lost leases: `artemis status` shows since when its node runs, and "
            "whatever is alive registers again by itself"
        )
