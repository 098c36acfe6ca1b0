"""Machines with two workers each in a mesh: every worker is linked with those of the other machines, and to the outside
every machine is one node."""

import asyncio
import os
import signal
from contextlib import AsyncExitStack, closing

from worker_courses import kill_a_worker, reload_it, switch_something
from worker_machines import DEADLINE, Connection, Machine, held_port, instance, machine, machines, mesh
from worker_waits import command, offered, until, until_all_show, until_held, until_offered, until_told

from artemis.cluster.trial import CLAIM
from artemis.testing.certificates import make_certificate
from artemis.testing.java import JavaNode, JavaNodeSettings
from artemis.testing.node import OptionValue, arguments_of


async def test_two_machines_and_a_node_of_one_process_are_three_nodes():
    """What is registered at each process all show; clients and operators are told of three nodes by all five."""
    async with mesh(2, 2, 1) as (a, b, c):
        connections = [*await a.at_each(), *await b.at_each(), await c.connect()]
        await until_offered(connections, a, b, c)
        for number, connection in enumerate(connections):
            await connection.register(f"at-{number}")
        await until_all_show(connections, {f"at-{number}" for number in range(5)})
        for connection in connections:
            status = (await connection.ask("/api/status/cluster.json", {})).json()
            assert (3, 2) == (status["nodeCount"], len(status["members"]))
        code, printed = await command("doctor", "--server", a.url)
        assert "all 3 nodes answer" in printed
        assert "one cluster, each node once" in printed
    assert code in {0, 1}, printed  # of a busy machine it may have more to say


async def test_what_was_written_at_one_worker_is_read_at_its_sibling_at_once():
    """Answers wait for siblings, as alone, and for nobody else."""
    async with mesh(2, 2) as (a, b):
        one, two = await a.at_each()
        await until_offered([one, two, *await b.at_each()], a, b)
        os.kill(b.process.pid, signal.SIGSTOP)
        for process in b.processes():
            os.kill(process, signal.SIGSTOP)
        stale = []
        for number in range(50):
            writer, reader = (one, two) if number % 2 else (two, one)
            await writer.register(f"i{number}")
            if f"i{number}" not in await reader.found():
                stale.append(number)
        kept = await one.metrics()
        for process in (*b.processes(), b.process.pid):
            os.kill(process, signal.SIGCONT)
    assert [] == stale
    assert 50 <= kept["artemis_held_answers_total", 'fate="waited"']
    assert 0 == kept["artemis_held_answers_total", 'fate="in_vain"']


async def test_a_killed_worker_comes_back_and_its_machine_is_offered_all_the_time():
    """By the workers of another machine too; what was written meanwhile is there."""
    async with mesh(2, 2) as (a, b):
        await kill_a_worker(a, b)


async def test_a_rolling_reload_fails_no_lookup():
    """At the machine that reloads, by those who come back where they are sent away; others offer it all the time."""
    async with mesh(2, 2) as (a, b):
        await reload_it(a, b)


async def test_a_machine_that_comes_back_with_other_ports_and_more_workers_is_found_again(tmp_path):
    """By one that it does not know, and that knows its address alone."""
    secret = tmp_path / "secret"
    secret.write_text("a secret of some length\n")
    options: dict[str, OptionValue] = {"cluster_secret_file": str(secret), "lease_ttl": 600}
    with closing(held_port()) as kept:
        port = kept.getsockname()[1]
        async with machine(peers=f"http://127.0.0.1:{port}", join_timeout=0, **options) as b:
            others = await b.at_each()
            await others[0].register("first")
            for count in (2, 3, 1, 2):
                async with machine(port=port, workers=count, **options) as a:
                    connections = [*await a.at_each(count), *others]
                    await until_offered(connections, a, b)
                    name = f"with-{count}"
                    await connections[0].register(name)
                    await until_all_show(connections, {"first", name})
                    await connections[0].ask("/api/registry/unregister.json", {"instances": [instance(name)]})
                    await until_all_show(connections, {"first"})


async def test_the_own_address_under_another_name_is_no_peer():
    """Whichever worker answers there."""
    with closing(held_port()) as kept:
        port = kept.getsockname()[1]
        peers = f"http://localhost:{port},http://127.0.0.1:{port}"
        async with machine(port=port, peers=peers, join_timeout=600) as running:
            for connection in await running.at_each():
                assert [running.url] == await offered(connection, "registry")
                assert 1 == (await connection.ask("/api/status/cluster.json", {})).json()["nodeCount"]


