"""Nodes that show each other's regions: what callers get, what is refused, and what others may do to them."""

import asyncio
from pathlib import Path

import aiohttp.web
import pytest
from region_nodes import ask, followed, holds, instance, register, serving, shown, unregister, until

from artemis.federation.state import Followed
from artemis.model import Instance
from artemis.server.app import NodeServer
from artemis.server.clock import now_ms
from artemis.server.reload import LIVE_OPTIONS
from msgtrans import TransportClient

ORDERS = [instance("eu", "orders", number) for number in range(3)]
NAMES = [f"orders-{number}" for number in range(3)]


def standing(server: NodeServer, region: str = "eu") -> tuple[Followed, str]:
    """Return the state of a region and why."""
    (found,) = [each.standing for each in server.node.regions.followed if each.copy.region == region]
    return found.state, found.why


async def test_a_lookup_that_names_a_region_shows_its_copy() -> None:
    """By the request or by what it asks for, with the region and the age in the answer; others get what they got."""
    async with serving("eu") as eu, serving("us", federate=f"eu={eu.url}") as us:
        await register(eu.url, *ORDERS)
        await register(us.url, instance("us", "orders", 9))
        await followed(us)
        await holds(us, 3)
        lookup = "discovery/lookup.json"
        by_request = await ask(us.url, lookup, {"regionId": "EU", "discoveryConfigs": [{"serviceId": "Orders"}]})
        by_config = await ask(
            us.url, lookup, {"regionId": "us", "discoveryConfigs": [{"serviceId": "orders", "regionId": "eu"}]}
        )
        own = await ask(us.url, lookup, {"regionId": "us", "discoveryConfigs": [{"serviceId": "orders"}]})
        for told in (by_request, by_config):
            assert [one["instanceId"] for one in told.body["services"][0]["instances"]] == NAMES
            assert (told.region, told.age >= 0) == ("eu", True)
            assert {one["regionId"] for one in told.body["services"][0]["instances"]} == {"eu"}
        assert [one["instanceId"] for one in own.body["services"][0]["instances"]] == ["orders-9"]
        assert (own.region, own.age) == (None, 0)
        assert by_request.headers["artemis-cursor"] == by_config.headers["artemis-cursor"]


async def test_pages_of_a_region_say_which_it_is_and_how_old() -> None:
    """Instances and services, for tools and for the CLI."""
    async with serving("eu") as eu, serving("us", federate=f"eu={eu.url}") as us:
        await register(eu.url, *ORDERS, instance("eu", "prices", 1))
        await holds(us, 4)
        instances = await ask(us.url, "v1/instances", regionId="eu", serviceId="orders")
        services = await ask(us.url, "v1/services", regionId="eu")
        assert ([one["instanceId"] for one in instances.body["instances"]], instances.body["regionId"]) == (NAMES, "eu")
        assert [(one["serviceId"], one["instanceCount"]) for one in services.body["services"]] == [
            ("orders", 3),
            ("prices", 1),
        ]
        assert (services.body["ageMs"], services.region) == (services.age, "eu")
        own = await ask(us.url, "v1/services")
        assert (own.body["services"], "regionId" in own.body, own.region) == ([], False, None)


async def test_a_long_poll_on_a_region_hears_of_its_changes() -> None:
    """From a cursor of the copy on, and with its name."""
    async with serving("eu") as eu, serving("us", federate=f"eu={eu.url}") as us:
        await register(eu.url, ORDERS[0])
        await holds(us, 1)
        first = await ask(us.url, "v1/services/orders", regionId="eu")
        assert (first.body["fullSync"], first.body["regionId"]) == (True, "eu")
        waiting = asyncio.create_task(
            ask(us.url, "v1/services/orders", regionId="eu", wait="30s", cursor=first.body["cursor"])
        )
        await until(lambda: us.doors.http.polls.waiting == 1)
        await register(us.url, instance("us", "orders", 9))
        await register(eu.url, ORDERS[1])
        second = await waiting
        changes = [(each["changeType"], each["instance"]["instanceId"]) for each in second.body["changes"]]
        assert (second.body["fullSync"], changes) == (False, [("new", "orders-1")])
        # A cursor of the other region's own node is one of another history: everything is told.
        theirs = await ask(eu.url, "v1/services/orders")
        full = await ask(us.url, "v1/services/orders", regionId="eu", cursor=theirs.body["cursor"])
        assert (full.body["fullSync"], len(full.body["changes"])) == (True, 2)


