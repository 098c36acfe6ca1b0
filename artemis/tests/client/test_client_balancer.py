"""A balancer at work: at a real node, from several threads, with requests that end in every way."""

import asyncio
import json
import math
import sys
from collections import Counter
from collections.abc import AsyncIterator, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest
from aiohttp import web

from artemis import (
    ArtemisClient,
    Balancer,
    ClientOptions,
    ClosedError,
    Events,
    Instance,
    NoInstancesError,
    OutlierEjected,
    OutlierReturned,
    Reply,
)
from artemis.testing import running_node

PATIENCE = 60.0
EXAMPLE = Path(__file__).parents[3] / "examples" / "balancing.py"


def instance(service_id: str, name: str, **fields: str) -> Instance:
    """Build an instance that can be registered as it is."""
    return Instance(
        region_id="local", zone_id="zone1", service_id=service_id, instance_id=name, url=f"http://{name}", **fields
    )


@pytest.fixture
async def balancer(client: ArtemisClient, service_id: str) -> Balancer:
    """Return a balancer of a service with the instances a, b and c."""
    await client.api.register([instance(service_id, name) for name in "abc"])
    made = client.balancer(service_id, "least-requests")
    await made.ready()
    return made


async def of_outliers(events: Events) -> OutlierEjected | OutlierReturned:
    """Take the next event that tells of one."""
    async with asyncio.timeout(PATIENCE):
        while True:
            event = await anext(events)
            if isinstance(event, OutlierEjected | OutlierReturned):
                return event


def names(balancer: Balancer, times: int = 60, key: str = "") -> str:
    """Return the ids that many choices give."""
    return "".join(sorted({str(balancer.next(key=key).instance_id) for _ in range(times)}))


async def test_requests_under_way_are_counted_however_they_end(balancer: Balancer) -> None:
    """An error, a cancellation and a generator that is dropped end them as well."""

    async def hang(entered: asyncio.Event) -> None:
        with balancer.request():
            entered.set()
            await asyncio.Event().wait()

    def items() -> Generator[Instance]:
        with balancer.request() as one:
            yield one

    for _ in range(5):
        entered = asyncio.Event()
        task = asyncio.create_task(hang(entered))
        await entered.wait()
        generator = items()
        held = next(generator)
        with balancer.request() as third, pytest.raises(KeyError), balancer.request():
            raise KeyError
        task.cancel()
        generator.close()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert third != held
    with balancer.request() as a, balancer.request() as b, balancer.request() as c:
        assert ["a", "b", "c"] == sorted(str(one.instance_id) for one in (a, b, c))


async def test_failing_instances_are_left_out_and_told(node_url: str, service_id: str) -> None:
    """Exceptions inside a request and reports count alike; cancellations do not."""
    options = ClientOptions(outlier_failures=2, outlier_rest=30.0)
    async with ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1", options=options) as client:
        await client.api.register([instance(service_id, name) for name in "abc"])
        balancer = client.balancer(service_id, "consistent-hash")
        await balancer.ready()
        events = client.events()
        first = balancer.next(key="k")
        for error in (asyncio.CancelledError(), asyncio.CancelledError(), OSError()):
            with pytest.raises(type(error)), balancer.request(key="k"):
                raise error
        assert first == balancer.next(key="k")
        balancer.report(first, ok=False)
        assert first != balancer.next(key="k")
        assert (first,) == balancer.outliers() == client.balancer(service_id).outliers()
        assert OutlierEjected(service_id, first, 2, 30.0) == await of_outliers(events)
        now = balancer._choices.clock()
        balancer._choices.clock = lambda: now + 30.0
        assert first == balancer.next(key="k")
        assert OutlierReturned(service_id, first) == await of_outliers(events)


async def test_a_report_of_a_stranger_is_ignored(balancer: Balancer) -> None:
    """It may have left the view while the request was under way."""
    for _ in range(9):
        balancer.report(instance("orders", "stranger"), ok=False, seconds=1.0)
    assert () == balancer.outliers()


async def test_latency_reported_is_taken_into_account(client: ArtemisClient, balancer: Balancer) -> None:
    """By power-of-two, wherever it was learned."""
    for one in (await client.service(balancer.service_id)).instances:
        balancer.report(one, ok=True, seconds=5.0 if one.instance_id == "c" else 0.001)
    assert "ab" == names(client.balancer(balancer.service_id, "power-of-two"))


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0])
async def test_a_latency_that_is_none_is_refused(client: ArtemisClient, balancer: Balancer, seconds: float) -> None:
    """It would stay in the average for ever."""
    (one, *_) = (await client.service(balancer.service_id)).instances
    with pytest.raises(ValueError, match="seconds"):
        balancer.report(one, ok=True, seconds=seconds)


