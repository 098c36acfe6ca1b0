"""The ways into a Java node: HTTP operations and WebSocket endpoints (spec 2, 3).

Not here: what is behind them (`node`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import WSMsgType, web

from artemis.testing.java.beans import Bean, Json, child, children, instance, jackson, parse

if TYPE_CHECKING:
    from artemis.testing.java.node import JavaNode

_LATE = 0.6
_TYPE = b"Content-Type: application/json\r\n"
_DOWN: Bean = {"status": "fail", "errorCode": "service-unavailable", "message": "Service is not in up state."}
_SUCCESS: Bean = {"status": "success", "errorCode": "success", "message": ""}


def _answer(fields: Bean, status: Bean = _SUCCESS) -> web.Response:
    return web.Response(body=jackson({**fields, "responseStatus": status}), content_type="application/json")


class Lenient(asyncio.Protocol):
    """A connection as Tomcat takes it: the header that v1 sends twice counts once (spec 0.3); aiohttp would refuse it.

    `inner` is the connection that reads what comes. The head of a request comes in one piece, as its client wrote it.
    """

    def __init__(self, inner: asyncio.Protocol) -> None:
        self._inner = inner
        self.connection_made = inner.connection_made  # type: ignore[method-assign]
        self.connection_lost = inner.connection_lost  # type: ignore[method-assign]
        self.eof_received = inner.eof_received  # type: ignore[method-assign]
        self.pause_writing = inner.pause_writing  # type: ignore[method-assign]
        self.resume_writing = inner.resume_writing  # type: ignore[method-assign]

    def data_received(self, data: bytes) -> None:
        """Hand on what came."""
        self._inner.data_received(data.replace(_TYPE * 2, _TYPE))


class JavaDoors:
    """The doors of one node."""

    def __init__(self, node: JavaNode) -> None:
        self._node = node
        self._sockets: set[web.WebSocketResponse] = set()
        self._followers: dict[str, set[web.WebSocketResponse]] = {}
        self._pushing: set[asyncio.Task[None]] = set()

    def application(self) -> web.Application:
        """What is served, at the paths of the node's generation."""
        api = self._node.api
        sockets = "/ws" if self._node.settings.generation == 1 else "/artemis/websocket"
        application = web.Application(client_max_size=64 << 20)
        posts: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {
            "status/node.json": self._status,
            "cluster/up-registry-nodes.json": partial(self._nodes, what="Registry"),
            "cluster/up-discovery-nodes.json": partial(self._nodes, what="Discovery"),
            "discovery/lookup.json": self._lookup,
            "replication/registry/services.json": self._services,
        }
        for kind in ("register", "heartbeat", "unregister"):
            posts[f"registry/{kind}.json"] = partial(self._write, kind=kind)
            posts[f"replication/registry/{kind}.json"] = partial(self._replicated, kind=kind)
        for path, handler in posts.items():
            application.router.add_post(f"{api}/{path}", handler)
        application.router.add_get(f"{sockets}/registry/heartbeat", self._heartbeats)
        application.router.add_get(f"{sockets}/discovery/instance-change", self._changes)
        return application

    async def close(self) -> None:
        """Let all sessions end at once."""
        for task in self._pushing:
            task.cancel()
        await asyncio.gather(*self._pushing, return_exceptions=True)
        await asyncio.gather(*(socket.close(code=1001) for socket in self._sockets), return_exceptions=True)

    # -- clients

    async def _status(self, _: web.Request) -> web.Response:
        return _answer({"nodeStatus": self._node.node_status()})

    async def _nodes(self, request: web.Request, *, what: str) -> web.Response:
        from artemis.testing.java.node import serves

        node = self._node
        asked = parse(await request.read())
        known = {node.url: node.node_status(), **{url.rstrip("/"): status for url, status in node.seen.items()}}
        found: list[Json] = []
        for url in (url.rstrip("/") for url in node.urls):
            status = known.get(url, {})
            zone = child(child(status, "node"), "zone")
            near = (zone.get("regionId"), zone.get("zoneId")) == (asked.get("regionId"), asked.get("zoneId"))
            if serves(status, what) and (status.get(f"allow{what}FromOtherZone") is True or near):
                found.append({"url": f"{url}/", "zone": zone})
        if not found:
            missing: Bean = {"status": "fail", "errorCode": "data-not-found", "message": "No available service nodes."}
            return _answer({"nodes": None}, missing)
        return _answer({"nodes": found})

    async def _lookup(self, request: web.Request) -> web.Response:
        """Failures are an empty success (defect 8)."""
        asked = parse(await request.read())
        services: list[Json] = [
            self._service(str(each.get("serviceId"))) for each in children(asked, "discoveryConfigs")
        ]
        return _answer({"services": services if self._node.can_discovery else []})

    def _service(self, service_id: str) -> Bean:
        instances: list[Json] = [*self._node.leases.of(service_id)]
        return {
            "instances": instances,
            "logicInstances": [],
            "metadata": None,
            "routeRules": None,
            "serviceId": service_id,
        }

    async def _write(self, request: web.Request, *, kind: str) -> web.Response:
        return web.Response(body=self._judge(await request.read(), kind), content_type="application/json")

    def _judge(self, body: bytes, kind: str) -> bytes:
        """A client's request; what succeeds is passed on to the others."""
        node = self._node
        if not node.can_registry:
            return jackson({"failedInstances": None, "responseStatus": _DOWN})
        return self._each(children(parse(body), "instances"), kind, replicated=False)

    # -- peers

    async def _replicated(self, request: web.Request, *, kind: str) -> web.StreamResponse:
        node = self._node
        body = await request.read()
        beans = children(parse(body), "instances")
        node.arrived[kind] += len(beans)
        how = node.misbehave
        if how == "error":
            return web.Response(status=500)
        if how == "nonsense":
            return web.Response(body=b"<html>\xff", content_type="text/html")
        answer = self._each(beans, kind, replicated=True)
        if how == "late":
            await asyncio.sleep(_LATE)
        if how == "twice" and request.transport is not None:
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer)
            request.transport.write(head + answer)
        return web.Response(body=answer, content_type="application/json")

    async def _services(self, _: web.Request) -> web.Response:
        services: list[Json] = [self._service(service_id) for service_id in self._node.leases.services()]
        return _answer({"services": services})

    def _each(self, beans: Iterable[Bean], kind: str, *, replicated: bool) -> bytes:
        node = self._node
        failed: list[Json] = []
        for bean in map(instance, beans):
            refusal = node.leases.refuse(bean)
            if refusal is None and kind == "heartbeat" and not node.leases.heartbeat(bean):
                if replicated:  # also one that a removal overtook (defect 14)
                    node.leases.register(bean)
                else:
                    refusal = "data-not-found", "instance does not exist"
            elif refusal is None and kind == "register":
                node.leases.register(bean)
            elif refusal is None and kind == "unregister":
                node.leases.unregister(bean)
            if refusal is not None:
                failed.append({"errorCode": refusal[0], "errorMessage": refusal[1], "instance": bean})
            elif not replicated:
                node.replicate(kind, bean)
        status: Bean = (
            _SUCCESS if not failed else {"status": "partial_fail", "errorCode": "partial_fail", "message": ""}
        )
        return jackson({"failedInstances": failed or None, "responseStatus": status})

    # -- sessions

    async def _heartbeats(self, request: web.Request) -> web.WebSocketResponse:
        socket = await self._open(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(self._judge(message.data.encode(), "heartbeat").decode())
        self._sockets.discard(socket)
        return socket

    async def _changes(self, request: web.Request) -> web.WebSocketResponse:
        socket = await self._open(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                service_id = str(parse(message.data.encode()).get("serviceId"))
                self._followers.setdefault(service_id, set()).add(socket)
        self._sockets.discard(socket)
        return socket

    async def _open(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=0, compress=False)
        await socket.prepare(request)
        self._sockets.add(socket)
        return socket

    def publish(self, kind: str, bean: Bean) -> None:
        """Push a change to whoever subscribed to its service, by the exact id."""
        followers = self._followers.get(str(bean["serviceId"]))
        if not followers:
            return
        text = jackson({"changeTime": int(time.time() * 1000), "changeType": kind, "instance": bean}).decode()
        for socket in [socket for socket in followers if socket.closed]:
            followers.discard(socket)
        task = asyncio.ensure_future(_push(list(followers), text))
        self._pushing.add(task)
        task.add_done_callback(self._pushing.discard)


async def _push(sockets: list[web.WebSocketResponse], text: str) -> None:
    for socket in sockets:
        try:
            await socket.send_str(text)
        except (ConnectionError, RuntimeError):  # it is closing
            continue
