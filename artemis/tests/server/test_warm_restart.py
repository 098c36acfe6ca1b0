"""A node that comes back: real processes that are killed or stopped, and files that are damaged meanwhile."""

import asyncio
import errno
import json
import os
import shutil
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from doors import get, instance

from artemis.registry.restore import read_header
from artemis.registry.snapshot import FORMAT, HEADER, MAGIC, framed
from artemis.server.app import NodeServer
from artemis.server.claim import ListenError
from artemis.server.data_directory import DataDirectoryError, hold, read_regular
from artemis.server.persistence import LATEST, PREVIOUS
from artemis.testing import RunningNode, running_node_sync

LOOKUP = "/api/discovery/service.json?serviceId=demo.orders&regionId=r1"


def ask(node: RunningNode, path: str, body: object = None) -> bytes:
    """GET, or POST JSON; the body of the answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(node.url + path, data, {"Content-Type": "application/json"})  # noqa: S310 - http
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - as above
        return bytes(answer.read())


def number(node: RunningNode, name: str) -> float:
    """One number of /metrics."""
    lines = (ask(node, "/metrics")).decode().splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(name + " ")))


def written(node: RunningNode, more: int) -> None:
    """Wait until the node has written that many more snapshots: the first of two may have begun before."""
    name = 'artemis_snapshots_total{event="written"}'
    wanted = number(node, name) + more
    deadline = time.monotonic() + 20
    while number(node, name) < wanted:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def register(node: RunningNode, count: int) -> None:
    """Register instances 0 to count of a service."""
    ask(node, "/api/registry/register.json", {"instances": [instance(n) for n in range(count)]})


def instances(node: RunningNode) -> set[str]:
    """What a lookup shows."""
    service = json.loads(ask(node, LOOKUP))["service"]
    return {each["instanceId"] for each in service["instances"]}


def test_a_killed_node_knows_its_instances_at_once(tmp_path: Path):
    """After kill -9 everything up to the last snapshot is served from the first answer on."""
    with running_node_sync(region="r1", data_dir=str(tmp_path), snapshot_interval=0.1) as node:
        register(node, 1_000)
        before = ask(node, LOOKUP)
        written(node, 2)
        node.kill()
        node.restart()
        assert before == ask(node, LOOKUP)
        assert 1_000 == number(node, "artemis_instances")
        assert 1 == number(node, "artemis_unconfirmed")
        assert 1 == number(node, 'artemis_snapshots_total{event="loaded"}')
        assert "comes back with the next heartbeats" in node.output


def test_a_stopped_node_goes_on_exactly(tmp_path: Path):
    """A graceful end writes what no interval would have; versions are the same in the next life."""
    with running_node_sync(region="r1", data_dir=str(tmp_path), snapshot_interval=0) as node:
        register(node, 20)
        before = ask(node, "/api/discovery/services.json")
        assert [] == list(tmp_path.glob("registry.snapshot*"))
        assert 0 == node.stop()
        assert 0o600 == (tmp_path / LATEST).stat().st_mode & 0o777
        node.restart()
        assert before == ask(node, "/api/discovery/services.json")
        assert "cursors and versions hold" in node.output


def damage(path: Path) -> None:
    """Change a byte in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_damaged_snapshot_is_set_aside_and_the_one_before_is_used(tmp_path: Path):
    """The older generation is tried; the damaged file stays for whoever wants to look at it."""
    with running_node_sync(region="r1", data_dir=str(tmp_path), snapshot_interval=0.1) as node:
        register(node, 50)
        written(node, 3)
        node.kill()
        damage(tmp_path / LATEST)
        node.restart()
        assert 50 == len(instances(node))
        assert 1 == number(node, 'artemis_snapshots_total{event="set_aside"}')
    assert [LATEST] == [path.name.partition(".damaged-")[0] for path in tmp_path.glob("*.damaged-*")]
    assert "snapshot cannot be used" in node.output
    assert "is damaged" in node.output


