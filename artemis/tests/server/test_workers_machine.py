"""`artemis serve --workers 2`: two processes that look like one node, whatever happens to one of them."""

import asyncio
import re
import signal

import pytest
from worker_machines import Machine, instance, labelled, machine


async def test_what_was_written_at_one_worker_is_read_at_the_other_at_once():
    """Registrations and removals, alternately at both; nobody waited in vain."""
    async with machine() as running:
        one, two = await running.at_each()
        stale = []
        for number in range(100):
            writer, reader = (one, two) if number % 2 else (two, one)
            name = f"i{number}"
            await writer.register(name)
            if name not in await reader.found():
                stale.append(name)
            if number % 5 == 0:
                await reader.ask("/api/registry/unregister.json", {"instances": [instance(name)]})
                if name in await writer.found():
                    stale.append(f"-{name}")
        numbers = await one.metrics()
    assert [] == stale
    assert 120 <= numbers["artemis_held_answers_total", 'fate="waited"']


async def test_heartbeats_and_lookups_are_not_held():
    """Only what changes something is."""
    async with machine() as running:
        one, two = await running.at_each()
        await one.register("i")
        before = await two.metrics()
        for _ in range(20):
            await two.ask("/api/registry/heartbeat.json", {"instances": [instance("i")]})
            await two.found()
        after = await two.metrics()
    key = ("artemis_held_answers_total", 'fate="waited"')
    assert before[key] == after[key]


async def test_to_the_outside_it_is_one_node():
    """One URL, one id, one node in the cluster, whichever worker is asked; both say who they are."""
    async with machine() as running:
        connections = await running.at_each()
        listed, status = [], []
        for connection in connections:
            for kind in ("registry", "discovery"):
                answer = await connection.ask(
                    f"/api/cluster/up-{kind}-nodes.json", {"regionId": "local", "zoneId": "zone1"}
                )
                listed.append([node["url"] for node in answer.json()["nodes"]])
            whole = (await connection.ask("/api/status/cluster.json", {})).json()
            status.append((whole["nodeCount"], whole["members"], whole["nodesStatus"][0]["node"]["nodeId"]))
    name = f"127.0.0.1:{running.port}"
    assert [[running.url]] * 4 == listed
    assert [(1, None, name)] * 2 == status
    assert [name, f"{name}#1"] == [connection.worker for connection in connections]


async def test_one_scrape_gives_the_whole_machine():
    """Sums of what both counted and have open; what makes no sum is told of each."""
    async with machine() as running:
        one, two = await running.at_each()
        await one.register("a")
        await two.register("b", "c")
        scrapes = [await one.metrics(), await two.metrics()]
    for numbers in scrapes:
        assert 2 == numbers["artemis_requests_total", 'door="http",operation="registry.register"']
        assert 3 == numbers["artemis_registry_events_total", 'event="registered"']
        assert 2 == numbers["artemis_open_connections", 'door="http"']
        assert 3 == numbers["artemis_instances", ""]
        assert 2 == numbers["artemis_workers", ""]
        assert {'worker="0"': 1.0, 'worker="1"': 1.0} == dict(labelled(numbers, "artemis_up"))


async def test_a_killed_worker_comes_back_and_nothing_is_lost():
    """The other one's connections go on; leases are all there, at the one that was started again too."""
    async with machine() as running:
        one, two = await running.at_each()
        await one.register("a")
        await two.register("b")
        before = await one.metrics()
        killed = running.signal(1, signal.SIGKILL)
        for number in range(50):
            await one.register(f"n{number}")
            assert {"a", "b"} <= await one.found()
        again = (await running.at_each())[1]
        found = await again.found()
        after = await one.metrics()
        assert killed not in running.processes()
    assert {"a", "b"} | {f"n{number}" for number in range(50)} == found
    assert 1 == after["artemis_worker_restarts_total", ""]
    key = ("artemis_registry_events_total", 'event="registered"')
    assert before[key] + 50 == after[key]  # what the killed one had counted is there still


