"""The parts of a machine with several workers: shares of limits, what is held, numbers of all, options of a reload."""

import asyncio
import itertools
import socket
from types import SimpleNamespace

import pytest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from artemis.cluster.addresses import peer_url
from artemis.server.claim import ListenError
from artemis.server.config import ConfigError, ServeConfig, load_config
from artemis.server.workers.barrier import Barrier
from artemis.server.workers.ground import Ground
from artemis.server.workers.place import Place
from artemis.server.workers.shares import shared_out
from artemis.server.workers.totals import Totals
from msgtrans.workers import Group, WorkerState

PATIENCE = 0.02


def place(index: int, count: int) -> Place:
    """A worker's place; its sockets are of no interest."""
    url = peer_url("http://127.0.0.1:1")
    rest = {
        "secret": b"",
        "url": url,
        "siblings": (),
        "mesh": None,
        "hosts": (),
        "port": 1,
        "plain_port": None,
        "listen": None,
        "totals": None,
        "life": "one",
        "leave": None,
    }
    return Place(index=index, count=count, machine="m", **rest)


@pytest.mark.parametrize("limit", [1, 2, 3, 30, 15_000, 2_000_000])
@pytest.mark.parametrize("count", [2, 3, 7])
def test_the_shares_of_a_limit_add_up_to_it(limit, count):
    """Each is one at least, so that no worker refuses everybody."""
    shares = [place(index, count).share(limit) for index in range(count)]
    assert max(limit, count) == sum(shares)
    assert max(shares) - min(shares) <= 1


def test_what_has_no_limit_has_none_in_any_share():
    """0 stands for that."""
    assert 0 == place(1, 4).share(0)


def test_limits_of_connections_sessions_and_rates_are_shared_out():
    """And nothing else of the options is touched."""
    config = ServeConfig(rate_limit_map={"registry.register": 5_000}, rate_limit_per_caller=100)
    mine = shared_out(config, place(0, 2))
    assert (7_500, 6_000, 15, 50) == (
        mine.max_connections,
        mine.max_ws_sessions,
        mine.rate_limit_status,
        mine.rate_limit_per_caller,
    )
    assert {"registry.register": 2_500} == mine.rate_limit_map
    same = {name for name in ServeConfig.model_fields if getattr(mine, name) == getattr(config, name)}
    assert {name for name in ServeConfig.model_fields if name.startswith(("max_instances", "lease"))} <= same


def test_ids_and_directories_are_the_machines_for_the_first_worker(tmp_path):
    """And told apart for the others."""
    first, second = place(0, 2), place(1, 2)
    assert ("m", "m#1") == (first.node_id, second.node_id)
    assert (tmp_path, tmp_path / "worker-1") == (first.directory_of(tmp_path), second.directory_of(tmp_path))
    assert second.directory_of(None) is None


def test_no_two_workers_begin_with_versions_near_each_other():
    """And all of them fit into the whole numbers that JSON is exact for."""
    wall = 4_102_444_800_000  # in the year 2100
    firsts = [place(index, 64).first_version(wall) for index in range(64)]
    assert wall == firsts[0]
    assert all(later - earlier > 2**43 for earlier, later in itertools.pairwise(firsts))
    assert firsts[-1] < 2**53


class Acknowledged:
    """Siblings by how far they are."""

    def __init__(self, **reached: int) -> None:
        self.reached = reached
        self.heard = None

    def lacking(self, seq: int) -> list[str]:
        """As `Acknowledging.lacking`."""
        return [name for name, known in self.reached.items() if known < seq]


def barrier(siblings: Acknowledged, heard: dict[str, int], *, now: int = 10_000) -> tuple[Barrier, dict[str, int]]:
    """A barrier, and the vector whose number it looks at."""
    vector = {"me": 0}
    registry = SimpleNamespace(pending={}, vector=vector, origin="me")
    return Barrier(registry, heard, siblings, beat=1.0, patience=PATIENCE, now=lambda: now), vector


