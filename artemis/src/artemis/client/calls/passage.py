"""What goes with a request beside its body: trace context on the way out, and on the way back what carried it.

It is there only while somebody watches (`artemis.client.telemetry`), so transports that know nothing of it work too.
Not here: what the headers say.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class Passage:
    """One request on its way. ``headers``: names in lower case, as ``traceparent``, to values in ASCII.

    ``via`` is what carried it: ``http``, or what the transport says instead, the value of a `LinkKind`.
    """

    headers: Mapping[str, str]
    via: str = "http"


PASSAGE: ContextVar[Passage | None] = ContextVar("artemis-passage", default=None)
"""The passage of the request that is being sent; None while nobody watches."""


def ext_options(passage: Passage | None) -> bytes:
    """Return the headers as options of an ext header (docs/protocol.md): ``name=value`` joined by ``;``.

    Those that do not fit the form are left out: values with a ``;``, and what is not ASCII.
    """
    if passage is None or not passage.headers:
        return b""
    pairs = [f"{name}={value}" for name, value in passage.headers.items() if ";" not in name + value]
    return ";".join([pair for pair in pairs if pair.isascii()]).encode("ascii")
