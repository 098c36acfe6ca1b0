"""The form of the SDK's log records, built in one place, and telemetry that writes every event of a client as one.

A record of the logger ``artemis.client`` says what happened in its message, for people, and in fields of the record
(`logging`'s ``extra``), for machines: ``logging`` itself shows none of them, a JSON formatter writes them, and
structlog takes them with ``structlog.stdlib.ExtraAdder()``. The fields, each there only when it is known:

=================== =================================================================================================
``action``          what happened, a fixed word like ``heartbeat-failed``; always there
``node``            URL of the node it was about
``operation``       as in docs/protocol.md: ``registry.heartbeat``
``service_id``      the service; ``service_ids`` if several
``instance_id``     the instance; ``instance_ids`` if several
``error``           what was raised, in words
``error_code``      that of a refusal (spec 1.2)
``reason``          why, in words
``count``           how many
``old``, ``new``    of what changed: a state, a node, a kind of link
=================== =================================================================================================

Events have further fields under their own names, see `artemis.client.events`.
Not here: where records go, which is the application's to say; the SDK configures no logging.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING

from artemis.client.connection import ConnectionState
from artemis.client.errors import RefusedError
from artemis.client.events import (
    AnswerDoubted,
    AnswerOutdated,
    DiskFailed,
    EventsMissed,
    HeartbeatFailed,
    ListenerFailed,
    LookupFailed,
    LoopFailed,
    RegistrationRefused,
    ServedFromDisk,
    StateChanged,
    WentBack,
)
from artemis.client.telemetry.contract import Telemetry
from artemis.model import Instance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artemis.client.events import ClientEvent

Value = str | int | float | bool | list[str] | None
Fields = dict[str, Value]

_LOUD = (
    AnswerDoubted
    | AnswerOutdated
    | DiskFailed
    | EventsMissed
    | HeartbeatFailed
    | ListenerFailed
    | LookupFailed
    | LoopFailed
    | RegistrationRefused
    | ServedFromDisk
    | WentBack
)
#: Names of fields that `logging` keeps for itself.
_RENAMED = {"message": "reason", "name": "subject", "args": "arguments", "module": "part"}


def fields(
    action: str,
    *,
    node: str | None = None,
    operation: str | None = None,
    service_id: str | None = None,
    service_ids: Sequence[str] | None = None,
    instance: Instance | None = None,
    error: BaseException | None = None,
    reason: str | None = None,
    count: int | None = None,
) -> Fields:
    """Return the fields of one record, for ``extra=``; what is None is left out."""
    found: Fields = {"action": action, "node": node, "operation": operation, "service_id": service_id}
    if service_ids is not None:
        found["service_ids"] = list(service_ids)
    if instance is not None:
        found |= {"service_id": instance.service_id, "instance_id": instance.instance_id}
    if error is not None:
        found |= _of_error(error)
    found |= {"reason": reason, "count": count}
    return {name: value for name, value in found.items() if value is not None}


def event_fields(event: ClientEvent) -> Fields:
    """Return the fields of an event; ``action`` is its name, as ``registration-refused``."""
    found: Fields = {"action": action_of(type(event))}
    for field in dataclasses.fields(event):
        found |= _flat(_RENAMED.get(field.name, field.name), getattr(event, field.name))
    return {name: value for name, value in found.items() if value is not None}


def action_of(event: type[object]) -> str:
    """Return the word for a kind of event: ``NodeSwitched`` is ``node-switched``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", event.__name__).lower()


class LogTelemetry(Telemetry):
    """Writes one record for each event; what needs somebody's attention as a warning, the rest as information.

    ``logger`` is ``artemis.client`` unless given. Of trouble the SDK writes the beginning and the end by itself; this
    is for who wants all that happened.
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger or logging.getLogger("artemis.client")

    def event(self, event: ClientEvent) -> None:
        """See `Telemetry.event`."""
        alarming = isinstance(event, _LOUD)
        if isinstance(event, StateChanged):
            alarming = event.new is not ConnectionState.CONNECTED
        level = logging.WARNING if alarming else logging.INFO
        if self._logger.isEnabledFor(level):
            extra = event_fields(event)
            words = " ".join(f"{name}={value!r}" for name, value in extra.items() if name != "action")
            self._logger.log(level, "%s: %s", extra["action"], words, extra=extra)


def _flat(name: str, value: object) -> Mapping[str, Value]:
    """Return what a field of an event looks like in a record."""
    match value:
        case Instance():
            return {"service_id": value.service_id, "instance_id": value.instance_id}
        case BaseException():
            return _of_error(value)
        case Enum():
            return {name: str(value.value)}
        case str() | int() | float() | bool() | None:
            return {name: value}
        case tuple() | list() | frozenset() | set() if any(isinstance(each, Instance) for each in value):
            ids = [str(each.instance_id) for each in value if isinstance(each, Instance)]
            return {"instance_ids": ids, "count": len(ids)}
        case tuple() | list() | frozenset() | set():
            return {name: [str(each) for each in value]}
        case _:
            return {name: str(value)}


def _of_error(error: BaseException) -> Fields:
    words = str(error) or type(error).__name__
    if isinstance(error, RefusedError):
        return {"error": words, "error_code": error.error_code, "node": error.node}
    return {"error": words}
