"""The planning of clusters: what the model says, and that its parts measure what they say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import scaling
import scaling_costs
from scaling_checks import cores
from scaling_load import MARK, Flow, bodies_of, packets
from scaling_model import fewest, most, nearest, plan
from scaling_terms import (
    MARKERS_AT_MOST,
    NODES_AT_MOST,
    RENEWALS_EARLY,
    TOLD_AT_MOST,
    Costs,
    Mode,
    Room,
    Workload,
    rows,
)

from artemis.cluster import renewing
from artemis.cluster.engine import putting
from artemis.cluster.engine.announcing import MOST_NODES
from artemis.server.cluster_options import MAX_PEERS

MODES: tuple[Mode, ...] = ("mesh", "engine")
WORK = Workload(instances=100_000, services=10_000, lookups=1_000.0, watchers=1_000)
FOLDER = Path(scaling.__file__).parent


@pytest.fixture
def costs() -> Costs:
    """Each operation costs something else, in the range of what was measured."""
    values = {name: 10.0 + number for number, name in enumerate(Costs.__struct_fields__)}
    values |= {"renewal_told": 0.5, "renewal_taken": 0.3, "renewal_bytes": 4.0, "digest": 0.5, "view_instance": 0.1}
    values |= {"memory_node": 7e7, "memory_lease": 1_500.0, "content": 330.0}
    return Costs(**values)


def with_only(**values: float) -> Costs:
    """Nothing costs anything but this."""
    return Costs(**{**dict.fromkeys(Costs.__struct_fields__, 0.0), "content": 330.0, **values})


def test_constants_are_those_of_the_nodes() -> None:
    """What the model says of messages and beats is what nodes do."""
    assert 10 * renewing._AT_ONCE == TOLD_AT_MOST  # ten ticks a second
    assert renewing._EARLY == RENEWALS_EARLY
    assert 1_000 / putting._STORED == MARKERS_AT_MOST
    assert {"mesh": MAX_PEERS + 1, "engine": MOST_NODES + 1} == NODES_AT_MOST


def test_a_heartbeat_costs_its_node_once_and_every_other_one_less() -> None:
    """200 heartbeats a second at 4 nodes: 50 at each cost what a client costs, and 150 what is told costs."""
    work = Workload(instances=1_000, services=100, changes=0.0, lookups=0.0, watchers=0)

    for mode in MODES:
        found = plan(with_only(heartbeat_message=100.0, heartbeat_instance=20.0, renewal_taken=2.0), work, mode, 4)

        assert pytest.approx(50 * 120e-6) == found.processor["heartbeats"]
        assert pytest.approx(150 * 2e-6) == found.processor["taking in"]


def test_heartbeats_of_several_instances_share_their_message() -> None:
    """A message of 100 instances costs one message, and each instance what it costs."""
    work = Workload(instances=1_000, services=100, per_message=100, changes=0.0, lookups=0.0, watchers=0)

    found = plan(with_only(heartbeat_message=100.0, heartbeat_instance=2.0), work, "mesh", 1)

    assert pytest.approx(200 * 2e-6 + 2 * 100e-6) == found.processor["heartbeats"]


def test_a_change_goes_to_each_peer_or_to_the_bucket() -> None:
    """In a mesh its node sends it to all others; with the engine it puts it once, and the server sends it to all."""
    work = Workload(instances=3_600, services=36, changes=10.0, lookups=0.0, watchers=0)
    sizes = {"change_bytes": 500.0, "put_bytes": 600.0, "entry_bytes": 700.0}

    mesh, engine = (plan(with_only(**sizes), work, mode, 5, Room(delay=0.0)) for mode in MODES)

    assert pytest.approx(2 * 4 * 500) == mesh.sent == mesh.received
    assert pytest.approx(2 * 600) == engine.sent
    assert pytest.approx(10 * 700) == engine.received
    assert (20, 5) == (mesh.links, engine.links)


def test_larger_instances_cost_their_bytes() -> None:
    """What an instance has beyond the one that costs were measured with is in messages and memory."""
    small = Workload(instances=3_600, services=36, changes=10.0, lookups=0.0, watchers=0)
    large = msgspec.structs.replace(small, content=small.content + 1_000)
    costs = with_only(change_bytes=500.0, memory_lease=1_500.0)

    less, more = (plan(costs, work, "mesh", 2, Room(delay=0.0)) for work in (small, large))

    assert pytest.approx(5 * 1_000) == more.sent - less.sent
    assert pytest.approx(3_600 * 1_000) == more.memory - less.memory


def test_whoever_waits_is_woken() -> None:
    """A node is used for what it does and for being woken in the share of time in which it waits."""
    work = Workload(instances=1_000, services=100, changes=0.0, lookups=10_000.0, watchers=0, heartbeat=1e9)

    found = plan(with_only(lookup=30.0, wake=50.0), work, "mesh", 1)

    assert pytest.approx(0.3 + 10_000 * 50e-6 * (1 - found.used), abs=1e-3) == found.used


def test_changes_on_their_way_make_buckets_differ(costs: Costs) -> None:
    """The more records and the more changes, the more is compared; with one node nothing is."""
    little, much = (plan(costs, WORK.of(count), "mesh", 3).processor["comparing"] for count in (10_000, 100_000))

    assert pytest.approx(100 * little) == much
    assert "comparing" not in plan(costs, WORK, "mesh", 1).processor


@pytest.mark.parametrize("mode", MODES)
def test_the_fewest_nodes_that_do_are_planned(costs: Costs, mode: Mode) -> None:
    """With one node fewer something ends."""
    work, room = WORK.of(1_000_000), Room(connections=1e9)

    found = fewest(costs, work, mode, room)

    assert found is not None
    assert found.fits
    assert found.nodes > room.least
    assert not plan(costs, work, mode, found.nodes - 1, room).fits


@pytest.mark.parametrize("mode", MODES)
def test_where_a_mode_ends_is_named(costs: Costs, mode: Mode) -> None:
    """Up to there some number of nodes does, and somewhat beyond none, for the reason that is given."""
    room = Room(memory=2.0 * 2**30, connections=1e9)

    count, what = most(costs, WORK, mode, room)

    assert fewest(costs, WORK.of(count), mode, room) is not None
    assert fewest(costs, WORK.of(count * 103 // 100), mode, room) is None
    assert what == nearest(costs, WORK.of(count * 103 // 100), mode, room).tightest


def test_a_plan_is_shown_with_all_its_parts(costs: Costs) -> None:
    """A table has a line for each part of each plan, and a column for each."""
    shown = rows({"one": plan(costs, WORK, "mesh", 3), "other": plan(costs, WORK, "engine", 3)})

    assert {3} == {len(line) for line in shown}
    assert {"of it heartbeats", "of it comparing", "of it waking up"} <= {line[0] for line in shown}


def test_cores_send_what_is_predicted() -> None:
    """Bytes among five cores, whose time is simulated, are within a tenth of what two say of them."""
    found = [each for each in cores((5,), 600, 3) if each.what.startswith("bytes")]

    assert MODES == tuple(each.mode for each in found)
    assert [each for each in found if not 0.9 < each.ratio < 1.1] == []


def test_costs_of_cores_are_measured() -> None:
    """Every one of them is something."""
    found = scaling_costs.cores(4_000)

    assert set() == {name for name, value in found.items() if value <= 0 and name != "digest"}
    assert 4.0 <= found["renewal_bytes"] < 5.0


def test_registrations_change_and_heartbeats_do_not() -> None:
    """A connection's registrations differ from round to round, so that each is a change."""
    register = Flow(kind="register", count=2)
    bodies = bodies_of(register, 1, [0, 1])
    said = packets("register", bodies, once=False, changing=True)
    rounds = [[next(said)[16:] for _ in bodies] for _ in range(2)]

    assert all(MARK in body for body in bodies)
    assert 4 == len({*rounds[0], *rounds[1]})
    assert [body for body in bodies_of(Flow(kind="heartbeat", count=2), 1, [0, 1]) if MARK in body] == []


