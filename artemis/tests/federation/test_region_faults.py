"""What another region may do to whoever follows it: nonsense, floods, refusals; and options that change meanwhile."""

import asyncio

import msgspec
import pytest
from region_nodes import ask, followed, holds, instance, register, serving, shown, until

from artemis.federation.following import MAX_QUEUED
from artemis.federation.state import Followed
from artemis.server.app import NodeServer

ORDERS = [instance("eu", "orders", number) for number in range(3)]
NAMES = [f"orders-{number}" for number in range(3)]
PUSH = 26


def failures(server: NodeServer) -> int:
    """How often connections to eu ended or could not be made."""
    (found,) = server.node.regions.followed
    return found.standing.failures


def listings(server: NodeServer) -> int:
    """How often everything of eu was listed."""
    (found,) = server.node.regions.followed
    return found.copy.counters.listings


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\xff\x00",
        b"{}",
        b'{"serviceId":"*","cursor":null,"changes":[]}',
        b'{"serviceId":"*","cursor":"x","changes":null}',
        b"[" * 100_000,
    ],
)
async def test_pushes_that_cannot_be_read_end_a_connection_and_nothing_else(garbage: bytes) -> None:
    """The copy stays, and the next connection goes on from where it stood."""
    async with serving("eu") as eu, serving("us", federate=f"eu={eu.url}") as us:
        await register(eu.url, *ORDERS)
        await holds(us, 3)
        await followed(us)
        assert eu.doors.msgtrans.broadcast(garbage, biz_type=PUSH) == 1
        await until(lambda: failures(us) == 1)
        assert await shown(us.url, "orders", "eu") == NAMES
        await register(eu.url, instance("eu", "orders", 3))
        await holds(us, 4)
        await followed(us)
        assert await shown(us.url, "orders", "eu") == [*NAMES, "orders-3"]


async def test_changes_that_cannot_be_used_change_nothing() -> None:
    """Of a third region, without a name, of a kind that nobody knows: what they are about is looked up."""
    async with serving("eu") as eu, serving("us", federate=f"eu={eu.url}") as us:
        await register(eu.url, *ORDERS)
        await holds(us, 3)
        await followed(us)
        copy = us.node.regions.known("eu")
        assert copy is not None
        changes = [
            {"changeType": "new", "changeTime": 1, "instance": instance("mars", "orders", 7)},
            {"changeType": "new", "changeTime": 1, "instance": {**instance("eu", "orders", 8), "instanceId": " "}},
            {"changeType": "delete", "changeTime": 1, "instance": {"serviceId": None, "instanceId": None}},
            {"changeType": "upside-down", "changeTime": 1, "instance": instance("eu", "orders", 1)},
        ]
        push = {"serviceId": "*", "cursor": eu.node.cursor(), "fullSync": False, "changes": changes}
        eu.doors.msgtrans.broadcast(msgspec.json.encode(push), biz_type=PUSH)
        await until(lambda: copy.counters.refused == 2)
        await followed(us)
        assert await shown(us.url, "orders", "eu") == NAMES
        assert us.node.regions.known("mars") is None


async def test_a_flood_of_pushes_costs_a_listing() -> None:
    """What waits is bounded, and the copy is whole again after it."""
    async with serving("eu") as eu, serving("us", federate=f"eu={eu.url}") as us:
        await register(eu.url, *ORDERS)
        await holds(us, 3)
        await followed(us)
        change = {"changeType": "new", "changeTime": 1, "instance": instance("eu", "ghosts", 1)}
        push = {"serviceId": "*", "cursor": eu.node.cursor(), "fullSync": False, "changes": [change]}
        before, body = listings(us), msgspec.json.encode(push)
        for _ in range(4 * MAX_QUEUED):
            eu.doors.msgtrans.broadcast(body, biz_type=PUSH)
        await until(lambda: listings(us) > before)
        await register(eu.url, instance("eu", "orders", 3))
        await until(lambda: "orders-3" in names(us))
        assert names(us) == [*NAMES, "orders-3"]


def names(server: NodeServer) -> list[str]:
    """The orders of eu in the copy."""
    copy = server.node.regions.known("eu")
    assert copy is not None
    return [name for name, _ in copy.catalog.instances("orders")]


async def test_a_region_that_does_not_serve_is_shown_as_it_was() -> None:
    """With its own reason; and as it is, when it serves again."""
    async with serving("eu") as eu, serving("us", federate=f"eu={eu.url}") as us:
        await register(eu.url, *ORDERS)
        await holds(us, 3)
        await followed(us)
        for switch in ("down", "off"):
            told = await ask(eu.url, "v1/node/force", {"service": "discovery", "force": switch, "operatorId": "alice"})
            assert told.status == 200, told.body
            (region,) = us.node.regions.followed
            if switch == "down":
                await until(lambda: failures(us) > 0)
                assert region.standing.state is Followed.UNREACHABLE
                assert "service-unavailable" in region.standing.why
                assert await shown(us.url, "orders", "eu") == NAMES
            else:
                await followed(us)
        assert listings(us) == 1


async def test_options_that_change_while_a_region_is_copied_leave_nothing_behind() -> None:
    """However often, and however soon after each other."""
    async with serving("eu") as eu, serving("us") as us:
        await register(eu.url, *[instance("eu", "many", number) for number in range(3_000)])
        before = len(asyncio.all_tasks())
        for _ in range(10):
            us.reconfigure(us.config.model_copy(update={"federate": {"eu": (eu.url,)}}))
            await asyncio.sleep(0)
            us.reconfigure(us.config.model_copy(update={"federate": {}}))
        assert us.node.regions.followed == []
        us.reconfigure(us.config.model_copy(update={"federate": {"eu": (eu.url,)}}))
        await holds(us, 3_000)
        us.reconfigure(us.config.model_copy(update={"federate": {}}))
        await until(lambda: len(asyncio.all_tasks()) <= before)
        await until(lambda: not eu.node.stream.subscribers)