async def test_what_is_written_to_another_region_is_refused_with_where_to_go() -> None:
    """A copy is read-only, for clients and for operators."""
    async with serving("eu") as eu, serving("us", federate=f"eu={eu.url}") as us:
        await followed(us)
        for operation in ("register", "heartbeat", "unregister"):
            told = await ask(us.url, f"registry/{operation}.json", {"instances": [ORDERS[0]]})
            (failed,) = told.body["failedInstances"]
            assert failed["errorCode"] == "no-permission"
            assert f"writes to it go to {eu.url}" in failed["errorMessage"]
        key = {"regionId": "eu", "serviceId": "orders", "instanceId": "orders-0"}
        pulled = await ask(
            us.url,
            "management/operate-instance.json",
            {"instanceKey": key, "operation": "maintenance", "operatorId": "alice", "operationComplete": False},
        )
        assert pulled.body["responseStatus"]["errorCode"] == "no-permission"
        assert eu.url in pulled.body["responseStatus"]["message"]
        assert await shown(eu.url, "orders", "eu") == []


async def test_regions_that_are_not_shown_are_refused() -> None:
    """By name, and two of them at once; a node that shows no other region says what it always said."""
    async with serving("eu") as eu, serving("us", federate=f"eu={eu.url}") as us, serving("us") as plain:
        await followed(us)
        configs = [{"serviceId": "a", "regionId": "mars"}]
        mars = await ask(us.url, "discovery/lookup.json", {"regionId": "us", "discoveryConfigs": configs})
        assert mars.body["responseStatus"]["errorCode"] == "no-permission"
        assert mars.body["responseStatus"]["message"] == (
            "region 'mars' is not followed by this node; it shows 'us', and of other regions 'eu'"
        )
        both = [{"serviceId": "a", "regionId": "eu"}, {"serviceId": "a", "regionId": "us"}]
        mixed = await ask(us.url, "discovery/lookup.json", {"regionId": "us", "discoveryConfigs": both})
        assert mixed.body["responseStatus"]["errorCode"] == "bad-request"
        refused = await ask(plain.url, "discovery/lookup.json", {"regionId": "eu", "discoveryConfigs": configs})
        assert refused.body["responseStatus"]["message"] == "region 'eu' is not the region 'us' of this node"
        ignored = await ask(plain.url, "discovery/lookup.json", {"regionId": "us", "discoveryConfigs": configs})
        assert ignored.body["responseStatus"]["status"] == "success"
        for path in ("v1/instances", "v1/services", "v1/services/orders"):
            assert (await ask(us.url, path, regionId="mars")).status == 403


async def test_two_regions_that_show_each_other_show_only_what_is_theirs() -> None:
    """Nothing is handed on, so nothing goes round in circles."""
    async with serving("eu") as eu, serving("us", federate=f"eu={eu.url}") as us:
        eu.reconfigure(eu.config.model_copy(update={"federate": {"us": (us.url,)}}))
        await register(eu.url, *ORDERS)
        await register(us.url, instance("us", "orders", 9))
        await holds(us, 3)
        await holds(eu, 1, "us")
        assert await shown(us.url, "orders", "eu") == NAMES
        assert await shown(eu.url, "orders", "us") == ["orders-9"]
        assert (await shown(us.url, "orders", "us"), await shown(eu.url, "orders", "eu")) == (["orders-9"], NAMES)


