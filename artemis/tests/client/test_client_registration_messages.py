"""How what is to be sent about many instances is cut into messages, and what one that fails means for the others."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import msgspec
import pytest

from artemis import (
    ArtemisClient,
    ClientOptions,
    Events,
    Instance,
    LeaseState,
    RefusedError,
    Reply,
    TransportFailure,
    UnreachableError,
    Unregistered,
)
from artemis.client.registration.cutting import MESSAGE_BYTES, cut
from artemis.testing import running_node

PATIENCE = 60.0
GOOD = b'{"responseStatus":{"status":"success","errorCode":"success"}}'
REFUSED = b'{"responseStatus":{"status":"fail","errorCode":"bad-request","message":"too much"}}'


class Told:
    """A transport to a registry that takes everything but what a test names."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes | Exception] = {}
        """What comes of a message by a text that is in it."""
        self.taken: Counter[str] = Counter()
        """How many messages of each operation about each instance were taken, as ``heartbeat i1``."""
        self.turn = asyncio.Event()

    async def call(self, node: str, path: str, body: bytes, timeout: float) -> Reply:  # noqa: ASYNC109 - see Transport
        """Answer as told."""
        await asyncio.sleep(0)
        for text, answer in self.answers.items():
            if text.encode() in body:
                if isinstance(answer, Exception):
                    raise answer
                return Reply(answer)
        operation = path.rpartition("/")[2].removesuffix(".json")
        if operation in {"register", "heartbeat", "unregister"}:
            sent = msgspec.json.decode(body)["instances"]
            self.taken.update(f"{operation} {one['instanceId']}" for one in sent)
        self.turn.set()
        return Reply(GOOD)

    async def until(self, what: str, more: int = 2) -> None:
        """Wait until ``more`` messages have been taken."""
        goal = self.taken[what] + more
        async with asyncio.timeout(PATIENCE):
            while self.taken[what] < goal:
                self.turn.clear()
                await self.turn.wait()

    async def close(self) -> None:
        """Nothing is open."""


def client_of(told: Told, **more: float) -> ArtemisClient:
    options = ClientOptions(
        heartbeat_interval=0.02,
        batch_size=1,
        attempts=1,
        backoff=0.0,
        backoff_limit=0.02,
        address_interval=0.0,
        **more,  # type: ignore[arg-type]
    )
    return ArtemisClient(servers=["http://127.0.0.1:1"], region_id="r", zone_id="z", transport=told, options=options)


def an_instance(number: int, **fields: object) -> Instance:
    return Instance(service_id="s", instance_id=f"i{number}", ip="127.0.0.1", port=1, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([1] * 7, [3, 3, 1]),
        ([MESSAGE_BYTES // 2] * 3, [2, 1]),
        ([MESSAGE_BYTES + 1, 1, 1, MESSAGE_BYTES, 1], [1, 2, 1, 1]),
    ],
)
def test_messages_are_bounded_by_count_and_by_bytes(sizes: list[int], expected: list[int]) -> None:
    """Nothing is lost; what is too large alone goes alone."""
    pieces = list(cut(sizes, 3, lambda size: size))
    assert expected == [len(piece) for piece in pieces]
    assert sizes == [size for piece in pieces for size in piece]


async def test_instances_that_are_large_together_are_registered_and_renewed(quick: ClientOptions) -> None:
    """In messages that nodes take, of 8 MiB at most."""
    metadata = {"much": "x" * 50_000}
    async with (
        running_node() as node,
        ArtemisClient(servers=[node.url], region_id="local", zone_id="zone1", options=quick) as client,
        client.registered(*[an_instance(number, metadata=metadata) for number in range(200)]) as registration,
    ):
        [service] = await client.api.services()
        assert 200 == len(service.instances or ())
        await registration.set_status("down")
        assert registration.state is LeaseState.HELD
        events = client.events()
        await registration.unregister()
        assert [None] * 200 == [e.error async for e in _some(events, 200) if isinstance(e, Unregistered)]
        assert [] == await client.api.services()


async def _some(events: Events, count: int) -> AsyncIterator[object]:
    for _ in range(count):
        yield await anext(events)


@pytest.mark.parametrize("answer", [REFUSED, TransportFailure("no answer")])
async def test_a_heartbeat_that_fails_keeps_no_other_from_being_sent(answer: bytes | Exception) -> None:
    """Whether it is refused or nobody answers it, and however often; it is tried again and comes back."""
    told = Told()
    async with client_of(told) as client, client.registered(*map(an_instance, range(4))) as registration:
        told.answers = {'"i0"': answer, '"i1"': answer, '"i2"': answer}
        await told.until("heartbeat i3", 10)
        assert LeaseState.UNCERTAIN is registration.state
        told.answers = {}
        await told.until("heartbeat i0")
        await told.until("heartbeat i1")


async def test_an_unregistration_that_is_refused_keeps_no_other_from_being_sent() -> None:
    """The error of each instance says how it went with it."""
    told = Told()
    async with client_of(told) as client:
        registration = await client.registered(*map(an_instance, range(3))).__aenter__()
        told.answers = {'"i1"': REFUSED}
        events = client.events()
        await registration.unregister()
        ended = [e async for e in _some(events, 3) if isinstance(e, Unregistered)]
        assert [False, True, False] == [isinstance(event.error, RefusedError) for event in ended]
        assert {"unregister i0": 1, "unregister i2": 1} == {
            what: count for what, count in told.taken.items() if what.startswith("unregister")
        }


@pytest.mark.parametrize(("answer", "kind"), [(REFUSED, RefusedError), (RuntimeError("a mistake"), RuntimeError)])
async def test_a_change_that_cannot_be_sent_is_taken_back(answer: bytes | Exception, kind: type[Exception]) -> None:
    """Whatever comes of it, except that nobody answers: then the next heartbeat brings it."""
    told = Told()
    async with client_of(told) as client, client.registered(an_instance(0)) as registration:
        told.answers = {'"down"': answer}
        with pytest.raises(kind):
            await registration.set_status("down")
        assert "up" == registration.instance.status
        await told.until("heartbeat i0")
        assert LeaseState.HELD is registration.state
        told.answers = {'"down"': TransportFailure("no answer")}
        with pytest.raises(UnreachableError):
            await registration.set_status("down")
        told.answers = {}
        await told.until("heartbeat i0")
        assert ("down", LeaseState.HELD) == (registration.instance.status, registration.state)
