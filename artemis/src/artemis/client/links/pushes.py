"""What a node pushes, read: bytes come in, a `Push` goes out, or `GarbledPush`. Pure.

Not here: what a push means for a view, see `artemis.client.discovery`; how its bytes arrive, see the modules beside.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from artemis.client.links.link import Change, Push
from artemis.client.names import service_key
from artemis.model import Instance, InstanceChange, MalformedBody, decode

MAX_PUSH: Final = 4 * 1024 * 1024
"""Bytes of one push that are read, four times what a node sends at most: reading one must not hold up the loop."""

MAX_CHANGES: Final = 10_000
"""Changes of one push that are read; where there are more, the service is looked up instead."""

_SEPARATORS: Final = 20
"""Commas per change from which on a push is told to have too many before it is read: an instance has about ten."""

_KINDS: Final = frozenset({"new", "change", "delete"})

MessageT = TypeVar("MessageT", bound=msgspec.Struct)


class GarbledPush(Exception):  # noqa: N818 - an outcome that never leaves the SDK, not an error for its users
    """What came is no push of a registry; the text says why in words for people."""


class PushMessage(msgspec.Struct, rename="camel", gc=False, kw_only=True):
    """A push over MsgTrans or of a long poll, as on the wire (docs/protocol.md, docs/push.md)."""

    service_id: str | None = None
    cursor: str | None = None
    full_sync: bool = False
    changes: list[InstanceChange | None] | None = None


class _Envelope(msgspec.Struct, rename="camel", gc=False, kw_only=True):
    """A push without its changes, which are skipped."""

    service_id: str | None = None
    cursor: str | None = None


def read_push(raw: bytes | memoryview, service_id: str | None = None) -> Push:
    """Read a ``service_change``; `service_id` is the service where the message does not name it, as of a long poll.

    One of more than ``MAX_CHANGES`` is a reload, and several reloads of one service are one. Raises ``GarbledPush``.
    """
    if len(raw) <= MAX_PUSH and bytes(raw).count(b",") > MAX_CHANGES * _SEPARATORS:
        envelope = _decoded(_Envelope, raw)
        return _reload(_named(service_id or envelope.service_id), envelope.cursor)
    message = _decoded(PushMessage, raw)
    service = _named(service_id or message.service_id)
    if message.changes is None:
        raise GarbledPush("a push without a list of changes")
    if len(message.changes) > MAX_CHANGES:
        return _reload(service, message.cursor)
    changes: list[Change] = []
    reloaded: set[str] = set()
    for one in message.changes:
        name = service_key(one.instance.service_id) if one is not None and one.instance is not None else ""
        if not _says(one):
            if name in reloaded:
                continue
            reloaded.add(name)
        changes.append(_change(service, one))
    return Push(service, tuple(changes), _positioned(message.cursor), message.full_sync)


def read_instance_change(raw: bytes | str) -> Push:
    """Read one ``InstanceChange``, the push of a Java node (spec 3.3): it has no cursor that one could go on from.

    Raises ``GarbledPush``.
    """
    change = _decoded(InstanceChange, raw.encode() if isinstance(raw, str) else raw)
    service = service_key(change.instance.service_id) if change.instance is not None else ""
    if not service:
        raise GarbledPush("a change that names no service")
    return Push(service, (_change(service, change),))


def _named(service_id: str | None) -> str:
    service = service_key(service_id)
    if not service:
        raise GarbledPush("a push that names no service")
    return service


def _positioned(cursor: str | None) -> str:
    if not cursor:
        raise GarbledPush("a push without a cursor")
    return cursor


def _reload(service: str, cursor: str | None) -> Push:
    return Push(service, (Change("reload", Instance(service_id=service), 0),), _positioned(cursor))


def _decoded(struct: type[MessageT], raw: bytes | memoryview) -> MessageT:
    if len(raw) > MAX_PUSH:
        raise GarbledPush(f"a push of {len(raw)} bytes; {MAX_PUSH} are the most")
    try:
        message = decode(struct, raw)
    except MalformedBody as error:
        raise GarbledPush(f"a push that cannot be read ({error})") from error
    if message is None:
        raise GarbledPush("a push that is null")
    return message


def _says(change: InstanceChange | None) -> bool:
    """Whether it says what happened; one of a kind not known here, or without its instance, does not."""
    return change is not None and change.instance is not None and (change.change_type or "").lower() in _KINDS


def _change(service: str, change: InstanceChange | None) -> Change:
    """Return the change; one that does not say what happened says: look the service up again."""
    instance = change.instance if change is not None else None
    if change is None or instance is None or not _says(change):
        return Change("reload", instance or Instance(service_id=service), change.change_time if change else 0)
    return Change((change.change_type or "").lower(), instance, change.change_time)
