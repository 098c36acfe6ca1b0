"""Machines with two workers each around an engine: every worker is a member, every machine is one node to the outside.

They need nats-server and time; `make test-services` runs them.
"""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from worker_courses import kill_a_worker, reload_it, switch_something
from worker_machines import DEADLINE, instance, machine
from worker_waits import command, until_all_show, until_held, until_offered

from artemis.testing.certificates import make_certificate
from artemis.testing.java import JavaNode, JavaNodeSettings
from artemis.testing.nats_servers import NatsServer, nats_server

pytestmark = pytest.mark.skipif(
    "ARTEMIS_TEST_SERVICES" not in os.environ or nats_server() is None, reason="it needs `make test-services`"
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """Give a server, which ends with the test."""
    one = NatsServer(tmp_path / "nats")
    one.start()
    yield one
    one.kill()


async def test_what_was_written_at_one_worker_is_read_at_its_sibling_at_once(server):
    """Registrations and removals, alternately at both; only answers that were held for 20 ms may be too early."""
    async with machine(cluster=server.url) as running:
        one, two = await running.at_each()
        stale = []
        for number in range(100):
            writer, reader = (one, two) if number % 2 else (two, one)
            name = f"i{number}"
            await writer.register(name)
            if name not in await reader.found():
                stale.append(name)
            if number >= 50:
                gone = f"i{number - 50}"
                await reader.ask("/api/registry/unregister.json", {"instances": [instance(gone)]})
                if gone in await writer.found():
                    stale.append(f"-{gone}")
        held = await one.metrics()
    assert 150 <= held["artemis_held_answers_total", 'fate="waited"']
    assert len(stale) <= held["artemis_held_answers_total", 'fate="in_vain"']


async def test_what_is_written_after_a_silence_is_read_at_its_sibling_at_once(server):
    """Siblings that had nothing to acknowledge for a while are there all the same, and waited for."""
    async with machine(cluster=server.url, peer_beat=1) as running:
        one, two = await running.at_each()
        held = []
        for number in range(2):
            await asyncio.sleep(4)  # four beats: after two and a half nobody waits for a sibling that is silent
            before = await one.metrics()
            await one.register(f"i{number}")
            assert f"i{number}" in await two.found()
            after = await one.metrics()
            held.append(_waited(after) - _waited(before))
        assert [1] * 2 == held
        assert 0 == after["artemis_held_answers_total", 'fate="in_vain"']


def _waited(numbers: dict[tuple[str, str], float]) -> float:
    return numbers["artemis_held_answers_total", 'fate="waited"']


async def test_two_machines_and_a_node_of_one_process_are_three_nodes(server):
    """What is registered at each process all show; clients and operators are told of three nodes by all five."""
    async with (
        machine(cluster=server.url) as a,
        machine(cluster=server.url) as b,
        machine(cluster=server.url, workers=1) as c,
    ):
        connections = [*await a.at_each(), *await b.at_each(), await c.connect()]
        for number, connection in enumerate(connections):
            await connection.register(f"at-{number}")
        await until_all_show(connections, {f"at-{number}" for number in range(5)})
        await until_offered(connections, a, b, c)
        for connection in connections:
            status = (await connection.ask("/api/status/cluster.json", {})).json()
            assert (3, 2) == (status["nodeCount"], len(status["members"]))
        code, printed = await command("doctor", "--server", a.url)
        assert "all 3 nodes answer" in printed
        assert "one cluster, each node once" in printed
    assert code in {0, 1}, printed  # of a busy machine it may have more to say


async def test_a_killed_worker_comes_back_and_its_machine_is_offered_all_the_time(server):
    """To the workers of another machine too; what was written meanwhile is there."""
    async with machine(cluster=server.url) as a, machine(cluster=server.url) as b:
        await kill_a_worker(a, b)


async def test_a_rolling_reload_fails_no_lookup(server):
    """At the machine that reloads, by those who come back where they are sent away; others offer it all the time."""
    async with machine(cluster=server.url) as a, machine(cluster=server.url) as b:
        await reload_it(a, b)


async def test_without_the_engine_nobody_waits_for_siblings(server):
    """Each worker goes on by itself, and all are one again when it is back."""
    async with machine(cluster=server.url, lease_ttl=600) as running:
        one, two = await running.at_each()
        await one.register("before")
        server.kill()
        await running.until_said("engine not ready")
        async with asyncio.timeout(DEADLINE):
            for number, connection in enumerate((one, two)):
                view = await connection.ask("/api/v1/cluster")
                while view.json()["engine"]["state"] == "ready":
                    view = await connection.ask("/api/v1/cluster")
                await connection.register(f"at-{number}")
        assert ({"before", "at-0"}, {"before", "at-1"}) == (await one.found(), await two.found())
        server.start()
        await until_all_show([one, two], {"before", "at-0", "at-1"})


async def test_operators_compare_a_worker_with_the_engine_and_let_a_machine_leave(server):
    """A comparison is asked for over one connection; a machine leaves with all of its workers."""
    async with machine(cluster=server.url, lease_ttl=4, heartbeat_interval=1) as a, machine(cluster=server.url) as b:
        others = await b.at_each()
        await until_offered([*await a.at_each(), *others], a, b)
        for what in ("diff", "repair"):
            code, printed = await command("cluster", what, "--server", a.url)
            assert 0 == code, printed
        code, printed = await command("cluster", "leave", "--drain", "--yes", "--server", a.url)
        assert (0, True) == (code, "has left and ended" in printed), printed
        assert 0 == await asyncio.to_thread(a.process.wait, DEADLINE)
        await until_offered(others, b)


async def test_with_fewer_workers_what_only_a_former_one_knew_gets_into_the_bucket(server, tmp_path):
    """It was accepted without the engine, and its worker is no more when that is back."""
    data = str(tmp_path / "data")
    async with machine(cluster=server.url, data_dir=data, lease_ttl=600, join_timeout=1) as running:
        await running.at_each()
        server.kill()
        await running.until_said("engine not ready")
        two = (await running.at_each())[1]
        while (await two.ask("/api/v1/cluster")).json()["engine"]["state"] == "ready":  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)
        await two.register("late")
    (tmp_path / "data" / "registry.snapshot").unlink()
    server.start()
    options = {"cluster": server.url, "lease_ttl": 600}
    async with machine(data_dir=data, workers=1, **options) as again, machine(workers=1, **options) as other:
        await until_all_show([await again.connect(), await other.connect()], {"late"})