async def test_an_answer_is_held_until_all_siblings_have_the_change():
    """In order, and not for those that nothing was changed by."""
    siblings = Acknowledged(a=0, b=0)
    held, vector = barrier(siblings, {"a": 10_000, "b": 10_000})
    mark = held.mark()
    assert not held.behind(mark)
    vector["me"] = 1
    assert held.behind(mark)
    told: list[int] = []
    held.hold(lambda: told.append(1))
    vector["me"] = 2
    held.hold(lambda: told.append(2))
    for name, known, expected in (("a", 2, []), ("b", 1, [1]), ("b", 2, [1, 2])):
        siblings.reached[name] = known
        siblings.heard()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert expected == told
    assert {"waited": 2, "in_vain": 0} == dict(held.counters)
    assert not held.behind(mark)
    held.close()


async def test_an_answer_is_given_after_a_while_all_the_same():
    """It is counted that it waited in vain."""
    siblings = Acknowledged(a=0)
    held, vector = barrier(siblings, {"a": 10_000})
    vector["me"] = 1
    began = asyncio.get_running_loop().time()
    await held.wait()
    assert asyncio.get_running_loop().time() - began >= PATIENCE - 0.002
    assert {"waited": 1, "in_vain": 1} == dict(held.counters)


async def test_nobody_waits_for_a_sibling_that_is_silent():
    """It is about to be taken for dead."""
    held, vector = barrier(Acknowledged(a=0), {"a": 7_000})
    vector["me"] = 1
    assert not held.behind(0)


async def test_what_is_held_at_the_end_is_let_go():
    """Whoever waits gets his answer."""
    held, vector = barrier(Acknowledged(a=0), {"a": 10_000})
    vector["me"] = 1
    told: list[int] = []
    held.hold(lambda: told.append(1))
    held.close()
    assert [1] == told


class Link:
    """A supervisor that knows two workers, of which the other reports what it is given."""

    def __init__(self) -> None:
        self.figures = None
        self.left = {}
        self.others: list[tuple[dict[str, float], dict[str, float]]] = []

    async def group(self) -> Group:
        """As `WorkerLink.group`."""
        all_of_them = [self.figures(), *self.others]
        sums = dict(self.left)
        for counted, _ in all_of_them:
            for name, value in counted.items():
                sums[name] = sums.get(name, 0.0) + value
        workers = [
            WorkerState(index=k, pid=k, ready=True, uptime=1.0, reported=0.0, counters={}, states=states)
            for k, (_, states) in enumerate(all_of_them)
        ]
        return Group(uptime=1.0, started_at=0.0, restarts=3, total={}, workers=workers, sums=sums)


def families(requests: float, connections: float, instances: float, age: float):
    """What one worker counts."""
    counter = CounterMetricFamily("artemis_requests", "x", labels=["door"])
    counter.add_metric(["http"], requests)
    gauge = GaugeMetricFamily("artemis_open_connections", "x", labels=["door"])
    gauge.add_metric(["http"], connections)
    yield counter
    yield gauge
    yield GaugeMetricFamily("artemis_instances", "x", value=instances)
    yield GaugeMetricFamily("artemis_age_seconds", "x", value=age)


async def test_numbers_of_all_workers_are_added_or_told_apart():
    """What those counted that have ended is in the sum; before anybody was asked a worker tells its own."""
    link, other = Link(), Link()
    mine, theirs = Totals(link, None), Totals(other, None)
    mine.own, theirs.own = lambda: families(5, 2, 10, 0.1), lambda: families(7, 1, 11, 0.4)
    mine.doors, theirs.doors = lambda: {"http": 2}, lambda: {"http": 1}
    assert ({"http": 2}, 5) == (mine.open_doors(), next(iter(mine.families())).samples[0].value)
    link.others = [other.figures()]
    counted, _ = other.figures()
    link.left = dict.fromkeys(counted, 100.0)
    await mine.gather()
    found = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in mine.families()
        for sample in family.samples
    }
    assert {
        ("artemis_requests_total", (("door", "http"),)): 112.0,
        ("artemis_open_connections", (("door", "http"),)): 3.0,
        ("artemis_instances", ()): 11.0,
        ("artemis_age_seconds", (("worker", "0"),)): 0.1,
        ("artemis_age_seconds", (("worker", "1"),)): 0.4,
        ("artemis_workers", ()): 2.0,
        ("artemis_worker_restarts_total", ()): 3.0,
    } == found
    assert {"http": 3} == mine.open_doors()