async def test_consistent_hash_needs_a_key_and_keeps_to_it(client: ArtemisClient, balancer: Balancer) -> None:
    """Text and its UTF-8 bytes are the same key; what is no text in UTF-8 is one as well."""
    hashing = client.balancer(balancer.service_id, "consistent-hash")
    with pytest.raises(ValueError, match="key="):
        hashing.next()
    with pytest.raises(ValueError, match="key="), hashing.request():
        pass
    assert 1 == len(names(hashing, key="ä"))
    assert hashing.next(key="ä") == hashing.next(key="ä".encode())
    assert hashing.next(key="\ud800") == hashing.next(key="\ud800")
    found = {key: hashing.next(key=key) for key in map(str, range(50))}
    assert 3 == len({one.instance_id for one in found.values()})
    retried = hashing.next(key="1", avoid=[found["1"]])
    assert retried != found["1"]
    assert retried == hashing.next(key="1", avoid=[found["1"]])


async def test_a_route_that_the_service_does_not_have_is_an_error_with_a_reason(
    client: ArtemisClient, balancer: Balancer
) -> None:
    """But the canary is a part of the default, which then does."""
    with pytest.raises(NoInstancesError, match="it has no route rule blue-green"):
        client.balancer(balancer.service_id, route="Blue-Green").next()
    canary = client.balancer(balancer.service_id, route="canary-route-rule")
    assert canary.next() in (await client.service(balancer.service_id)).instances
    assert balancer.next(canary=True) in (await client.service(balancer.service_id)).instances
    with pytest.raises(ValueError, match="route must not be blank"):
        client.balancer(balancer.service_id, route=" ")


class JavaNode:
    """Carries the answer of a Java node with management, whatever is asked."""

    def __init__(self, service_id: str) -> None:
        shown = [
            {"regionId": "local", "zoneId": zone, "serviceId": service_id, "instanceId": name, "url": f"http://{name}"}
            for name, zone in [("a", "zone1"), ("b", "zone2"), ("c", "zone2")]
        ]
        rules = [
            self.rule("default-route-rule", "weighted-round-robin", [(f"{service_id}/local/zone1", 3, [])], ["c"]),
            self.rule("near", "close-by-visit", [(service_id, 5, [])], []),
            self.rule("canary-route-rule", "weighted-round-robin", [(f"{service_id}/local/canary/app", 5, ["b"])], []),
        ]
        service = {"serviceId": service_id, "instances": shown, "logicInstances": [], "routeRules": rules}
        status = {"status": "success", "errorCode": "success", "message": None}
        self.answer = json.dumps({"responseStatus": status, "services": [service]}).encode()

    @staticmethod
    def rule(
        name: str, strategy: str, groups: list[tuple[str, int, list[str]]], listed: list[str]
    ) -> dict[str, object]:
        """Build a rule of addressed groups, and one that lists instances at a weight of 1."""
        made = [{"groupKey": key, "weight": weight, "instanceIds": ids} for key, weight, ids in groups]
        return {
            "routeId": name,
            "strategy": strategy,
            "groups": [*made, {"groupKey": "x", "weight": 1, "instanceIds": listed}],
        }

    async def call(self, node: str, path: str, body: bytes, timeout: float) -> Reply:  # noqa: ASYNC109 - see Transport
        """Answer a lookup."""
        return Reply(self.answer)

    async def close(self) -> None:
        """Nothing is open."""


async def test_the_rules_that_a_java_node_answers_with_are_followed(service_id: str, quick: ClientOptions) -> None:
    """By weight, by zone, and for the canary."""
    node = JavaNode(service_id)
    async with ArtemisClient(
        servers=["http://127.0.0.1:1"], region_id="local", zone_id="zone1", options=quick, transport=node
    ) as client:
        balancer = client.balancer(service_id)
        await balancer.ready()
        assert {"a": 30, "c": 10} == Counter(balancer.next().instance_id for _ in range(40))
        assert {"b"} == {balancer.next(canary=True).instance_id for _ in range(10)}
        assert {"b"} == {client.balancer(service_id, route="canary-route-rule").next().instance_id for _ in range(10)}
        assert {"a"} == {client.balancer(service_id, route="near").next().instance_id for _ in range(10)}


async def test_a_request_is_entered_once(balancer: Balancer) -> None:
    """Another needs another choice."""
    request = balancer.request()
    with request, pytest.raises(RuntimeError, match="once"):
        request.__enter__()


async def test_the_status_of_an_instance_is_not_looked_at(client: ArtemisClient, service_id: str) -> None:
    """It is free text of the owner, and the server shows it as it is (spec 1.3)."""
    await client.api.register([instance(service_id, "a", status="down"), instance(service_id, "b", status="up")])
    balancer = client.balancer(service_id)
    await balancer.ready()
    assert "ab" == names(balancer)


