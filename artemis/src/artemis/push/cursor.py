"""Cursors as a node gives them: its position as text, made anew when it has moved (design 4.1).

Not here: what a cursor is and how it is written; see `artemis.model.cursors`.
"""

from artemis.model.cursors import MESH, Cursor, Origin, encode_cursor
from artemis.registry import Registry


class Positions:
    """The cursor of a node, or with another `kind` that of a copy it has. Owned by the node, or the copy.

    It is asked for with every answer, so it is compared, not made, while nothing has changed.
    """

    __slots__ = ("_ahead", "_base", "_kind", "_registry", "_text", "_vector", "_version")

    def __init__(self, registry: Registry, kind: str = MESH) -> None:
        self._registry = registry
        self._kind = kind
        self._vector: dict[Origin, int] | None = None
        self._base: dict[str, int] = {}
        self._ahead: dict[Origin, int] = {}
        self._version = 0
        self._text = ""

    def text(self, version: int) -> str:
        """Return the cursor of now, when the catalog has `version`; the same object as long as nothing has changed."""
        registry = self._registry
        vector, ahead = registry.position()
        if version != self._version or vector != self._vector or registry.base != self._base or ahead != self._ahead:
            self._version = version
            self._vector, self._base, self._ahead = dict(vector), dict(registry.base), dict(ahead)
            self._text = encode_cursor(
                Cursor(
                    kind=self._kind,
                    name=registry.region,
                    vector=self._vector,
                    base=self._base,
                    ahead=self._ahead,
                    issuer=registry.origin,
                    version=version,
                )
            )
        return self._text
