"""Keeps entries that nobody can use out of what nodes show, and tells of them once.

Knows no network and keeps nothing but counts. Answers that make no sense as a whole never come here; see
`artemis.client.calls.answers`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from artemis.client.names import service_key
from artemis.client.telemetry.logs import fields

if TYPE_CHECKING:
    from collections.abc import Iterable
    from logging import Logger

    from artemis.model import Instance, Service


class Sieve:
    """Drops services without an id, and instances without an id or a url, or of no or another service (spec 1.3).

    The first of each node is logged, the others are only counted. Remembers one name for each node.
    """

    def __init__(self, logger: Logger) -> None:
        self.dropped = 0
        """How many entries were dropped so far; one that comes with every answer counts each time."""
        self._logger = logger
        self._told: set[str] = set()

    def services(self, node: str, services: Iterable[Service | None]) -> list[Service]:
        """Return the usable part of what ``node`` shows, in its order."""
        usable: list[Service] = []
        for service in services:
            key = "" if service is None else service_key(service.service_id)
            if service is None or not key:
                self._drop(node, 1, "services without an id")
            else:
                usable.append(self._service(node, key, service))
        return usable

    def instance(self, node: str, service_id: str, instance: Instance) -> bool:
        """Say whether an instance that ``node`` tells of is usable as one of a service, by its id in lower case."""
        usable = _is_usable(instance, service_id)
        if not usable:
            self._drop(node, 1, f"instances without an id, url or service, as of {service_id!r:.80}")
        return usable

    def _service(self, node: str, key: str, service: Service) -> Service:
        shown = service.instances or []
        kept = [one for one in shown if one is not None and _is_usable(one, key)]
        if len(kept) == len(shown):
            return service
        self._drop(
            node, len(shown) - len(kept), f"instances without an id, url or service, as of {service.service_id!r:.80}"
        )
        return msgspec.structs.replace(service, instances=kept)

    def _drop(self, node: str, count: int, what: str) -> None:
        self.dropped += count
        if node not in self._told:
            self._told.add(node)
            extra = fields("entries-dropped", node=node, reason=what, count=count)
            self._logger.warning(
                "%s shows %s; they are left out, and from here on only counted", node, what, extra=extra
            )


def _is_usable(instance: Instance, key: str) -> bool:
    return bool(
        service_key(instance.service_id) == key
        and (instance.instance_id or "").strip()
        and (instance.url or "").strip()
    )
