"""Long polls: everything at first, then exactly what changed, as soon as it does, and nothing when nothing does."""

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from urllib.parse import quote

import pytest
from doors import Wire, get, instance

from artemis.server.app import NodeServer
from artemis.server.http import poll_query, polls

PATH = "/api/v1/services/demo.orders"
Connect = Callable[[NodeServer], Awaitable[Wire]]


async def poll(wire: Wire, target: str = PATH, *fields: str) -> dict[str, object]:
    """GET, expect 200, give the decoded answer."""
    await wire.send(get(target, *fields))
    status, _, body = await wire.answer()
    assert status == 200, body
    return json.loads(body)


async def register(wire: Wire, *numbers: int, **changes: object) -> None:
    """Register instances of demo.orders."""
    await wire.post("/api/registry/register.json", {"instances": [instance(n, **changes) for n in numbers]})


async def waiting(server: NodeServer, count: int) -> None:
    """Return as soon as so many polls wait."""
    async with asyncio.timeout(30):
        while server.doors.http.polls.waiting != count:  # noqa: ASYNC110 - there is nothing to be told by
            await asyncio.sleep(0)


def summary(answer: dict[str, object]) -> tuple[bool, list[tuple[str, str]]]:
    """Whether it is a full sync, and the changes as pairs of type and instance."""
    changes = answer["changes"]
    assert isinstance(changes, list)
    return bool(answer["fullSync"]), [(c["changeType"], c["instance"]["instanceId"]) for c in changes]


@pytest.mark.parametrize("target", [PATH, "/artemis" + PATH, "/api/v1/services/DEMO.Orders"])
async def test_without_a_cursor_everything_comes_at_once(wire: Wire, target: str) -> None:
    """Both path families and every spelling of the id answer with all instances as new, however long the wait."""
    await register(wire, 1, 2)
    answer = await poll(wire, target + "?wait=60s")
    assert summary(answer) == (True, [("new", "10.0.0.1"), ("new", "10.0.0.2")])
    assert answer["ageMs"] == 0
    assert set(answer) == {"cursor", "ageMs", "fullSync", "changes"}


async def test_a_service_that_is_not_known_is_shown_empty(wire: Wire) -> None:
    """Its cursor is good for waiting until somebody registers."""
    assert summary(await poll(wire, "/api/v1/services/nobody")) == (True, [])


async def test_what_was_missed_comes_at_once(wire: Wire) -> None:
    """New, changed and deleted instances are told apart; what is as it was is left out."""
    await register(wire, 1, 2, 3)
    cursor = (await poll(wire))["cursor"]
    await register(wire, 1, port=9)
    await register(wire, 4)
    await wire.post("/api/registry/unregister.json", {"instances": [instance(2)]})
    answer = await poll(wire, f"{PATH}?cursor={cursor}&wait=60")
    assert summary(answer) == (False, [("change", "10.0.0.1"), ("new", "10.0.0.4"), ("delete", "10.0.0.2")])
    assert summary(await poll(wire, f"{PATH}?cursor={answer['cursor']}")) == (False, [])


@pytest.mark.parametrize("cursor", ["x", "%00", "a" * 5000, "lMKk"])
async def test_a_cursor_that_is_of_no_use_gives_everything(wire: Wire, cursor: str) -> None:
    """Whatever stands there instead of a cursor: an explicit full sync."""
    await register(wire, 1)
    assert summary(await poll(wire, f"{PATH}?cursor={cursor}&wait=60s")) == (True, [("new", "10.0.0.1")])


async def test_the_first_change_ends_the_wait(server: NodeServer, wire: Wire, connect: Connect) -> None:
    """Who waits is answered when an instance registers, with this change alone."""
    await register(wire, 1)
    cursor = (await poll(wire))["cursor"]
    waiter = await connect(server)
    await waiter.send(get(f"{PATH}?cursor={cursor}&wait=60s"))
    await waiting(server, 1)
    await register(wire, 1)  # the same content: nobody sees a difference
    await wire.post("/api/registry/register.json", {"instances": [instance(1, serviceId="another")]})
    await waiting(server, 1)
    await register(wire, 2)
    status, fields, body = await waiter.answer()
    answer = json.loads(body)
    assert (status, summary(answer)) == (200, (False, [("new", "10.0.0.2")]))
    assert fields["artemis-cursor"] == answer["cursor"] == server.node.cursor()
    await waiting(server, 0)