def test_the_ground_gives_each_worker_a_place():
    """Siblings know each other's sockets and one secret."""
    ground = Ground(ServeConfig(port=0, workers=3))
    try:
        places = [ground.place(index, None, None, None) for index in range(3)]
    finally:
        ground.close()
    urls = [each.url for each in places]
    assert [[url for url in urls if url != each.url] for each in places] == [list(each.siblings) for each in places]
    assert 1 == len({each.secret for each in places})
    assert 32 == len(places[0].secret)
    assert f"127.0.0.1:{ground.port}" == places[0].machine
    with socket.create_server(("127.0.0.1", ground.port)):
        pass  # it is free again


def test_a_port_at_which_somebody_listens_is_named():
    """And nothing is kept."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ListenError, match=rf"cannot listen on 127.0.0.1:{port} of TCP: .*; choose another --port"):
            Ground(ServeConfig(port=port, workers=2))


def test_a_host_that_is_none_is_named():
    """As with one process."""
    with pytest.raises(ListenError, match="choose another --host"):
        Ground(ServeConfig(host="nobody.invalid", port=0, workers=2))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "workers-port: is of use only with --workers 2 or more, and --peers or another list"),
        ({"workers": 2}, "workers-port: is of use only with"),
        ({"workers": 2, "cluster": "nats://127.0.0.1:4222"}, "workers-port: is of use only with"),
        ({"peers": "http://127.0.0.1:1"}, "workers-port: is of use only with"),
        (
            {"workers": 3, "peers": "http://127.0.0.1:1", "port": 9002},
            "take the ports 9000 to 9002, and 9002 is --port",
        ),
        ({"workers": 2, "peers": "http://127.0.0.1:1", "workers_port": 65_535}, "may be 65534 at most"),
    ],
)
def test_ports_of_workers_that_cannot_be_are_refused(options, says):
    """With a sentence that says what to do."""
    with pytest.raises(ConfigError, match=says):
        load_config(None, {"workers_port": 9000, **options})


def test_in_a_mesh_each_worker_has_a_port_for_links(tmp_path):
    """All know where those of the others are, and trust each other by the cluster's secret."""
    secret = tmp_path / "secret"
    secret.write_text("a secret of some length\n")
    ground = Ground(ServeConfig(port=0, workers=2, cluster_secret_file=secret, self_url="http://10.0.0.7:8080/x"))
    try:
        links = [ground.place(index, None, None, None).links for index in range(2)]
        assert links[0] is not None
        assert links[1] is not None
        ports = [each.bound[0].getsockname()[1] for each in links]
        trusted = ground.place(0, None, None, None).secret
    finally:
        ground.close()
    assert [f"http://10.0.0.7:{port}" for port in ports] == [each.url for each in links]
    assert [(links[0].url, links[1].url)] * 2 == [each.everywhere for each in links]
    assert b"a secret of some length" == trusted


def test_a_port_of_a_worker_that_is_taken_is_named():
    """And nothing is kept."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        config = ServeConfig(port=0, workers=2, workers_port=port, peers="http://127.0.0.1:1")
        with pytest.raises(ListenError, match=rf"127.0.0.1:{port} for links with a worker: .* another --workers-port"):
            Ground(config)


def test_workers_around_an_engine_are_taken():
    """Each of them is a member there."""
    assert 2 == load_config(None, {"workers": 2, "cluster": "nats://127.0.0.1:4222"}).workers


def test_each_worker_counts_as_a_node_for_how_long_is_remembered():
    """As each may be the one that expires an instance."""
    assert ServeConfig(workers=2).least_lifetime(2) > ServeConfig().least_lifetime(1)
    with pytest.raises(ConfigError, match="tombstone-lifetime"):
        load_config(None, {"workers": 2, "tombstone_lifetime": 91})