async def test_a_node_of_another_region_than_named_is_not_followed() -> None:
    """And it is said which one it is."""
    async with serving("asia") as asia, serving("us", federate=f"eu={asia.url}") as us:
        await register(asia.url, instance("asia", "orders", 1))
        await until(lambda: standing(us)[0] is Followed.UNREACHABLE)
        assert "it is a node of the region 'asia', not of 'eu'; correct --federate" in standing(us)[1]
        told = await ask(us.url, "discovery/service.json", serviceId="orders", regionId="eu")
        assert told.body["responseStatus"]["errorCode"] == "service-unavailable"
        assert "region 'eu' cannot be shown yet" in told.body["responseStatus"]["message"]
        assert us.node.regions.known("asia") is None


async def test_a_region_is_followed_from_any_of_its_nodes() -> None:
    """Those that are dead are passed over."""
    async with serving("eu") as eu, serving("us", federate=f"eu=http://127.0.0.1:9,{eu.url}") as us:
        await register(eu.url, *ORDERS)
        await holds(us, 3)
        assert await shown(us.url, "orders", "eu") == NAMES


@pytest.mark.parametrize("answer", ["", "<html></html>", "{}", '{"responseStatus": {"status": "success"}}'])
async def test_what_is_no_node_is_not_followed(answer: str) -> None:
    """Whatever it answers; the reason is there for operators, and the node goes on."""

    async def say(_: aiohttp.web.Request) -> aiohttp.web.Response:
        return aiohttp.web.Response(text=answer)

    app = aiohttp.web.Application()
    app.router.add_route("*", "/{path:.*}", say)
    runner = aiohttp.web.AppRunner(app)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with serving("us", federate=f"eu=http://127.0.0.1:{runner.addresses[0][1]}") as us:
            await until(lambda: standing(us)[0] is Followed.UNREACHABLE)
            assert "it speaks no MsgTrans, so it is a node of Java or none at all" in standing(us)[1]
            assert (await ask(us.url, "v1/services")).status == 200
    finally:
        await runner.cleanup()


async def test_regions_come_and_go_while_the_node_runs() -> None:
    """One that is taken out is shown no more at once; one that comes back is copied anew."""
    async with serving("eu") as eu, serving("us") as us:
        assert {"federate", "federate_max_instances"} <= LIVE_OPTIONS
        await register(eu.url, *ORDERS)
        named = us.config.model_copy(update={"federate": {"eu": (eu.url,)}})
        us.reconfigure(named)
        await holds(us, 3)
        copy = us.node.regions.known("eu")
        cursor = (await ask(us.url, "v1/services/orders", regionId="eu")).body["cursor"]
        us.reconfigure(named.model_copy(update={"federate": {}}))
        gone = await ask(us.url, "v1/services/orders", regionId="eu")
        assert (gone.status, us.node.regions.followed) == (403, [])
        await unregister(eu.url, ORDERS[0])
        us.reconfigure(named)
        await holds(us, 2)
        assert us.node.regions.known("eu") is not copy
        back = await ask(us.url, "v1/services/orders", regionId="eu", cursor=cursor)
        assert (back.body["fullSync"], len(back.body["changes"])) == (True, 2)


async def test_another_address_of_a_region_keeps_its_copy() -> None:
    """Whoever corrects a list loses nothing."""
    async with serving("eu") as eu, serving("us", federate="eu=http://127.0.0.1:9") as us:
        await until(lambda: standing(us)[0] is Followed.UNREACHABLE)
        copy = us.node.regions.known("eu")
        await register(eu.url, *ORDERS)
        us.reconfigure(us.config.model_copy(update={"federate": {"eu": (eu.url,)}, "federate_max_instances": 2}))
        await followed(us)
        assert us.node.regions.known("eu") is copy
        told = await ask(us.url, "discovery/service.json", serviceId="orders", regionId="eu")
        assert (len(told.body["service"]["instances"]), told.headers["artemis-left-out"]) == (2, "1")