def test_everybody_can_plan(tmp_path: Path, costs: Costs) -> None:
    """The program plans with costs of a file, for a workload that is told as options."""
    file = tmp_path / "costs.json"
    file.write_bytes(msgspec.json.encode({"costs": costs}))
    arguments = ["--costs", str(file), "--instances", "50000", "--nodes", "4", "--heartbeat", "10", "--json"]

    ended = subprocess.run(
        [sys.executable, str(FOLDER / "scaling.py"), *arguments], capture_output=True, text=True, check=True, timeout=60
    )

    told = json.loads(ended.stdout)
    expected = plan(costs, Workload(heartbeat=10.0).of(50_000), "mesh", 4)
    assert {"50,000 mesh", "50,000 engine"} == told["plans"].keys()
    assert pytest.approx(expected.processor["heartbeats"]) == told["plans"]["50,000 mesh"]["processor"]["heartbeats"]


def test_costs_that_are_missing_are_named(tmp_path: Path) -> None:
    """Those of the engine cannot be measured everywhere."""
    file = tmp_path / "costs.json"
    file.write_text('{"costs": {"register": 1.0}}')

    with pytest.raises(SystemExit, match="lacks content, wake"):
        scaling.read_costs(file)


def test_costs_of_the_documents_are_whole() -> None:
    """Whoever plans need not measure."""
    assert scaling.read_costs(scaling.COSTS).register > 0


@pytest.mark.skipif(sys.platform != "linux", reason="memory and processor time of other processes are Linux's")
def test_clusters_are_measured() -> None:
    """The program runs two nodes of two workers, loads them, and tells every figure."""
    ended = subprocess.run(
        [sys.executable, str(FOLDER / "cluster_modes.py"), "--mesh", "2x2", "--engine", "--instances", "1000",
         "--seconds", "0.3", "--json"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip

    assert 0 == ended.returncode, ended.stderr
    (found,) = json.loads(ended.stdout)["clusters"]
    assert ("mesh", 2, 2, 1_000) == tuple(found[name] for name in ("mode", "nodes", "workers", "instances"))
    assert [] == [name for name, value in found.items() if name != "mode" and not value > 0]
