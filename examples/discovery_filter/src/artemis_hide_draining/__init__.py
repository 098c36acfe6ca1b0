"""A discovery filter for `artemis serve`: instances that say they are draining get no new callers.

An instance says so in its metadata, `{"draining": "true"}`, with its next registration or heartbeat; it stays
registered, and appears again when it says something else.
"""

import msgspec

from artemis.discovery import ServiceDraft

__all__ = ["HideDraining"]


class _Marks(msgspec.Struct):
    metadata: dict[str, str | None] | None = None


_MARKS = msgspec.json.Decoder(_Marks)


class HideDraining:
    """Hides instances whose metadata has `draining` with the value `true`, in any letter case."""

    name = "hide-draining"

    def apply(self, draft: ServiceDraft) -> ServiceDraft:
        """Return the service as callers are to see it."""
        kept = tuple(pair for pair in draft.instances if not _draining(pair[1]))
        return msgspec.structs.replace(draft, instances=kept)

    def explain(self, draft: ServiceDraft) -> str:
        """Say what `apply` does with the one instance of `draft`; shown by `artemis explain`."""
        draining = any(_draining(content) for _, content in draft.instances)
        return "it says that it is draining" if draining else "it does not say that it is draining"


def _draining(content: bytes) -> bool:
    # Every instance of every answer comes by here: most do not have the word, and need not be decoded.
    if b'"draining"' not in content:
        return False
    return ((_MARKS.decode(content).metadata or {}).get("draining") or "").lower() == "true"
