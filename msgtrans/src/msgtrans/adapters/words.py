"""What a peer said, as it may be shown: its words reach terminals, logs and the texts of errors.

Not here: what the words mean.
"""

from __future__ import annotations

from typing import Final

LONGEST: Final = 200
"""Characters that are shown."""


def printable(words: str) -> str:
    """At most `LONGEST` characters of it; "?" for what is not printable, as line ends and control sequences."""
    cut = words if len(words) <= LONGEST else words[: LONGEST - 1] + "…"
    return cut if cut.isprintable() else "".join(one if one.isprintable() else "?" for one in cut)