async def test_machines_with_different_secrets_stay_apart_and_say_so(tmp_path):
    """Each serves its own clients; the log of both has the reason."""
    for name in ("one", "two"):
        (tmp_path / name).write_text(f"the secret of {name}\n")
    with closing(held_port()) as one, closing(held_port()) as two:
        ports = [each.getsockname()[1] for each in (one, two)]
        peers = ",".join(f"http://127.0.0.1:{port}" for port in ports)
        async with machines(
            *(
                {"port": port, "peers": peers, "cluster_secret_file": str(tmp_path / name), "join_timeout": 1}
                for port, name in zip(ports, ("one", "two"), strict=True)
            )
        ) as (a, b):
            for each in (a, b):
                await each.until_said("the cluster secrets of node")
            code, printed = await command("cluster", "status", "--server", a.url)
            assert (1, True) == (code, "secret" in printed), printed
            for connection in [*await a.at_each(), *await b.at_each()]:
                assert 1 == len(await offered(connection, "registry"))


async def test_a_node_too_old_to_know_of_workers_is_refused_with_words():
    """It goes on alone, as it would miss what further workers accept, and both say which one is to be updated."""
    with closing(held_port()) as one, closing(held_port()) as two:
        ports = [each.getsockname()[1] for each in (one, two)]
        peers = ",".join(f"http://127.0.0.1:{port}" for port in ports)
        old = Machine(arguments_of({"port": ports[1], "peers": peers, "join_timeout": 1}), {CLAIM: "1-1"})
        try:
            async with machine(port=ports[0], peers=peers, join_timeout=1) as new:
                await asyncio.to_thread(old.wait_ready)
                for each in (old, new):
                    await each.until_said(f"({old.url}) to a release that speaks version 2")
                for connection, url in ((await old.connect(), old.url), (await new.connect(), new.url)):
                    assert [url] == await offered(connection, "registry")
        finally:
            for connection in old.opened:
                await connection.close()
            assert 0 == await asyncio.to_thread(old.stop)


async def test_machines_with_certificates_are_linked_inside_tls(tmp_path):
    """Each worker's own port speaks it too, with the certificate of the machine."""
    files = make_certificate(tmp_path)
    options: dict[str, OptionValue] = {**files.options, "cluster_ca_file": files.ca_file, "quic": False}
    async with mesh(2, 2, **options) as (a, b):
        connections = [*await a.at_each(), *await b.at_each()]
        await until_offered(connections, a, b)
        for number, connection in enumerate(connections):
            await connection.register(f"at-{number}")
        await until_all_show(connections, {f"at-{number}" for number in range(4)})


async def test_switches_of_operators_hold_for_all_workers_of_a_machine_and_for_no_other():
    """Forced at one, obeyed by its sibling, and by one that is started again."""
    async with mesh(2, 2) as (a, b):
        await switch_something(a, b)


async def test_operators_compare_and_repair_machines():
    """With every process of the others."""
    async with mesh(2, 2) as (a, b):
        await until_offered([*await a.at_each(), *await b.at_each()], a, b)
        for what in ("diff", "repair"):
            code, printed = await command("cluster", what, "--server", a.url)
            assert 0 == code, printed
            assert b.url in printed
        code, printed = await command("cluster", "status", "--server", a.url)
        assert 0 == code, printed


async def test_a_machine_that_drains_ends_when_all_of_its_workers_have_handed_over():
    """An operator asks one of them; the others hear that the machine has left for good."""
    async with mesh(2, 2, lease_ttl=4, heartbeat_interval=1) as (a, b):
        others = await b.at_each()
        await until_offered([*await a.at_each(), *others], a, b)
        code, printed = await command("cluster", "leave", "--drain", "--yes", "--server", a.url)
        assert (0, True) == (code, "has left and ended" in printed), printed
        assert 0 == await asyncio.to_thread(a.process.wait, DEADLINE)
        await until_offered(others, b)
        for other in others:
            await until(lambda other=other: _presences(other), [(a.url, "departed")])


async def test_a_machine_that_leaves_ends_with_all_of_its_workers():
    """At once, and each says farewell for good."""
    async with mesh(2, 2) as (a, b):
        others = await b.at_each()
        await until_offered([*await a.at_each(), *others], a, b)
        code, printed = await command("cluster", "leave", "--yes", "--server", a.url)
        assert (0, True) == (code, "drains and ends" in printed), printed
        assert 0 == await asyncio.to_thread(a.process.wait, DEADLINE)
        for other in others:
            await until(lambda other=other: _presences(other), [(a.url, "departed")])


async def test_a_machine_stays_as_a_whole_when_an_operator_wants_it_to():
    """Whichever worker hears it; what is registered there holds its end up until then."""
    async with mesh(2, 2, lease_ttl=600) as (a, b):
        one, two = await a.at_each()
        others = await b.at_each()
        await until_offered([one, two, *others], a, b)
        await one.register("kept")
        asked = await one.ask("/api/v1/cluster/leave", {"operatorId": "alice", "drain": True})
        assert "success" == asked.json()["responseStatus"]["status"]
        await until_offered(others, b)
        assert "alice" == (await two.ask("/api/v1/cluster")).json()["draining"]["operatorId"]
        stays = await two.ask("/api/v1/cluster/stay", {"operatorId": "bob"})
        assert stays.json()["stays"]
        await until_offered([one, two, *others], a, b)
        assert [None, None] == [(await each.ask("/api/v1/cluster")).json()["draining"] for each in (one, two)]


