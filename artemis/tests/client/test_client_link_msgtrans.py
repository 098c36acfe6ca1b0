"""A link over MsgTrans to a real node, and to peers that are none."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from link_peers import listening, wired

from artemis import ArtemisClient, ClientOptions, Instance, LinkKind
from artemis.client.links.link import LinkFailure, Push, Want
from artemis.client.links.msgtrans import MAX_SERVICES, MsgTransLink, open_msgtrans
from artemis.client.links.operations import CONFIRM, PUSH
from artemis.client.links.pushes import MAX_PUSH
from artemis.testing import running_node_sync
from msgtrans import Context, TransportServer

KINDS = pytest.mark.parametrize("kind", [LinkKind.MSGTRANS, LinkKind.WEBSOCKET])
OPTIONS = ClientOptions(link_timeout=2.0, attempt_timeout=2.0)


class Pushes(list[Push]):
    """What was pushed; `wait` waits for so many."""

    def __init__(self) -> None:
        super().__init__()
        self._more = asyncio.Event()

    def take(self, push: Push) -> None:
        """Be told."""
        self.append(push)
        self._more.set()

    async def wait(self, count: int) -> list[tuple[str, list[tuple[str, str | None]]]]:
        """Return the first pushes, as services with changes and instance ids."""
        async with asyncio.timeout(30):
            while len(self) < count:
                self._more.clear()
                await self._more.wait()
        return [(push.service, [(one.change_type, one.instance.instance_id) for one in push.changes]) for push in self]


@asynccontextmanager
async def linked(
    node: str, kind: LinkKind = LinkKind.MSGTRANS, options: ClientOptions = OPTIONS
) -> AsyncIterator[tuple[MsgTransLink, Pushes]]:
    """Open a link and close it."""
    pushes = Pushes()
    link = await open_msgtrans(kind, node, options, None, pushes.take)
    try:
        yield link, pushes
    finally:
        await link.close()


def instance(service_id: str, number: int = 1) -> Instance:
    """Build an instance."""
    return Instance(service_id=service_id, instance_id=f"i{number}", ip="127.0.0.1", port=9000 + number)


@KINDS
async def test_what_happens_to_a_service_is_pushed_and_confirmed(
    node_url: str, client: ArtemisClient, service_id: str, kind: LinkKind
) -> None:
    """In order, and the confirmation comes after all that was to be told."""
    async with linked(node_url, kind) as (link, pushes):
        assert (kind, node_url, True, True) == (link.kind, link.node, link.confirms, link.carries_calls)
        subscribed = await link.subscribe([Want(service_id)])
        assert subscribed.cursor
        assert subscribed.refused == {}
        async with client.registered(instance(service_id)):
            confirmation = await link.confirm()
            assert [(service_id, [("new", "i1")])] == await pushes.wait(1)
            assert (True, 0.0) == (confirmation.current, confirmation.age)
            assert confirmation.cursor
        assert (service_id, [("delete", "i1")]) == (await pushes.wait(2))[1]


async def test_a_subscription_with_a_cursor_brings_what_was_missed(
    node_url: str, client: ArtemisClient, service_id: str
) -> None:
    """Also on another link than the one that the cursor came from."""
    async with linked(node_url) as (link, _):
        cursor = (await link.subscribe([Want(service_id)])).cursor
    async with client.registered(instance(service_id)):
        async with linked(node_url) as (link, pushes):
            await link.subscribe([Want(service_id, cursor), Want("another")])
            await link.confirm()
            assert [(service_id, [("new", "i1")])] == await pushes.wait(1)
            assert not pushes[0].full_sync
        async with linked(node_url) as (link, pushes):
            await link.subscribe([Want(service_id, "no cursor at all")])
            assert [(service_id, [("new", "i1")])] == await pushes.wait(1)
            assert pushes[0].full_sync


async def test_an_unsubscribed_service_is_not_told_of(node_url: str, client: ArtemisClient, service_id: str) -> None:
    """While the others go on."""
    other = f"{service_id}-b"
    async with linked(node_url) as (link, pushes):
        await link.subscribe([Want(service_id), Want(other)])
        await link.unsubscribe([service_id])
        async with client.registered(instance(service_id)), client.registered(instance(other)):
            await link.confirm()
            assert [(other, [("new", "i1")])] == await pushes.wait(1)


async def test_many_services_go_in_as_many_requests_as_it_takes(node_url: str) -> None:
    """A node takes a thousand services and 64 KiB of them at once."""
    async with linked(node_url) as (link, _):
        wants = [Want(f"{'long' * 20}-{number}") for number in range(MAX_SERVICES + 500)]
        assert {} == (await link.subscribe(wants)).refused
        assert (await link.confirm()).current


async def test_services_that_the_node_refuses_are_named_and_the_others_subscribed(
    node_url: str, client: ArtemisClient, service_id: str
) -> None:
    """A node takes ids of 1 024 characters."""
    long = "x" * 1025
    async with linked(node_url) as (link, pushes):
        wants = [Want(f"{service_id}-{number}") for number in range(5)]
        wants.insert(2, Want(long))
        refused = (await link.subscribe(wants)).refused
        assert [long] == list(refused)
        assert "bad-request" in refused[long]
        async with client.registered(instance(f"{service_id}-4")):
            assert [(f"{service_id}-4", [("new", "i1")])] == await pushes.wait(1)


@KINDS
async def test_calls_travel_over_the_link_with_the_position_of_their_data(node_url: str, kind: LinkKind) -> None:
    """As over HTTP: the bytes of the answer, its cursor and its age."""
    body = json.dumps({"discoveryConfigs": [{"serviceId": "orders"}], "regionId": "local", "zoneId": "zone1"}).encode()
    async with linked(node_url, kind) as (link, _):
        reply = await link.call("discovery/lookup.json", body, 2.0)
    assert "success" == json.loads(reply.body)["responseStatus"]["status"]
    assert reply.cursor
    assert reply.age == 0.0


async def test_an_answer_that_is_too_large_fails_and_the_link_stays(node_url: str) -> None:
    """The bound is that of HTTP."""
    async with linked(node_url, options=ClientOptions(max_answer_bytes=100)) as (link, _):
        with pytest.raises(LinkFailure, match="more than 100 bytes"):
            await link.call("status/node.json", b"{}", 2.0)
        assert (await link.confirm()).current


async def test_a_link_that_was_left_fails_every_call_without_having_sent_it(node_url: str) -> None:
    """So it may be repeated elsewhere; leaving it twice does nothing."""
    async with linked(node_url) as (link, _):
        await link.close()
        await link.close()
        assert "the client left the link" == str(await link.ended())
        for call in (link.confirm(), link.subscribe([Want("a")]), link.call("status/node.json", b"{}", 1.0)):
            with pytest.raises(LinkFailure) as caught:
                await call
            assert not caught.value.sent


async def test_a_link_that_is_cut_ends_and_fails_the_call_under_way() -> None:
    """At once, and it says that the call may have reached the node."""
    with running_node_sync() as node:
        async with wired(node.port) as wire, linked(wire.url) as (link, _):
            wire.hold()
            call = asyncio.create_task(link.call("status/node.json", b"{}", 20.0))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            wire.cut()
            with pytest.raises(LinkFailure) as caught:
                await call
            assert caught.value.sent
            assert (await link.ended()).offered is True


async def test_a_link_on_which_nothing_moves_is_left_after_one_time_out(node_url: str) -> None:
    """As with a node that was suspended: the confirmation does not come."""
    port = int(node_url.rpartition(":")[2])
    options = ClientOptions(attempt_timeout=0.2)
    async with wired(port) as wire, linked(wire.url, options=options) as (link, _):
        wire.hold()
        with pytest.raises(LinkFailure, match=r"no answer within 0\.2 s") as caught:
            await link.confirm()
        assert caught.value.offered is True
        assert r"no answer within 0.2 s" == str(await link.ended())


Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def saying(answer: bytes) -> Handle:
    """Return what reads a little, says something and ends the connection."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    return handle


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take everything and say nothing."""
    while await reader.read(1000):
        pass
    writer.close()


ANSWER = bytes.fromhex("0100021b 00000001 0000 00000002 0000")


@KINDS
@pytest.mark.parametrize(
    ("handle", "offered"),
    [
        (silent, None),
        (saying(b""), None),
        (saying(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), False),
        (saying(b"\x15\x03\x01\x00\x02\x02\x16"), False),
        (saying(b"\x02" + ANSWER[1:]), False),
        (saying(ANSWER[:12]), False),
    ],
)
async def test_a_peer_that_does_not_speak_it_is_not_taken_for_a_node(
    kind: LinkKind, handle: Handle, *, offered: bool | None
) -> None:
    """And nothing stays open; whether it never will, or said nothing, is told apart."""
    before = asyncio.all_tasks()
    options = ClientOptions(link_timeout=0.3)
    async with listening(handle) as address:
        with pytest.raises(LinkFailure) as caught:
            await open_msgtrans(kind, f"http://{address}", options, None, Pushes().take)
    assert str(caught.value)
    # Over WebSocket the upgrade tells more: whatever is no upgrade is none of a node.
    assert caught.value.offered in ({offered} if kind is LinkKind.MSGTRANS else {offered, False, None})
    assert before == asyncio.all_tasks()


@pytest.mark.parametrize("answer", [ANSWER + b"{}", ANSWER + b"{!"])
async def test_an_answer_that_is_none_of_a_registry_ends_the_link(answer: bytes) -> None:
    """It speaks MsgTrans, but is something else."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(18)
        writer.write(answer)
        await silent(reader, writer)

    async with listening(handle) as address:
        with pytest.raises(LinkFailure, match="registry node") as caught:
            await open_msgtrans(LinkKind.MSGTRANS, f"http://{address}", OPTIONS, None, Pushes().take)
    assert caught.value.offered is False