async def test_many_changes_at_once_are_copied_whole() -> None:
    """What does not fit into pushes is listed anew, and the copy shows what the region shows."""
    async with serving("eu") as eu, serving("us", federate=f"eu={eu.url}") as us:
        await followed(us)
        many = [instance("eu", f"s{number % 7}", number) for number in range(4_000)]
        for start in range(0, len(many), 1_000):
            await register(eu.url, *many[start : start + 1_000])
        await holds(us, 4_000)
        await unregister(eu.url, *many[:3_990])
        await holds(us, 10)
        for number in range(7):
            assert await shown(us.url, f"s{number}", "eu") == await shown(eu.url, f"s{number}", "eu")


async def test_what_a_copy_has_wrong_is_found_by_counting() -> None:
    """As an instance of a listing that went before anybody could be told; one that is in doubt is left alone."""
    async with serving("eu", allow_discovery_from_other_zone=False) as eu, serving("us", federate=f"eu={eu.url}") as us:
        await register(eu.url, *ORDERS)
        await holds(us, 3)
        await followed(us)
        copy = us.node.regions.known("eu")
        assert copy is not None
        await register(eu.url, instance("eu", "prices", 1))
        await holds(us, 4)
        for service in ("prices", "nobody"):
            gone = Instance(region_id="eu", service_id=service, instance_id="gone", url="u", zone_id="zone1")
            copy.put(gone, now_ms())
        copy.remove(("orders", "orders-1"), now_ms())
        await until(lambda: copy.registry.live_services == 2 and len(copy.registry) == 4)
        assert await shown(us.url, "prices", "eu") == ["prices-1"]
        assert await shown(us.url, "orders", "eu") == NAMES
        assert copy.counters.listings == 1


async def test_a_session_is_pushed_what_changes_in_a_region() -> None:
    """Beside its own one, told apart by the name; confirming says how old the copy is."""
    async with (
        serving("eu") as eu,
        serving("us", federate=f"eu={eu.url}") as us,
        TransportClient(us.url.replace("http", "tcp")) as client,
    ):
        pushes: asyncio.Queue[bytes] = asyncio.Queue()
        client.on_message(lambda context: pushes.put_nowait(bytes(context.payload)))
        await followed(us)
        for body in (b'{"serviceIds":["orders"],"regionId":"eu"}', b'{"serviceIds":["orders"]}'):
            assert b'"success"' in (await client.request(body, biz_type=24)).payload
        await register(eu.url, ORDERS[0])
        assert b'"regionId":"eu","cursor"' in await asyncio.wait_for(pushes.get(), 30)
        await register(us.url, instance("us", "orders", 9))
        assert b'"regionId":"eu","cursor"' not in await asyncio.wait_for(pushes.get(), 30)
        confirmed = (await client.request(b'{"regionId":"eu"}', biz_type=27)).payload
        assert (b'"regionId":"eu"' in confirmed, b'"current":true' in confirmed) == (True, True)
        lookup = b'{"regionId":"eu","discoveryConfigs":[{"serviceId":"orders"}]}'
        assert b";region=eu" in (await client.request(lookup, biz_type=16)).ext_header
        us.reconfigure(us.config.model_copy(update={"federate": {}}))
        refused = (await client.request(b'{"regionId":"eu"}', biz_type=27)).payload
        assert b"no-permission" in refused
        own = (await client.request(b"{}", biz_type=27)).payload
        assert (b'"current":true' in own, b"regionId" in own) == (True, False)


async def test_a_websocket_that_names_another_region_is_refused_and_not_told_of_this_one() -> None:
    """Its sessions are about the region of the node."""
    async with (
        serving("eu") as eu,
        serving("us", federate=f"eu={eu.url}") as us,
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{us.url}/ws") as socket,
    ):
        await socket.send_json({"type": "subscribe", "service_id": "orders", "regionId": "eu"})
        refused = await socket.receive_json(timeout=30)
        await socket.send_json({"type": "subscribe", "service_id": "orders", "region_id": "US"})
        accepted = await socket.receive_json(timeout=30)
        assert (refused["type"], "over MsgTrans, or use long polls" in refused["message"]) == ("error", True)
        assert accepted["type"] == "subscribed"