async def test_a_change_that_is_undone_is_waited_through(server: NodeServer, wire: Wire, connect: Connect) -> None:
    """An instance that comes and goes between two turns of the loop is no change; the next one is."""
    cursor = (await poll(wire))["cursor"]
    waiter = await connect(server)
    await waiter.send(get(f"{PATH}?cursor={cursor}&wait=60s"))
    await waiting(server, 1)
    body = {"instances": [instance(1)]}
    one, two = (f"/api/registry/{name}.json" for name in ("register", "unregister"))
    wire_post = [f"POST {p} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(json.dumps(body))}\r\n\r\n" for p in (one, two)]
    await wire.send("".join(head + json.dumps(body) for head in wire_post).encode())
    for _ in range(2):
        await wire.answer()
    await waiting(server, 1)
    await register(wire, 5)
    assert summary(json.loads((await waiter.answer())[2])) == (False, [("new", "10.0.0.5")])


async def test_nothing_changed_is_an_empty_answer(wire: Wire) -> None:
    """When the wait is over the answer has no changes and the same cursor."""
    cursor = (await poll(wire))["cursor"]
    for wait in ("10ms", "0.01s", "0.01", "0", "0s", ""):
        answer = await poll(wire, f"{PATH}?cursor={cursor}&wait={wait}")
        assert (summary(answer), answer["cursor"]) == ((False, []), cursor)


@pytest.mark.parametrize("wait", ["soon", "-1", "1h", "1e3", "٣", "s", "1 s", "NaN", "9" * 10, "1.s"])
async def test_a_wait_that_cannot_be_read_is_refused(wire: Wire, wait: str) -> None:
    """400, with a sentence that shows how to write it."""
    await wire.send(get(f"{PATH}?wait={quote(wait)}"))
    status, _, body = await wire.answer()
    assert (status, json.loads(body)["message"]) == (400, "wait must look like 30s, 500ms or 30 (seconds)")


def test_a_wait_is_a_minute_at_most() -> None:
    """Longer ones are cut, so that a proxy or a lost peer costs no more than that."""
    texts = ("999999999", "61s", "60", "1500ms", "2.5s")
    assert [poll_query._seconds(text) for text in texts] == [60, 60, 60, 1.5, 2.5]


@pytest.mark.parametrize("service", ["a/b", "ü", "a b", "100%", "?x=1", "#", "a+b", "..", "%2F"])
async def test_an_id_may_have_any_character(wire: Wire, service: str) -> None:
    """The id is percent-decoded once, and only that."""
    await wire.post("/api/registry/register.json", {"instances": [instance(1, serviceId=service)]})
    assert summary(await poll(wire, "/api/v1/services/" + quote(service, safe=""))) == (True, [("new", "10.0.0.1")])


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/api/v1/services/", 404),
        ("/api/v1/services/a/b", 404),
        ("/api/v2/services/a", 404),
        ("/api/v1/services/%FF", 400),
        ("/api/v1/services/%20", 400),
        (PATH + "?regionId=elsewhere", 403),
        (PATH + "?regionId=R1&zoneId=elsewhere", 200),
    ],
)
async def test_what_is_not_such_a_path_or_not_ours(wire: Wire, target: str, status: int) -> None:
    """Other paths are not found, ids that are no text are refused, another region is not this node's."""
    await wire.send(get(target))
    assert (await wire.answer())[0] == status


async def test_other_zones_are_judged_as_lookups_are(start: Callable, connect: Connect) -> None:
    """A node that serves its own zone only says so; without a zone it takes the caller for one of its own."""
    async with start(allow_discovery_from_other_zone=False) as server:
        wire = await connect(server)
        for query, status in (("", 200), ("?zoneId=Z1", 200), ("?zoneId=z2", 403)):
            await wire.send(get(PATH + query))
            assert (await wire.answer())[0] == status