async def test_choices_repeat_with_the_seed_of_the_client(node_url: str, service_id: str) -> None:
    """Whatever the strategy; another client made alike chooses alike."""
    runs = []
    for _ in range(2):
        random = Random(5)  # noqa: S311 - choices to be repeated, no secret
        async with ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1", random=random) as client:
            await client.api.register([instance(service_id, name) for name in "abcdef"])
            await client.service(service_id)
            random.seed(6)
            balancers = [client.balancer(service_id, one) for one in ("round-robin", "random", "power-of-two")]
            runs.append([balancer.next() for balancer in balancers for _ in range(20)])
    assert runs[0] == runs[1]


async def test_many_threads_may_choose_at_once(client: ArtemisClient, balancer: Balancer) -> None:
    """Turns are exact over all of them, nothing stays counted as under way, and events reach the loop."""
    turns = client.balancer(balancer.service_id)
    events = client.events()

    def work(_: int) -> Counter[str | None]:
        found: Counter[str | None] = Counter()
        for _ in range(300):
            found[turns.next().instance_id] += 1
            with balancer.request():
                pass
        return found

    def fail() -> None:
        for _ in range(5):
            balancer.report(chosen, ok=False)

    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(8) as pool:
        counted = await asyncio.gather(*(loop.run_in_executor(pool, work, number) for number in range(8)))
        assert {"a": 800, "b": 800, "c": 800} == sum(counted, Counter())
        with balancer.request() as a, balancer.request() as b, balancer.request() as chosen:
            assert 3 == len({a.instance_id, b.instance_id, chosen.instance_id})
        await loop.run_in_executor(pool, fail)
        assert OutlierEjected(balancer.service_id, chosen, 5, 10.0) == await of_outliers(events)


async def test_a_thread_that_asks_for_a_new_service_makes_the_loop_look_it_up(
    client: ArtemisClient, service_id: str
) -> None:
    """Without touching the loop; it finds the instances as soon as they have come."""
    await client.api.register([instance(service_id, "a")])
    balancer = client.balancer(service_id)
    with pytest.raises(NoInstancesError, match="not been looked up"):
        await asyncio.to_thread(balancer.next)
    async with asyncio.timeout(PATIENCE):
        await anext(client.watch(service_id))
    assert "a" == (await asyncio.to_thread(balancer.next)).instance_id


async def test_a_closed_client_chooses_no_more(node_url: str, service_id: str) -> None:
    """Nor does one that was never open."""
    client = ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1")
    balancer = client.balancer(service_id)
    with pytest.raises(ClosedError):
        balancer.next()
    async with client:
        await client.api.register([instance(service_id, "a")])
        await balancer.ready()
        assert "a" == balancer.next().instance_id
    with pytest.raises(ClosedError):
        balancer.next()


async def test_what_is_kept_is_bounded(node_url: str, service_id: str) -> None:
    """Of more services than are followed the one asked for longest ago is forgotten; its balancer goes on."""
    options = ClientOptions(max_services=1)
    async with ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1", options=options) as client:
        await client.api.register([instance(service_id, name) for name in "ab"])
        balancer = client.balancer(service_id)
        await balancer.ready()
        await client.balancer(f"{service_id}-other").ready()
        with pytest.raises(NoInstancesError, match="not been looked up"):
            balancer.next()
        await balancer.ready()
        assert "ab" == names(balancer)


@pytest.fixture
async def greeters() -> AsyncIterator[list[str]]:
    """Run two instances that greet."""

    async def hello(request: web.Request) -> web.Response:
        return web.Response(text=f"hello from {request.url.port}")

    app = web.Application()
    app.router.add_get("/hello", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    sites = [web.TCPSite(runner, "127.0.0.1", 0) for _ in range(2)]
    for site in sites:
        await site.start()
    yield [f"http://127.0.0.1:{address[1]}" for address in runner.addresses]
    await runner.cleanup()


async def test_the_example_runs(greeters: list[str], unused_tcp_port: int) -> None:
    """As it stands; an instance that is gone costs a line on the way, and no answer."""
    urls = [*greeters, f"http://127.0.0.1:{unused_tcp_port}"]
    async with running_node() as node, ArtemisClient(servers=[node.url], region_id="local", zone_id="zone1") as client:
        await client.api.register(
            [
                Instance(region_id="local", zone_id="zone1", service_id="greetings", instance_id=url[7:], url=url)
                for url in urls
            ]
        )
        async with asyncio.timeout(PATIENCE):
            run = await asyncio.create_subprocess_exec(
                sys.executable, EXAMPLE, node.url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            output, errors = await run.communicate()
    lines = output.decode().splitlines()
    assert (0, 9) == (run.returncode, len(lines)), errors.decode()
    assert all("hello from" in line for line in lines)
    assert lines[6].rpartition(" ")[2] == lines[8].rpartition(" ")[2]
