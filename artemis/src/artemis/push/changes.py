"""What a change looks like on the wires: the Java one and our own (spec 1.4, 3.3, design 6).

Contents are JSON already, so a change is put together, never encoded anew.
Not here: which changes there are; see `log`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from artemis.model import Instance, decode, encode, encode_canonical
from artemis.model.changes import CHANGE, DELETE, NEW, RELOAD


class SeenChange(NamedTuple):
    """One instance that callers see differently: when (wall clock, ms), `new`, `change` or `delete`, and its JSON.

    Of a deleted one it is the content seen last, or only the ids when that is not known any more.
    """

    at: int
    kind: str
    content: bytes


def deleted_instance(region: str, service: str, instance: str) -> bytes:
    """Return the JSON of an instance of which only the ids are known."""
    return encode_canonical(Instance(region_id=region, service_id=service, instance_id=instance))


def reload_instance(service: str) -> bytes:
    """Return the JSON of the fake instance that a reload is pushed with (spec 1.4)."""
    return encode(service).join(_RELOAD)


def java_change(service: str, change: SeenChange, cursor: str | None) -> bytes:
    """Return one InstanceChange as Java clients take it: service id in lower case, `new` also for other content."""
    kind = NEW if change.kind == CHANGE else change.kind
    content = change.content if kind == RELOAD else lowered(change.content, service)
    return _change(change.at, kind, content, b"" if cursor is None else b'"cursor":"%b",' % cursor.encode())


def native_message(
    service: str, changes: Sequence[SeenChange], cursor: str | None, *, full: bool = False, region: str = ""
) -> bytes:
    """Return the changes of one service as one message of our own: `service_change` with a list.

    `region` is that of a copy, empty for the node's own.
    """
    name = encode(service)
    return b'{"type":"service_change","service_id":%b,"serviceId":%b,%b"cursor":%b,"fullSync":%b,"changes":%b}' % (
        name,
        name,
        b'"regionId":%b,' % encode(region) if region else b"",
        encode(cursor),
        b"true" if full else b"false",
        changes_json(changes),
    )


def changes_json(changes: Sequence[SeenChange]) -> bytes:
    """Return changes as a JSON list of InstanceChange objects, the content as it is shown to callers."""
    return b"[%b]" % b",".join([_change(change.at, change.kind, change.content, b"") for change in changes])


def reload_change(service: str, at: int) -> SeenChange:
    """Return the change that tells to look a service up again."""
    return SeenChange(at, RELOAD, reload_instance(service))


def lowered(content: bytes, service: str) -> bytes:
    """Return the canonical JSON of an instance with its service id in lower case, which is `service` (spec 9.5)."""
    # What follows the id in canonical order has no names of its own, so the last mark is the field of the instance.
    at = content.rfind(_SERVICE_MARK) + len(_SERVICE_MARK)
    if content.startswith(encode(service), at):
        return content
    instance = decode(Instance, content)
    assert instance is not None  # noqa: S101 - the JSON is ours and an object
    return encode_canonical(msgspec.structs.replace(instance, service_id=service))


def _change(at: int, kind: str, content: bytes, cursor: bytes) -> bytes:
    return b'{"changeTime":%d,"changeType":"%b",%b"instance":%b}' % (at, kind.encode(), cursor, content)


EVERYTHING = "*"
"""In place of a service: all of them."""

_SERVICE_MARK = b'"serviceId":'

_RELOAD = encode_canonical(
    Instance(service_id=EVERYTHING, instance_id="reload", ip="0.0.0.0", url="http://serviceId/reload")  # noqa: S104
).split(encode(EVERYTHING))

__all__ = [
    "CHANGE",
    "DELETE",
    "EVERYTHING",
    "NEW",
    "RELOAD",
    "SeenChange",
    "changes_json",
    "deleted_instance",
    "java_change",
    "lowered",
    "native_message",
    "reload_change",
    "reload_instance",
]