async def test_what_java_clients_hear_is_never_of_another_region_under_its_name() -> None:
    """A subscription that names a copied region is dropped, lists of all services are refused; others get theirs."""
    async with (
        serving("eu") as eu,
        serving("us", federate=f"eu={eu.url}") as us,
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{us.url}/ws/discovery/instance-change") as copied,
        session.ws_connect(f"{us.url}/ws/discovery/instance-change") as own,
    ):
        await copied.send_json({"serviceId": "orders", "regionId": "EU"})
        await copied.send_json({"serviceId": "later"})
        await own.send_json({"serviceId": "orders", "regionId": "us"})
        await until(lambda: us.node.stream.subscriptions == 2)
        assert us.doors.counters["websocket"]["refused_subscription"] == 1
        await register(us.url, instance("us", "orders", 1), instance("us", "later", 1))
        told = [(await socket.receive_json(timeout=30))["instance"]["serviceId"] for socket in (own, copied)]
        assert told == ["orders", "later"]
        for path in ("discovery/services.json", "discovery/services-delta.json"):
            refused = await ask(us.url, path, {"regionId": "eu"})
            assert refused.body["responseStatus"]["errorCode"] == "no-permission"
            assert f"look up its services, or ask {eu.url}" in refused.body["responseStatus"]["message"]
        for region in ("us", "mars", None):
            others = await ask(us.url, "discovery/services.json", {"regionId": region})
            assert others.body["responseStatus"]["status"] == "success"


async def test_status_and_metrics_tell_how_it_stands_with_each_region() -> None:
    """A node that shows none says nothing of them."""
    async with (
        serving("eu") as eu,
        serving("us", federate=f"eu={eu.url},asia=http://127.0.0.1:9") as us,
        aiohttp.ClientSession() as session,
    ):
        await register(eu.url, *ORDERS)
        await holds(us, 3)
        await followed(us)
        await until(lambda: standing(us, "asia")[0] is Followed.UNREACHABLE)
        asia, found = (await ask(us.url, "v1/status")).body["regions"]
        assert (found["regionId"], found["state"], found["instances"], found["services"]) == ("eu", "following", 3, 1)
        assert (found["ready"], found["why"], found["node"], found["urls"]) == (True, "", eu.url, [eu.url])
        assert (asia["regionId"], asia["state"], asia["ready"]) == ("asia", "unreachable", False)
        assert "nothing listens there" in asia["why"]
        async with session.get(f"{us.url}/metrics") as response:
            text = await response.text()
        assert 'artemis_region_following{region="eu"} 1.0' in text
        assert 'artemis_region_following{region="asia"} 0.0' in text
        assert 'artemis_region_instances{region="eu"} 3.0' in text
        assert 'artemis_region_age_seconds{region="eu"}' in text
        assert 'artemis_region_age_seconds{region="asia"}' not in text
        assert (await ask(eu.url, "v1/status")).body["regions"] is None


async def test_pull_outs_of_this_region_do_not_hide_what_another_shows(tmp_path: Path) -> None:
    """Each region's own operators decide, and what they pulled out its nodes do not show to us either."""
    async with serving("eu") as eu, serving("us", federate=f"eu={eu.url}", data_dir=tmp_path) as us:
        await register(eu.url, *ORDERS)
        await register(us.url, instance("us", "orders", 0))
        await holds(us, 3)
        for url, region in ((us.url, "us"), (eu.url, "eu")):
            key = {"regionId": region, "serviceId": "orders", "instanceId": "orders-0"}
            request = {"instanceKey": key, "operation": "x", "operatorId": "alice", "operationComplete": False}
            told = await ask(url, "management/operate-instance.json", request)
            assert told.body["responseStatus"]["status"] == "success"
            if region == "us":
                assert await shown(us.url, "orders", "us") == []
                assert await shown(us.url, "orders", "eu") == NAMES
        await holds(us, 2)
        assert await shown(us.url, "orders", "eu") == NAMES[1:]