async def _presences(connection: Connection) -> list[tuple[object, object]]:
    return [(each["url"], each["presence"]) for each in await _members(connection)]


async def _members(connection: Connection) -> list[dict[str, object]]:
    return (await connection.ask("/api/v1/cluster")).json()["members"]


async def test_a_machine_with_two_names_in_the_list_is_one_node(tmp_path):
    """Its workers are linked once, and nobody is waited for in vain, also when it comes back with others."""
    secret = tmp_path / "secret"
    secret.write_text("a secret of some length\n")
    options: dict[str, OptionValue] = {"cluster_secret_file": str(secret), "join_timeout": 60}
    with closing(held_port()) as kept:
        port = kept.getsockname()[1]
        peers = f"http://localhost:{port},http://127.0.0.1:{port}"
        async with AsyncExitStack() as there:
            first = await there.enter_async_context(AsyncExitStack())
            a = await first.enter_async_context(machine(port=port, **options))
            b = await there.enter_async_context(machine(peers=peers, **options))
            others = await b.at_each()
            await until_two_are_one([*await a.at_each(), *others], a, b)
            await first.aclose()
            a = await there.enter_async_context(machine(port=port, workers=3, **options))
            await until_two_are_one([*await a.at_each(3), *others], a, b)


async def until_two_are_one(connections: list[Connection], a: Machine, b: Machine) -> None:
    """Wait until all offer both machines, and the workers of the second one, the last two, show the first one once."""
    await until_offered(connections, a, b)
    for connection in connections[-2:]:
        await until(lambda connection=connection: _names(connection), [(a.url, True)])


async def _names(connection: Connection) -> list[tuple[object, object]]:
    return [(each["url"], each["connected"]) for each in await _members(connection)]


async def test_java_peers_and_all_workers_of_all_machines_tell_each_other():
    """Both machines have the Java node for a peer, and that has both."""
    patient = JavaNodeSettings(
        status_interval=0.05, init_interval=0.05, connect_timeout=5.0, socket_timeout=5.0, status_timeout=5.0
    )
    java = JavaNode(region_id="local", zone_id="zone1", force_up=True, settings=patient)
    await java.start()
    try:
        async with mesh(2, 2, java_peers=java.url, lease_ttl=600) as (a, b):
            java.urls = [java.url, a.url, b.url]
            connections = [*await a.at_each(), *await b.at_each()]
            names = set()
            for number, connection in enumerate(connections):
                names.add(f"at-{number}")
                await connection.register(f"at-{number}")
            await until_held(java, {f"at-{number}": each for number, each in enumerate(connections)})
            await until(lambda: _targets(java), sorted([a.url, b.url]))
            await until_told(java, "java", connections)
            await until_all_show(connections, names | {"java"})
    finally:
        await java.stop()


async def _targets(java: JavaNode) -> list[str]:
    return sorted(java.targets())


async def test_nodes_become_machines_one_by_one_and_forget_nothing(tmp_path):
    """Each is ended, and started with workers where it was and with what it had; the other one shows all meanwhile."""
    with closing(held_port()) as first, closing(held_port()) as second:
        ports = [each.getsockname()[1] for each in (first, second)]
        shared: dict[str, OptionValue] = {
            "peers": ",".join(f"http://127.0.0.1:{port}" for port in ports),
            "lease_ttl": 600,
            "workers_wait": 1,
        }
        each: list[dict[str, OptionValue]] = [
            {**shared, "port": port, "data_dir": str(tmp_path / str(port))} for port in ports
        ]
        names = {"kept"}
        nodes = [Machine(arguments_of(one)) for one in each]
        ever = list(nodes)
        try:
            for node in nodes:
                await asyncio.to_thread(node.wait_ready)
            await (await nodes[0].connect()).register("kept")
            for number, other in ((0, 1), (1, 0)):
                await until_all_show([await node.connect() for node in nodes], names)
                assert 0 == await asyncio.to_thread(nodes[number].stop)
                nodes[number] = Machine(arguments_of({**each[number], "workers": 2}))
                ever.append(nodes[number])
                assert names == await (await nodes[other].connect()).found()
                await asyncio.to_thread(nodes[number].wait_ready)
                workers = await nodes[number].at_each()
                for worker in workers:
                    names.add(f"at-{worker.worker}")
                    await worker.register(f"at-{worker.worker}")
                await until_all_show([*workers, await nodes[other].connect()], names)
            connections = [connection for node in nodes for connection in await node.at_each()]
            await until_all_show(connections, names)
            await until_offered(connections, *nodes)
        finally:
            for connection in [connection for node in ever for connection in node.opened]:
                await connection.close()
            for node in nodes:
                await asyncio.to_thread(node.stop)