async def test_other_methods(wire: Wire) -> None:
    """HEAD answers without waiting or a body, OPTIONS is a preflight, everything else is 405 with what is possible."""
    cursor = (await poll(wire))["cursor"]
    await wire.send(get(f"{PATH}?wait=60s&cursor={cursor}", method="HEAD"))
    status, fields, _ = await wire.answer(head_only=True)
    assert (status, int(fields["content-length"]) > 0) == (200, True)
    await wire.send(get(PATH, "Access-Control-Request-Method: GET", method="OPTIONS"))
    status, fields, _ = await wire.answer()
    assert (status, fields["access-control-allow-methods"]) == (200, "GET")
    await wire.send(get(PATH, method="DELETE"))
    status, fields, _ = await wire.answer()
    assert (status, fields["allow"]) == (405, "GET, HEAD, OPTIONS")


async def test_a_peer_that_goes_does_not_wait_any_more(server: NodeServer, wire: Wire, connect: Connect) -> None:
    """The end of its connection ends its wait at once."""
    cursor = (await poll(wire))["cursor"]
    waiter = await connect(server)
    await waiter.send(get(f"{PATH}?cursor={cursor}&wait=60s"))
    await waiting(server, 1)
    waiter.writer.close()
    await waiting(server, 0)
    assert server.node.stream.waiters == 0


@pytest.mark.parametrize("behind", [get("/health/live"), get(PATH + "?wait=60s") * 3, b"GET /half"])
async def test_a_peer_that_goes_is_noticed_behind_further_requests(
    server: NodeServer, wire: Wire, connect: Connect, behind: bytes
) -> None:
    """What it sent meanwhile does not hide the end of its connection."""
    cursor = (await poll(wire))["cursor"]
    waiter = await connect(server)
    await waiter.send(get(f"{PATH}?cursor={cursor}&wait=60s"))
    await waiting(server, 1)
    await waiter.send(behind)
    await wire.send(get("/health/live"))
    await wire.answer()
    waiter.writer.close()
    await waiting(server, 0)
    assert server.node.stream.waiters == 0


async def test_who_has_sent_his_last_word_does_not_wait(server: NodeServer, wire: Wire, connect: Connect) -> None:
    """A poll that is found behind a long answer after the end of the peer's sending ends with the connection."""
    await register(wire, *range(200))
    cursor = (await poll(wire))["cursor"]
    leaver = await connect(server)
    await leaver.send(get("/api/discovery/services.json") + get(f"{PATH}?cursor={cursor}&wait=60s"))
    leaver.writer.write_eof()
    assert (await leaver.answer())[0] == 200
    assert await leaver.closed() == b""
    assert server.doors.http.polls.waiting == 0


async def test_who_sends_much_more_is_answered_early(server: NodeServer, wire: Wire, connect: Connect) -> None:
    """What is read behind a request that waits is bounded; instead of waiting longer it is answered with nothing."""
    cursor = (await poll(wire))["cursor"]
    hasty = await connect(server)
    many = 2_000
    await hasty.send(get(f"{PATH}?cursor={cursor}&wait=60s") * 2 + get("/health/live") * many)
    for _ in range(2):
        assert summary(json.loads((await hasty.answer())[2])) == (False, [])
    for _ in range(many):
        assert (await hasty.answer())[2] == b'{"status":"live"}'


@pytest.mark.parametrize("target", ["http://node.example:80{}", "HTTP://x{}", "{}#part", "http://x{}#part?wait=1"])
async def test_a_target_is_read_as_everywhere(wire: Wire, target: str) -> None:
    """With scheme and host, as clients of a proxy write it, and without a fragment."""
    await register(wire, 1)
    await wire.send(get(target.format(PATH)))
    assert summary(json.loads((await wire.answer())[2])) == (True, [("new", "10.0.0.1")])


async def test_a_drain_ends_all_waits(start: Callable, connect: Connect) -> None:
    """Whoever waits gets what there is, and the connection ends."""
    async with start() as server:
        wire = await connect(server)
        cursor = (await poll(wire))["cursor"]
        await wire.send(get(f"{PATH}?cursor={cursor}&wait=60s"))
        await waiting(server, 1)
    status, fields, body = await wire.answer()
    assert (status, fields["connection"], summary(json.loads(body))) == (200, "close", (False, []))
    assert await wire.closed() == b""