def test_a_snapshot_of_a_later_release_is_kept_under_a_name_that_says_so(tmp_path: Path):
    """After a release was taken back: it is no damage, and the log names both formats."""
    with running_node_sync(region="r1", data_dir=str(tmp_path), snapshot_interval=0) as node:
        register(node, 5)
        node.stop()
        data = (tmp_path / LATEST).read_bytes()
        later = msgspec.structs.replace(read_header(data), format=FORMAT + 1)
        newer = MAGIC + framed(HEADER, msgspec.msgpack.encode(later))
        (tmp_path / LATEST).write_bytes(newer)
        node.restart()
        assert f"its format is {FORMAT + 1}, that of a later release" in node.output
    [kept] = tmp_path.glob(f"{LATEST}.newer-*")
    assert newer == kept.read_bytes()
    assert [] == list(tmp_path.glob("*.damaged-*"))


def test_with_nothing_but_damage_a_node_starts_empty(tmp_path: Path):
    """Truncated and foreign files are set aside, and the node serves."""
    with running_node_sync(region="r1", data_dir=str(tmp_path), snapshot_interval=0) as node:
        register(node, 50)
        node.stop()
        data = (tmp_path / LATEST).read_bytes()
        (tmp_path / LATEST).write_bytes(data[: len(data) // 2])
        (tmp_path / PREVIOUS).write_bytes(b"\0" * 10_000)
        node.restart()
        assert set() == instances(node)
        assert 0 == number(node, "artemis_unconfirmed")
        register(node, 3)
        assert 3 == len(instances(node))
    assert 2 == len(list(tmp_path.glob("*.damaged-*")))


async def test_a_node_of_another_region_does_not_take_it(tmp_path: Path, start: Callable[..., object]):
    """A snapshot of another region is foreign: set aside, not served."""
    async with start(data_dir=tmp_path, self_url="http://127.0.0.1:1"):
        pass
    async with start(data_dir=tmp_path, self_url="http://127.0.0.1:1", region="r2") as server:
        assert {"set_aside": 1, "loaded": 0} == {
            name: server.persistence.counters[name] for name in ("set_aside", "loaded")
        }


async def test_a_full_disk_is_told_and_survived(
    tmp_path: Path, start: Callable[..., object], connect: Callable[..., object], monkeypatch: pytest.MonkeyPatch
):
    """An error of the disk is counted and logged, the last whole snapshot stays, and the next one is tried."""
    async with start(data_dir=tmp_path, snapshot_interval=0) as server:
        wire = await connect(server)
        await wire.post("/api/registry/register.json", {"instances": [instance()]})
        assert await server.persistence.write(cut(server))
        whole = (tmp_path / LATEST).read_bytes()

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            assert not await server.persistence.write(cut(server))
        assert whole == (tmp_path / LATEST).read_bytes()
        assert {LATEST, "node.json", "node.lock"} == names(tmp_path)
        assert (1, 1) == (server.persistence.counters["written"], server.persistence.counters["failed"])
        await wire.send(get(LOOKUP))
        assert 200 == (await wire.answer())[0]
        assert await server.persistence.write(cut(server))
        assert whole[:19] == (tmp_path / PREVIOUS).read_bytes()[:19]


def names(directory: Path) -> set[str]:
    """The files of a directory."""
    return {path.name for path in directory.iterdir()}


def cut(server: NodeServer) -> object:
    """What the node knows now."""
    return server.node.cut(0, 1_700_000_000_000)


async def test_an_unwritable_directory_is_survived(tmp_path: Path, start: Callable[..., object]):
    """A directory that vanished while the node runs costs the snapshots, not the node."""
    directory = tmp_path / "data"
    async with start(data_dir=directory, snapshot_interval=0) as server:
        shutil.rmtree(directory)
        assert not await server.persistence.write(cut(server))
    assert 2 == server.persistence.counters["failed"]


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["directory", "pipe"])
async def test_what_stands_in_the_way_of_snapshots_is_set_aside(
    tmp_path: Path, start: Callable[..., object], make: Callable[[Path], None]
):
    """Directories and pipes with the names of snapshots stop neither the start nor the writing."""
    for name in (LATEST, PREVIOUS, f"{LATEST}.new", "node.json", "node.new"):
        make(tmp_path / name)
    async with start(data_dir=tmp_path, snapshot_interval=0) as server:
        (tmp_path / PREVIOUS).mkdir(exist_ok=True)
        assert await server.persistence.write(cut(server))
        assert await server.persistence.write(cut(server))
    kept = {LATEST, PREVIOUS, "node.json", "node.lock"}
    assert kept == {name for name in names(tmp_path) if ".damaged-" not in name}
    assert all((tmp_path / name).is_file() for name in kept)


@pytest.mark.parametrize("damage", [None, b"", b"{", b'{"node_id":"","epoch":1}', b'{"node_id":"n","epoch":-5}'])
async def test_a_damaged_identity_costs_no_lease(
    tmp_path: Path, start: Callable[..., object], connect: Callable[..., object], damage: bytes | None
):
    """A node whose id is damaged or gone gets it back from its snapshot, with what that holds, and goes on upward."""
    async with start(data_dir=tmp_path, self_url="http://before:1", snapshot_interval=0) as server:
        wire = await connect(server)
        await wire.post("/api/registry/register.json", {"instances": [instance()]})
        epoch = server.node.identity.epoch
    (tmp_path / "node.json").unlink()
    if damage is not None:
        (tmp_path / "node.json").write_bytes(damage)
    async with start(data_dir=tmp_path, self_url="http://after:1", snapshot_interval=0) as server:
        assert ("before:1", True) == (server.node.identity.node_id, server.node.identity.epoch > epoch)
        assert 1 == len(server.node.registry)
    assert b'"before:1"' in read_regular(tmp_path / "node.json")
    assert (damage is not None) == any(name.startswith("node.json.damaged-") for name in names(tmp_path))


async def test_a_node_that_ends_leaves_its_directory_to_the_next(tmp_path: Path, start: Callable[..., object]):
    """While one node serves another cannot have the directory; afterwards it can."""
    async with start(data_dir=tmp_path):
        with pytest.raises(DataDirectoryError, match="in use by another node"):
            await hold(tmp_path, 0)
    (await hold(tmp_path, 0)).release()


async def test_a_start_that_fails_leaves_the_directory(tmp_path: Path, start: Callable[..., object]):
    """A port that cannot be had costs nobody the data directory."""
    async with start() as server:
        with pytest.raises(ListenError):
            async with start(data_dir=tmp_path, port=server.address[1]):
                pass
    (await hold(tmp_path, 0)).release()


async def test_a_longer_interval_is_taken_over(tmp_path: Path, start: Callable[..., object]):
    """A node whose snapshots are switched on while it runs writes the first one at once."""
    async with start(data_dir=tmp_path, snapshot_interval=0) as server:
        server.reconfigure(server.config.model_copy(update={"snapshot_interval": 3_600.0}))
        async with asyncio.timeout(30):
            while not server.persistence.counters["written"]:  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.01)
    assert 2 == server.persistence.counters["written"]


async def test_what_operators_decide_is_kept_at_once(
    tmp_path: Path, start: Callable[..., object], connect: Callable[..., object]
):
    """A pull-out is in a snapshot soon, whatever the interval, and holds in the next life."""
    async with start(data_dir=tmp_path, snapshot_interval=0) as server:
        wire = await connect(server)
        await wire.post("/api/registry/register.json", {"instances": [instance(1), instance(2)]})
        operation = {
            "instanceKey": {"regionId": "r1", "serviceId": "demo.orders", "instanceId": "10.0.0.1"},
            "operation": "deploy",
            "operationComplete": False,
            "operatorId": "me",
            "token": "t",
        }
        answer = await wire.post("/api/management/operate-instance.json", operation)
        assert "success" == answer["responseStatus"]["status"]
        async with asyncio.timeout(30):
            while not server.persistence.counters["written"]:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
    async with start(data_dir=tmp_path, snapshot_interval=0) as server:
        assert 1 == server.node.catalog.view("demo.orders").instance_count


async def test_without_a_data_directory_there_are_no_snapshots(server: NodeServer):
    """No option, no files and no work."""
    assert server.persistence is None