async def test_switches_of_operators_hold_for_all_workers_of_a_machine_and_for_no_other(server):
    """Forced at one, obeyed by its sibling, and by one that is started again."""
    async with machine(cluster=server.url) as a, machine(cluster=server.url) as b:
        await switch_something(a, b)


async def test_a_machine_with_tls_and_java_peers_outlives_a_worker_that_hangs(server, tmp_path):
    """Around an engine: the Java node has what both accept, and a worker that stands still is replaced and missed by
    nobody at the other."""
    certificate = make_certificate(tmp_path)
    tls = {
        "tls_certificate_file": str(certificate.certificate_file),
        "tls_key_file": str(certificate.key_file),
    }
    patient = JavaNodeSettings(connect_timeout=5.0, socket_timeout=5.0, status_timeout=5.0)
    java = JavaNode(region_id="local", zone_id="zone1", force_up=True, settings=patient)
    await java.start()
    try:
        async with machine(cluster=server.url, java_peers=java.url, lease_ttl=600, **tls) as running:
            assert running.url.startswith("https://")
            one, two = await running.at_each()
            await one.register("a")
            await two.register("b")
            await until_held(java, {"a": one, "b": two})
            stopped = running.signal(1, signal.SIGSTOP)
            await one.register("c")
            assert {"a", "b", "c"} == await one.found()
            async with asyncio.timeout(DEADLINE):
                while stopped in running.processes():  # noqa: ASYNC110 - its parent looks after it
                    await asyncio.sleep(0.05)
            again = (await running.at_each())[1]
            assert {"a", "b", "c"} == await again.found()
            await again.register("d")
            assert "d" in await one.found()
            await until_held(java, {"a": one, "b": again, "c": one, "d": again})
    finally:
        await java.stop()