async def test_nobody_there_and_below_a_path_are_told_apart() -> None:
    """One is no node, the other a node that has no port for this."""
    async with listening(silent) as address:
        pass
    with pytest.raises(LinkFailure, match="nothing listens there") as caught:
        await open_msgtrans(LinkKind.MSGTRANS, f"http://{address}", OPTIONS, None, Pushes().take)
    assert caught.value.offered is True
    with pytest.raises(LinkFailure, match="below a path") as caught:
        await open_msgtrans(LinkKind.MSGTRANS, f"http://{address}/registry", OPTIONS, None, Pushes().take)
    assert caught.value.offered is False


SUCCESS = b'{"responseStatus":{"status":"success"},"current":true,"cursor":"c","ageMs":250}'
BAD_REQUEST = b'{"responseStatus":{"status":"fail","errorCode":"bad-request","message":"there is no operation 27"}}'
DRAINING = b'{"responseStatus":{"status":"fail","errorCode":"service-unavailable","message":"draining"}}'


@asynccontextmanager
async def speaking(answer: Callable[[Context], bytes]) -> AsyncIterator[tuple[TransportServer, str]]:
    """Serve MsgTrans with one answer for everything."""
    server = TransportServer(tcp="127.0.0.1:0")
    server.on_request(answer)
    async with server:
        yield server, f"http://{server.uris[0].partition('://')[2]}"


