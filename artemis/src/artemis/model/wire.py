"""What all wire structs have in common: the base class and the integer ranges of the Java originals (spec 1.1).

Not here: reading and writing, see `codec`.
"""

from typing import Annotated

import msgspec

Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
"""A Java `int`: absent or null is 0."""

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""A Java `long`: absent or null is 0."""


class WireStruct(msgspec.Struct, gc=False, rename="camel", forbid_unknown_fields=True):
    """Base of everything on the wire.

    Fields are declared in the alphabetical order of their JSON names, so that output is alphabetical as in the
    original, and every field is written, nulls too. Unknown names are forbidden here so that the strict decoder notices
    them; `codec.decode` then takes its tolerant path, which ignores them or finds them in another letter case.
    Wire structs never refer back to their owner, so the garbage collector need not look at them.
    """


def in_camel_case(name: str) -> str:
    """Return the name of a field as it is on the wire."""
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)
