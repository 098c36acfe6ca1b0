"""The discovery client of the SDK (spec 9.5): look up once, subscribe, then follow what is pushed.

Not here: route rules, which the SDK computes for the application from what it was given (spec 5.3).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

from artemis.testing.java.addresses import Addresses
from artemis.testing.java.beans import Bean, Json, child, children, discovery_config, instance_key, jackson, parse
from artemis.testing.java.calls import Calls
from artemis.testing.java.deadlines import Deadlines, Kind
from artemis.testing.java.http import CallFailedError
from artemis.testing.java.session import Session
from artemis.testing.java.settings import JavaSettings

ServiceListener = Callable[[str, "ServiceCopy"], None]
"""Called with the change type and the service after the change."""


@dataclass
class ServiceCopy:
    """What a client holds of one service. `instances` by their identity, in the order of Java's list."""

    config: Bean
    instances: dict[tuple[str, str, str], Bean] = field(default_factory=dict)
    loaded: bool = False
    listeners: list[ServiceListener] = field(default_factory=list)

    @property
    def instance_ids(self) -> list[str]:
        """The ids of its instances."""
        return [str(bean.get("instanceId")) for bean in self.instances.values()]


class DiscoveryClient:
    """Services that were asked for, and what was pushed. `told` is set with each message and each answer."""

    def __init__(
        self, addresses: Addresses, zone: tuple[str, str], settings: JavaSettings, deadlines: Deadlines
    ) -> None:
        self.services: dict[str, ServiceCopy] = {}
        self.told = asyncio.Event()
        self.pushes = 0
        self._zone = zone
        self._addresses = addresses
        self._settings = settings
        self._deadlines = deadlines
        self._calls = Calls(addresses, settings, deadlines)
        self.session = Session(
            addresses, "/discovery/instance-change", settings, deadlines, self._pushed, self._subscribe_all
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._reloaded = 0.0

    async def start(self) -> None:
        """Find the nodes, connect, poll every 60 s from now on."""
        await self._addresses.start()
        await self.session.start()
        self._reloaded = time.monotonic()
        self._schedule()

    async def stop(self) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.session.stop()
        self._calls.close()
        await self._addresses.stop()

    async def service(self, service_id: str, listener: ServiceListener | None = None) -> ServiceCopy:
        """The client's copy of a service; the first use looks it up (failing leaves it empty) and subscribes."""
        copy = self.services.get(service_id.lower())
        if copy is None:
            copy = self.services[service_id.lower()] = ServiceCopy(discovery_config(service_id))
            if listener is not None:
                copy.listeners.append(listener)
            await self._reload([copy])
            self.session.send_text(jackson(copy.config))
        elif listener is not None and listener not in copy.listeners:
            copy.listeners.append(listener)
        return copy

    async def reload(self) -> None:
        """Look up all services anew, in one call."""
        await self._reload(list(self.services.values()))

    def _subscribe_all(self) -> None:
        """After each connection: one message per service, no lookup."""
        for copy in self.services.values():
            self.session.send_text(jackson(copy.config))
        self.told.set()

    def _pushed(self, message: bytes) -> None:
        change = parse(message)
        bean, kind = child(change, "instance"), str(change.get("changeType"))
        self.pushes += 1
        self._deadlines.events["pushes"] += 1
        service_id = bean.get("serviceId")
        name = service_id if isinstance(service_id, str) else ""
        if kind == "reload":
            copy = self.services.get(name.lower())
            if copy is not None:
                self._begin(self._reload([copy]))
        else:
            # As in the original, this path does not lower the id: a node must push it in lower case.
            self._apply(self.services.get(name), kind, bean)
        self.told.set()

    def _apply(self, copy: ServiceCopy | None, kind: str, bean: Bean) -> None:
        if copy is None or kind not in {"new", "change", "delete"}:
            self._deadlines.events["pushes without effect"] += 1
            return
        key = instance_key(bean)
        if kind != "delete":
            copy.instances[key] = bean
        elif copy.instances.pop(key, None) is None:
            return
        _notify(copy, kind)

    async def _reload(self, copies: list[ServiceCopy]) -> None:
        region_id, zone_id = self._zone
        configs: list[Json] = [copy.config for copy in copies]
        request: Bean = {"discoveryConfigs": configs, "regionId": region_id, "zoneId": zone_id}
        try:
            answer = await self._calls.call("/discovery/lookup.json", request, Kind.LOOKUP)
        except CallFailedError:
            for copy in copies:
                copy.loaded = False
            return
        self._reloaded = time.monotonic()
        found = {str(service.get("serviceId")).lower(): service for service in children(answer, "services")}
        for copy in copies:
            service = found.get(str(copy.config["serviceId"]).lower())
            copy.loaded = service is not None
            if service is not None:
                copy.instances = {instance_key(bean): bean for bean in children(service, "instances")}
                _notify(copy, "reload")
        self.told.set()

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._settings.poll_interval, self._poll)

    def _poll(self) -> None:
        """All services when nothing was loaded for 15 minutes, else those that failed or are empty."""
        self._schedule()
        copies = list(self.services.values())
        if time.monotonic() - self._reloaded < self._settings.service_ttl:
            copies = [copy for copy in copies if not copy.loaded or not copy.instances]
        if copies:
            self._begin(self._reload(copies))

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _notify(copy: ServiceCopy, kind: str) -> None:
    for listener in copy.listeners:
        listener(kind, copy)