async def test_no_more_than_a_stated_number_wait(server: NodeServer, wire: Wire, connect: Connect) -> None:
    """One more is sent elsewhere, with a time to come back; who does not need to wait is answered all the same."""
    cursor = (await poll(wire))["cursor"]
    server.doors.http.polls._max_waiting = 1
    waiter = await connect(server)
    await waiter.send(get(f"{PATH}?cursor={cursor}&wait=60s"))
    await waiting(server, 1)
    await wire.send(get(f"{PATH}?cursor={cursor}&wait=60s"))
    status, fields, _ = await wire.answer()
    assert (status, fields["retry-after"]) == (503, "5")
    assert summary(await poll(wire)) == (True, [])


async def test_a_node_that_does_not_serve_refuses(start: Callable, connect: Connect) -> None:
    """503 with a time to come back."""
    async with start() as server:
        wire = await connect(server)
        server.node.drain(0)
        await wire.send(get(PATH))
        status, fields, _ = await wire.answer()
        assert (status, fields["retry-after"]) == (503, "5")


async def test_a_caller_is_counted_by_the_rate_limiter(start: Callable, connect: Connect) -> None:
    """Above the limit of callers the answer is 429, as this is no request of the originals."""
    async with start(rate_limit_per_caller=2) as server:
        wire = await connect(server)
        await poll(wire)
        await poll(wire)
        await wire.send(get(PATH))
        status, fields, _ = await wire.answer()
        assert (status, fields["retry-after"]) == (429, "10")


async def test_large_answers_are_made_in_pieces_and_once(
    server: NodeServer, wire: Wire, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of instances are written over several turns, once for all who ask meanwhile, plain and packed."""
    for part in range(4):
        await register(wire, *range(part * 250, part * 250 + 250))
    made = []
    write = polls._write
    monkeypatch.setattr(polls, "_write", lambda *args, **options: made.append(1) or write(*args, **options))
    wires = [await connect(server) for _ in range(5)]
    for each in wires:
        await each.send(get(PATH))
    bodies = {(await each.answer())[2] for each in wires}
    assert len(bodies) == 1
    plain = json.loads(bodies.pop())
    assert (plain["fullSync"], len(plain["changes"])) == (True, 1000)
    assert len(made) <= len(wires)
    await wire.send(get(PATH, "Accept-Encoding: gzip"))
    status, fields, body = await wire.answer()
    assert (status, fields["content-encoding"]) == (200, "gzip")
    packed = json.loads(gzip.decompress(body))
    assert [c["instance"] for c in packed["changes"]] == [c["instance"] for c in plain["changes"]]


async def test_many_waiters_are_told_of_one_change(server: NodeServer, wire: Wire, connect: Connect) -> None:
    """A change that hundreds wait for reaches each of them, over several turns of the loop."""
    cursor = (await poll(wire))["cursor"]
    wires = [await connect(server) for _ in range(200)]
    for each in wires:
        await each.send(get(f"{PATH}?cursor={cursor}&wait=60s"))
    await waiting(server, 200)
    await wire.send(get("/metrics"))
    assert b"artemis_long_polls 200.0" in (await wire.answer())[2]
    await register(wire, 1)
    answers = [json.loads((await each.answer())[2]) for each in wires]
    assert {summary(answer)[1][0] for answer in answers} == {("new", "10.0.0.1")}
    assert server.doors.http.polls.waiting == 0


async def test_requests_behind_one_that_waits_are_answered_after_it(server: NodeServer, wire: Wire) -> None:
    """Answers keep the order of the requests of a connection."""
    cursor = (await poll(wire))["cursor"]
    await wire.send(get(f"{PATH}?cursor={cursor}&wait=10ms") + get("/health/live"))
    assert summary(json.loads((await wire.answer())[2])) == (False, [])
    assert (await wire.answer())[2] == b'{"status":"live"}'
