"""The registry client of the SDK (spec 9.4): it never registers, it waits until a heartbeat is answered.

Not here: leases; the SDK keeps none.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable

from artemis.testing.java.addresses import Addresses
from artemis.testing.java.beans import Bean, Json, child, children, instance, instance_key, jackson, parse
from artemis.testing.java.calls import Calls, is_service_down
from artemis.testing.java.deadlines import Deadlines, Kind, Wait
from artemis.testing.java.http import CallFailedError
from artemis.testing.java.session import Session
from artemis.testing.java.settings import JavaSettings

RegistryFilter = Callable[[list[Bean]], None]
"""Changes the list of instances in place before a heartbeat or a registration."""

_TO_REGISTER = frozenset({"data-not-found", "unknown"})


class RegistryClient:
    """Holds instances and keeps them alive. `filters` withhold some.

    `replies` counts answers to heartbeats, `registrations` calls that registered what a reply asked for; `told` is set
    with each of them and with each new connection.
    """

    def __init__(self, addresses: Addresses, settings: JavaSettings, deadlines: Deadlines) -> None:
        self.instances: dict[tuple[str, str, str], Bean] = {}
        self.filters: list[RegistryFilter] = []
        self.replies = 0
        self.registrations = 0
        self.told = asyncio.Event()
        self._addresses = addresses
        self._settings = settings
        self._deadlines = deadlines
        self._calls = Calls(addresses, settings, deadlines)
        self.session = Session(addresses, "/registry/heartbeat", settings, deadlines, self._reply, self._opened)
        self._tasks: set[asyncio.Task[None]] = set()
        self._waits: deque[tuple[Wait, float]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._answered = 0.0

    async def start(self) -> None:
        """Find the nodes, connect, begin to heartbeat after 5 s."""
        await self._addresses.start()
        await self.session.start()
        now = time.monotonic()
        self._answered = now
        self._due = now + self._settings.first_heartbeat
        self._timer = asyncio.get_running_loop().call_later(self._settings.first_heartbeat, self._check)

    async def stop(self) -> None:
        """End; what is registered is left to expire, as it is when a Java process is killed."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._forget_waits()
        await self.session.stop()
        self._calls.close()
        await self._addresses.stop()

    async def register(self, *instances: dict[str, Json]) -> None:
        """Unregister over HTTP, then hold the instances; the heartbeat loop registers them (spec 0.4).

        Raises ValueError unless each has instanceId, serviceId and url.
        """
        beans = [_checked(values) for values in instances]
        await self._tell("unregister", beans, Kind.UNREGISTER)
        self.instances |= {instance_key(bean): bean for bean in beans}

    async def unregister(self, *instances: dict[str, Json]) -> None:
        """Unregister over HTTP and hold them no longer."""
        beans = [_checked(values) for values in instances]
        await self._tell("unregister", beans, Kind.UNREGISTER)
        for bean in beans:
            self.instances.pop(instance_key(bean), None)

    def _check(self) -> None:
        """The heartbeat thread's round."""
        now = time.monotonic()
        interval = self._settings.heartbeat_check
        # At a fixed rate: a round that came late does not put off the next ones.
        due, self._due = self._due, max(self._due + interval, now)
        self._timer = asyncio.get_running_loop().call_later(max(0.0, self._due - now), self._check)
        if not self.instances:
            self._answered = due
            return
        if due - self._answered >= self._settings.instance_ttl:
            self._deadlines.events["no heartbeat answered for the TTL"] += 1
            self._answered = due
            self._mark_down()
        elif due - self._answered >= self._settings.heartbeat_interval - 1e-6 and not self._waits:
            self._heartbeat(due)

    def _heartbeat(self, due: float) -> None:
        beans = self._filtered(self.instances.values())
        if beans and self.session.send_text(jackson({"instances": [*beans]})):
            wait = Wait(self._deadlines, Kind.HEARTBEAT, self._settings.instance_ttl, self._forget_waits)
            self._waits.append((wait, due))

    def _reply(self, message: bytes) -> None:
        answer = parse(message)
        if self._waits:
            wait, due = self._waits.popleft()
            wait.end()
            if not is_service_down(answer):
                self._answered = due
        self.replies += 1
        self.told.set()
        if is_service_down(answer):
            self._deadlines.events["heartbeat: service down"] += 1
            self._mark_down()
            return
        failed = children(answer, "failedInstances")
        again = [child(item, "instance") for item in failed if item.get("errorCode") in _TO_REGISTER]
        if again:
            self._deadlines.events["instances registered from a reply"] += len(again)
            task = asyncio.ensure_future(self._register([instance(bean) for bean in again]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if len(again) < len(failed):
            self._deadlines.events["heartbeat: other failures"] += len(failed) - len(again)

    async def _register(self, beans: list[Bean]) -> None:
        if await self._tell("register", self._filtered(beans), Kind.REGISTER):
            self.registrations += 1
        self.told.set()

    async def _tell(self, operation: str, beans: list[Bean], kind: Kind) -> bool:
        """Call and swallow failures, as the SDK does; return whether all went well."""
        if not beans:
            return False
        instances: list[Json] = [*beans]
        try:
            answer = await self._calls.call(f"/registry/{operation}.json", {"instances": instances}, kind)
        except CallFailedError:
            return False
        succeeded = child(answer, "responseStatus").get("status") == "success"
        if not succeeded:
            self._deadlines.events[f"{operation} not successful"] += 1
        return succeeded

    def _filtered(self, beans: Iterable[Bean]) -> list[Bean]:
        chosen = list(beans)
        for change in self.filters:
            change(chosen)
        return chosen

    def _opened(self) -> None:
        """A new connection answers none of the old one's messages."""
        self._forget_waits()
        self.told.set()

    def _mark_down(self) -> None:
        self._forget_waits()
        self.session.mark_down()

    def _forget_waits(self) -> None:
        for wait, _ in self._waits:
            wait.cancel()
        self._waits.clear()


def _checked(values: dict[str, Json]) -> Bean:
    for name in ("instanceId", "serviceId", "url"):
        value = values.get(name)
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"an instance needs {name}")
    return instance(values)
