"""What a client says to those who look at it, or hold it the wrong way."""

import gc
import warnings

import pytest

import artemis.sync
from artemis import ArtemisClient, Instance
from artemis.testing import running_node

ME = Instance(service_id="orders", ip="127.0.0.1", port=9000)


def at_home() -> ArtemisClient:
    """Make a client that is not entered."""
    return ArtemisClient(servers=["http://127.0.0.1:1"], region_id="local", zone_id="zone1")


def dropped(client: ArtemisClient | artemis.sync.ArtemisClient) -> None:
    """Make a registration and forget it."""
    client.registered(ME)
    gc.collect()


@pytest.mark.parametrize("things", [[ME], (ME, ME), {ME}])
def test_instances_are_given_one_by_one(things: object) -> None:
    """The error says how."""
    with pytest.raises(TypeError, match=r"one by one, not in a (list|tuple|set): .* registered\(\*instances\)"):
        at_home().registered(things)  # type: ignore[arg-type]


@pytest.mark.parametrize("thing", [None, {"service_id": "orders"}, "orders"])
def test_only_instances_are_registered(thing: object) -> None:
    """The error says what to give; the client that blocks says the same."""
    with pytest.raises(TypeError, match=r"artemis\.Instance\(service_id=\.\.\.\), not "):
        at_home().registered(thing)  # type: ignore[arg-type]
    with (
        artemis.sync.ArtemisClient(servers=["http://127.0.0.1:1"]) as client,
        pytest.raises(TypeError, match=r"artemis\.Instance\(service_id=\.\.\.\), not "),
    ):
        client.registered(thing)  # type: ignore[arg-type]


def test_a_registration_that_is_never_entered_warns() -> None:
    """Making one registers nothing, which is easily forgotten."""
    client = at_home()
    with pytest.warns(ResourceWarning, match="<Registration of orders/127.0.0.1:9000: pending> was never entered; use"):
        dropped(client)


def test_a_registration_that_blocks_warns_too() -> None:
    """It is the same."""
    with (
        artemis.sync.ArtemisClient(servers=["http://127.0.0.1:1"], region_id="local", zone_id="zone1") as client,
        pytest.warns(ResourceWarning, match="`with` of artemis.sync"),
    ):
        dropped(client)


async def test_a_registration_that_was_entered_or_given_up_does_not_warn() -> None:
    """Nor does one whose entering failed."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", ResourceWarning)
        async with running_node() as node, ArtemisClient(servers=[node.url]) as client:
            here = Instance(service_id="orders", ip="127.0.0.1", port=9000, region_id="local", zone_id="zone1")
            async with client.registered(here):
                with pytest.raises(ValueError, match="already"):
                    await client.registered(here).__aenter__()
            await client.registered(here).unregister()
            client.registered(here).hand_over()
            gc.collect()
    assert [] == [str(one.message) for one in said if "entered" in str(one.message)]


async def test_what_users_hold_says_what_it_is() -> None:
    """At a prompt and in a log: whom it concerns and how it is."""
    async with (
        running_node() as node,
        ArtemisClient(servers=[node.url], region_id="local", zone_id="zone1") as client,
    ):
        assert f"<ArtemisClient of {node.url}: suspended, poll>" == repr(client)
        two = client.registered(ME, Instance(service_id="orders", port=9001))
        assert "<Registration of orders/127.0.0.1:9000 and 1 more: pending>" == repr(two)
        async with two:
            assert "<Registration of orders/127.0.0.1:9000 and 1 more: held>" == repr(two)
            assert repr(client).startswith(f"<ArtemisClient of {node.url}: connected, ")
        assert "<Balancer of orders: random by default-route-rule>" == repr(client.balancer("orders", "random"))
        with artemis.sync.ArtemisClient(servers=[node.url], region_id="local", zone_id="zone1") as blocking:
            assert f"<ArtemisClient of {node.url}: suspended, poll>" == repr(blocking)
            assert "<Balancer of orders: round-robin by default-route-rule>" == repr(blocking.balancer("orders"))
            with blocking.registered(Instance(service_id="prices", ip="127.0.0.1", port=1)) as registration:
                assert "<Registration of prices/127.0.0.1:1: held>" == repr(registration)


async def test_nothing_is_in_use_by_a_client_that_is_not_open() -> None:
    """What was asked for in vain before entering it is not counted."""
    client = at_home()
    with pytest.raises(artemis.ClosedError):
        await client.service("orders")
    assert 0 == client.status.services
