"""Which instances a caller asks for: by zone, group, status, address and metadata. An addition to the originals.

Not here: going through instances (`queries`), and views of what is selected (`narrowing`).
"""

from collections.abc import Mapping

import msgspec

METADATA = "metadata."
"""What the name of a condition on a metadata entry starts with; the rest is the entry's key, letter case included."""

DEFAULT_GROUP = "default"
"""The group of an instance that names none (spec 1.3)."""


class _Marks(msgspec.Struct, rename="camel", gc=False):
    group_id: str | None = None
    ip: str | None = None
    metadata: dict[str, str | None] | None = None
    status: str | None = None
    zone_id: str | None = None


_MARKS = msgspec.json.Decoder(_Marks)


class Selection(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Conditions that must all hold; None is no condition. Texts are in lower case, metadata is compared exactly."""

    zone: str | None = None
    group: str | None = None
    status: str | None = None
    ip: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        """Tell whether there is any condition."""
        return self != EVERYTHING

    def matches(self, content: bytes) -> bool:
        """Tell whether an instance, as JSON, is selected."""
        marks = _MARKS.decode(content)
        metadata = marks.metadata or {}
        return (
            (self.zone is None or self.zone == (marks.zone_id or "").lower())
            and (self.group is None or self.group == _group(marks.group_id))
            and (self.status is None or self.status == (marks.status or "").lower())
            and (self.ip is None or self.ip == (marks.ip or "").lower())
            and all(metadata.get(key) == value for key, value in self.metadata)
        )


def _group(text: str | None) -> str:
    return (text or "").strip().lower() or DEFAULT_GROUP


EVERYTHING = Selection()


def selection(conditions: Mapping[str, str | None]) -> Selection:
    """Return the selection of named conditions: `zoneId`, `groupId`, `status`, `ip`, `metadata.KEY`.

    Others have no effect, as all of them in the originals, nor have null, and blank ones except on metadata.
    """
    texts = {name: (conditions.get(name) or "").strip().lower() for name in ("zoneId", "groupId", "status", "ip")}
    return Selection(
        zone=texts["zoneId"] or None,
        group=texts["groupId"] or None,
        status=texts["status"] or None,
        ip=texts["ip"] or None,
        metadata=tuple(
            sorted(
                (name.removeprefix(METADATA), value)
                for name, value in conditions.items()
                if name.startswith(METADATA) and value is not None
            )
        ),
    )
