"""Clients that write down what they do and see: plain HTTP ones of single nodes, and those of the SDK.

Not here: what they write (`artemis.testing.histories`), and what is right about it (`artemis.testing.checker`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import msgspec

from artemis.client import ArtemisError, AttemptEnded, CallTelemetry, Telemetry, WentBack
from artemis.model import Instance, LookupResponse, RegistryResponse, decode
from artemis.model.cursors import decode_cursor
from artemis.testing.histories import Flagged, History, Operation, Outcome, Told, now

if TYPE_CHECKING:
    from artemis.client import ArtemisClient, ClientEvent

REGION, ZONE = "local", "zone1"
TIMEOUT = 5.0
"""Seconds that a plain client waits for an answer."""

_NO_ANSWER = (aiohttp.ClientError, OSError, TimeoutError, msgspec.MsgspecError)
_CALLS: Mapping[str, Operation] = {
    "registry.register": "register",
    "registry.heartbeat": "heartbeat",
    "registry.unregister": "unregister",
}


def instance_of(service: str, name: str, content: str = "") -> Instance:
    """Return an instance whose metadata holds ``content``."""
    return Instance(
        service_id=service, instance_id=name, region_id=REGION, zone_id=ZONE, ip="127.0.0.1", port=1,
        url=f"http://127.0.0.1:1/{name}", metadata={"content": content},
    )  # fmt: skip


def shown_of(instances: Iterable[Instance | None]) -> dict[str, str]:
    """Return instances as a history has them: id to content."""
    return {(each.instance_id or "").lower(): _content(each) for each in instances if each is not None}


class NodeClient:
    """A client of one node over plain HTTP, that writes everything down and never repeats anything. One event loop.

    Each operation returns its outcome, and raises nothing for what a node or a network does.
    """

    def __init__(self, history: History, session: aiohttp.ClientSession, name: str, url: str) -> None:
        self.url = url
        self._history, self._session, self._name = history, session, name

    async def register(self, service: str, instance: str, content: str = "") -> Outcome:
        """Register an instance, whose metadata holds the content."""
        return await self._write("register", service, instance, content)

    async def heartbeat(self, service: str, instance: str, content: str = "") -> Outcome:
        """Renew it; ``unknown`` when the node has it not."""
        return await self._write("heartbeat", service, instance, content)

    async def unregister(self, service: str, instance: str) -> Outcome:
        """Remove it."""
        return await self._write("unregister", service, instance, "")

    async def lookup(self, service: str) -> dict[str, str] | None:
        """Return what the node shows, id to content; None when it does not say."""
        one = self._history.begin(self._name, "lookup", service, node=self.url)
        config = {"serviceId": service, "regionId": REGION, "zoneId": ZONE}
        try:
            headers, body = await self._post(
                "discovery/lookup.json", {"discoveryConfigs": [config], "regionId": REGION}
            )
            answer = decode(LookupResponse, body)
        except _NO_ANSWER as error:
            self._history.end(one, "failed", why=repr(error))
            return None
        status = None if answer is None else answer.response_status
        if answer is None or status is None or status.error_code not in ("success", "data-not-found"):
            self._history.end(one, "failed", why=repr(status))
            return None
        shown = shown_of(each for found in answer.services or () if found for each in found.instances or ())
        age = int(headers.get("Artemis-Age-Ms", 0))
        self._history.end(one, "ok", shown=shown, cursor=headers.get("Artemis-Cursor"), age=age)
        return shown

    async def watch(self, service: str, name: str) -> None:
        """Follow a service by long polls until cancelled, going on from the last cursor whatever happens."""
        cursor: str | None = None
        resumed = False
        try:
            while True:
                query = {} if cursor is None else {"cursor": cursor, "wait": "3s"}
                try:
                    url = f"{self.url}/api/v1/services/{service}"
                    async with self._session.get(url, params=query, timeout=_timeout(TIMEOUT)) as answer:
                        answer.raise_for_status()
                        found = msgspec.json.decode(await answer.read(), type=_Poll)
                except _NO_ANSWER:
                    resumed = True
                    await asyncio.sleep(0.05)
                    continue
                resumed |= cursor is not None and _giver(cursor) != _giver(found.cursor)
                cursor = found.cursor
                changes = [
                    (c.change_type, (c.instance.instance_id or "").lower(), _content(c.instance)) for c in found.changes
                ]
                if any(kind == "reload" for kind, _, _ in changes):
                    cursor = None
                self._history.add(
                    Told(
                        at=now(), watch=name, service=service, changes=changes, node=self.url, cursor=found.cursor,
                        full=found.full_sync, resumed=resumed,
                    )
                )  # fmt: skip
                resumed = False
        finally:
            self._history.add(Told(at=now(), watch=name, service=service, changes=[], node=self.url, last=True))

    async def _write(self, op: Operation, service: str, instance: str, content: str) -> Outcome:
        one = self._history.begin(self._name, op, service, node=self.url, instance=instance.lower(), content=content)
        wire = msgspec.to_builtins(instance_of(service, instance, content))
        try:
            _, body = await self._post(f"registry/{op}.json", {"instances": [wire]})
            answer = decode(RegistryResponse, body)
        except _NO_ANSWER as error:
            self._history.end(one, "failed", why=repr(error))
            return "failed"
        outcome, why = _outcome(answer)
        self._history.end(one, outcome, why=why)
        return outcome

    async def _post(self, path: str, body: object) -> tuple[Mapping[str, str], bytes]:
        headers = {"Content-Type": "application/json"}
        async with self._session.post(
            f"{self.url}/api/{path}", data=msgspec.json.encode(body), headers=headers, timeout=_timeout(TIMEOUT)
        ) as answer:
            return answer.headers, await answer.read()


@asynccontextmanager
async def node_clients(history: History, *urls: str) -> AsyncIterator[list[NodeClient]]:
    """Give a client of each of these nodes."""
    async with aiohttp.ClientSession() as session:
        yield [NodeClient(history, session, f"http-{n}", url) for n, url in enumerate(urls)]


class SdkClient:
    """A client of the SDK whose lookups are written down, and must not fail once the first one has worked."""

    def __init__(self, history: History, client: ArtemisClient, name: str) -> None:
        self._history, self._client, self._name = history, client, name
        self._sure = False

    async def lookup(self, service: str) -> dict[str, str] | None:
        """Return what the client shows, id to content; None when it raised."""
        one = self._history.begin(self._name, "lookup", service, sure=self._sure)
        try:
            view = await self._client.service(service)
        except ArtemisError as error:
            self._history.end(one, "failed", why=repr(error))
            return None
        shown = shown_of(view.instances)
        self._sure = True
        self._history.end(one, "ok", shown=shown, cursor=view.cursor, age=round(view.age * 1000))
        return shown


class RegistrationRecord(Telemetry):
    """Writes down what an `ArtemisClient` with one registration does to keep it, and which of its views it says went
    back; give it as its ``telemetry``."""

    def __init__(self, history: History, name: str, instance: Instance) -> None:
        self._history, self._name, self._instance = history, name, instance

    def call(self, operation: str) -> CallTelemetry | None:
        """A call begins."""
        op = _CALLS.get(operation)
        return None if op is None else _KeptCall(self._history, self._name, op, self._instance)

    def event(self, event: ClientEvent) -> None:
        """Something happened to the client."""
        if isinstance(event, WentBack):
            self._history.add(Flagged(at=now(), client=self._name, service=event.service_id))


class _KeptCall(CallTelemetry):
    def __init__(self, history: History, name: str, op: Operation, instance: Instance) -> None:
        self._history, self._name, self._op, self._instance = history, name, op, instance
        self._one = 0

    def attempt(self, node: str) -> Mapping[str, str]:
        """An attempt begins."""
        each = self._instance
        self._one = self._history.begin(
            self._name, self._op, each.service_id or "", node=node.rstrip("/"),
            instance=(each.instance_id or "").lower(), content=_content(each),
        )  # fmt: skip
        return {}

    def attempted(self, attempt: AttemptEnded) -> None:
        """It ended."""
        outcomes: Mapping[str, Outcome] = {"ok": "ok", "refused": "unknown"}
        self._history.end(self._one, outcomes.get(attempt.outcome, "failed"), why=attempt.reason)


class _Change(msgspec.Struct, rename="camel"):
    change_type: str
    instance: Instance

    def told(self) -> tuple[str, str, str]:
        return self.change_type, (self.instance.instance_id or "").lower(), _content(self.instance)


class _Poll(msgspec.Struct, rename="camel"):
    cursor: str
    full_sync: bool
    changes: list[_Change]


def _giver(cursor: str) -> object:
    """Return which life of which process has given a cursor: of a node with several workers one or the other."""
    return decode_cursor(cursor).issuer


def _content(instance: Instance) -> str:
    return (instance.metadata or {}).get("content") or ""


def _outcome(answer: RegistryResponse | None) -> tuple[Outcome, str]:
    status = None if answer is None else answer.response_status
    if answer is None or status is None:
        return "failed", "no answer"
    if status.error_code == "success":
        return "ok", ""
    codes = [failed.error_code for failed in answer.failed_instances or () if failed is not None]
    return ("unknown" if codes == ["data-not-found"] else "failed"), f"{status.error_code} {codes}"


def _timeout(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=seconds)