async def test_writes_go_on_while_a_worker_hangs_and_it_is_replaced():
    """Answers come after 20 ms at most; then the one that gives no sign of life is killed and started again."""
    async with machine(lease_ttl=4, heartbeat_interval=1) as running:
        one, _ = await running.at_each()
        stopped = running.signal(1, signal.SIGSTOP)
        names = [f"n{number}" for number in range(20)]
        for name in names:
            assert "success" == (await one.register(name))["responseStatus"]["status"]
        in_vain = (await one.metrics())["artemis_held_answers_total", 'fate="in_vain"']
        await running.until_said("worker 1 has not turned its loop for 3 s and is killed")
        again = (await running.at_each())[1]
        assert set(names) <= await again.found()
        assert stopped not in running.processes()
    assert 1 <= in_vain


async def test_a_reload_replaces_the_workers_one_by_one_and_no_lookup_fails():
    """Who looks up meanwhile, on connections that are kept, always gets everything; options are read again."""
    async with machine() as running:
        one, _ = await running.at_each()
        await one.register("a", "b")
        before = running.processes()
        ended = asyncio.Event()

        async def look_up() -> int:
            connection, answered = await running.connect(), 0
            while not ended.is_set():
                try:
                    found = await connection.found()
                except (OSError, EOFError):  # it has moved on
                    connection = await running.connect()
                    continue
                assert {"a", "b"} == found
                answered += 1
            return answered

        looking = [asyncio.create_task(look_up()) for _ in range(4)]
        running.process.send_signal(signal.SIGHUP)
        await running.until_said("the rolling reload is done")
        ended.set()
        answered = [await each for each in looking]
        after = running.processes()
    assert min(answered) > 0
    assert set() == set(before) & set(after)
    assert 2 == len(after)


async def test_switches_of_operators_hold_for_all_workers():
    """Forced at one, shown and obeyed by the other, and by one that is started again."""
    async with machine() as running:
        one, two = await running.at_each()
        await one.ask("/api/v1/node/force", {"service": "registry", "force": "down", "operatorId": "alice"})
        await one.ask("/api/v1/self-preservation/switch", {"enabled": False})
        await _until(lambda: _switched(two), ("down", False))
        running.signal(1, signal.SIGKILL)
        again = (await running.at_each())[1]
        await _until(lambda: _switched(again), ("down", False))
        await again.ask("/api/v1/node/force", {"service": "registry", "force": "off", "operatorId": "alice"})
        await _until(lambda: _switched(one), (None, False))


async def _switched(connection) -> tuple[object, object]:
    forced = (await connection.ask("/api/v1/node/forced")).json()["registry"]
    preserved = (await connection.ask("/api/v1/self-preservation")).json()["leases"]["enabled"]
    return forced and forced["force"], preserved


async def _until(look, expected) -> None:
    async with asyncio.timeout(20):
        while await look() != expected:  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.02)


async def test_a_machine_with_data_knows_everything_after_a_restart(tmp_path):
    """Also with fewer workers than before, and with more again."""
    async with machine(data_dir=str(tmp_path / "data")) as running:
        one, two = await running.at_each()
        await one.register("a")
        await two.register("b")
        name = one.worker
    for workers in (1, 3):
        async with machine(data_dir=str(tmp_path / "data"), workers=workers) as running:
            for connection in await running.at_each(workers):
                assert {"a", "b"} == await connection.found()
                assert name == connection.worker.partition("#")[0]


async def test_every_line_of_the_log_is_whole():
    """Each begins with its time and names its worker, however many write at once."""
    async with machine(workers=3) as running:
        await running.at_each(3)
    lines = [line for line in running.output.splitlines() if not line.startswith("listening ")]
    assert [] == [line for line in lines if not re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z \[", line)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workers": 0}, "workers"),
        ({"workers": 65}, "workers"),
        ({"workers": 2, "peers": "http://127.0.0.1:1"}, "a node of a cluster is one process for now"),
    ],
)
async def test_workers_that_cannot_be_are_refused_with_words(options, words):
    """Numbers out of range, and clusters."""
    from artemis.testing.node import arguments_of

    refused = Machine(arguments_of(options))
    assert 2 == await asyncio.to_thread(refused.process.wait, 20)
    refused.stop()
    assert words in refused.output


async def test_a_port_that_is_taken_is_named():
    """By a sentence, once, and exit code 1."""
    from artemis.testing.node import arguments_of

    async with machine() as running:
        second = Machine(arguments_of({"workers": 2, "port": running.port}))
        assert 1 == await asyncio.to_thread(second.process.wait, 20)
        second.stop()
    assert re.search(r"artemis serve: cannot listen on 127.0.0.1:\d+ of TCP: Address already in use", second.output)