async def test_a_node_without_confirmations_gives_signs_of_life_alone() -> None:
    """One before that operation; it is a link all the same."""
    async with speaking(lambda _: BAD_REQUEST) as (_, url), linked(url) as (link, _):
        assert not link.confirms
        confirmation = await link.confirm()
        assert (False, None) == (confirmation.current, confirmation.cursor)


async def test_the_age_of_a_node_is_told_in_seconds() -> None:
    """It travels in milliseconds."""
    async with speaking(lambda _: SUCCESS) as (_, url), linked(url) as (link, _):
        assert (await link.confirm()).age == 0.25


async def test_a_node_that_drains_is_left() -> None:
    """It cannot serve, whatever it speaks."""
    answers = [SUCCESS, DRAINING]
    async with speaking(lambda _: answers.pop(0)) as (_, url), linked(url) as (link, _):
        with pytest.raises(LinkFailure, match="service-unavailable: draining") as caught:
            await link.confirm()
        assert caught.value.offered is True
        assert "draining" in str(await link.ended())


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [
        (b"{", PUSH, "cannot be read"),
        (b"{}", PUSH, "names no service"),
        (b" " * (MAX_PUSH + 1), PUSH, "are the most"),
        (b"{}", CONFIRM, "unknown kind 27"),
    ],
)
async def test_a_push_that_is_none_ends_the_link_with_a_reason(payload: bytes, code: int, reason: str) -> None:
    """Nobody is told of it, and nothing raises through the loop."""
    async with speaking(lambda _: SUCCESS) as (server, url), linked(url) as (link, pushes):
        (session,) = server.sessions.values()
        await session.send(payload, biz_type=code)
        async with asyncio.timeout(30):
            ended = await link.ended()
        assert reason in str(ended)
        assert ended.offered is False
        assert pushes == []


@KINDS
async def test_cancelling_the_opening_leaves_nothing_open(kind: LinkKind) -> None:
    """At whichever step it is."""
    asked = asyncio.Event()
    gone = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        asked.set()
        try:
            await silent(reader, writer)
        finally:
            gone.set()

    async with listening(handle) as address:
        opening = asyncio.create_task(open_msgtrans(kind, f"http://{address}", OPTIONS, None, Pushes().take))
        async with asyncio.timeout(30):
            await asked.wait()
            opening.cancel()
            await asyncio.wait([opening])
            await gone.wait()
    assert opening.cancelled()


async def test_a_link_that_is_replaced_brings_the_answers_that_are_on_their_way_and_pushes_no_more() -> None:
    """It may be closed when the last call has ended."""
    asked, answer = asyncio.Event(), asyncio.Event()

    async def reply(context: Context) -> bytes:
        if context.biz_type != CONFIRM:
            asked.set()
            await answer.wait()
            await context.session.send(b'{"serviceId":"orders","cursor":"c","changes":[]}', biz_type=PUSH)
        return b'{"responseStatus":{"status":"success"}}'

    async with TransportServer(tcp="127.0.0.1:0") as server:
        server.on_request(reply)
        async with linked(f"http://{server.addresses[0]}") as (link, pushes):
            call = asyncio.ensure_future(link.call("status/node.json", b"{}", 20.0))
            await asked.wait()
            ending = asyncio.ensure_future(link.finish())
            done, _ = await asyncio.wait({ending}, timeout=0)
            assert not done
            answer.set()
            await ending
            assert b"success" in (await call).body
            assert (await link.confirm()).cursor is None
            assert [] == pushes
            await link.finish()
