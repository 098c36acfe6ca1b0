"""Upgrades to a version that there is not yet, to be tried out: what a node says it speaks of the messages.

Not an option, and nothing for operation: a node that claims a version it does not speak is as good as its claim only as
long as all others claim the same. The tests of upgrades start nodes of a next version by it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from artemis.cluster.messages import SPOKEN, Versions

CLAIM = "ARTEMIS_TRIAL_PROTOCOLS"
"""The variable: `1-2` for versions 1 and 2, `2-2` for version 2 alone."""

_RANGE = re.compile(r"(\d{1,4})-(\d{1,4})")


def spoken_versions(environment: Mapping[str, str]) -> Versions:
    """Return the versions that a node says it speaks; those of this release unless there is a claim."""
    claimed = _RANGE.fullmatch(environment.get(CLAIM, ""))
    return SPOKEN if claimed is None else Versions(int(claimed[1]), int(claimed[2]))
