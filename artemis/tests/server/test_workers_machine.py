"""`artemis serve --workers 2`: two processes that look like one node, whatever happens to one of them."""

import asyncio
import json
import re
import signal

import aiohttp
import pytest
from worker_machines import Machine, instance, labelled, machine
from worker_waits import reloaded, until, until_held, until_told

from artemis.testing.certificates import CertificateFiles, make_certificate
from artemis.testing.java import JavaNode, JavaNodeSettings
from artemis.testing.node import arguments_of
from msgtrans import QuicClientConfig, TlsClientConfig, TransportClient


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
            shown = (await connection.ask("/api/v1/status")).json()["workers"]
            assert [(0, True), (1, True)] == [(each["index"], each["ready"]) for each in shown]
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
    async with machine(lease_ttl=4, heartbeat_interval=1, workers_wait=0.02) as running:
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
        assert await reloaded(running, {"a", "b"}) > 0


async def test_switches_of_operators_hold_for_all_workers():
    """Forced at one, shown and obeyed by the other, and by one that is started again."""
    async with machine() as running:
        one, two = await running.at_each()
        await one.ask("/api/v1/node/force", {"service": "registry", "force": "down", "operatorId": "alice"})
        await one.ask("/api/v1/self-preservation/switch", {"enabled": False})
        await until(lambda: _switched(two), ("down", False))
        running.signal(1, signal.SIGKILL)
        again = (await running.at_each())[1]
        await until(lambda: _switched(again), ("down", False))
        await again.ask("/api/v1/node/force", {"service": "registry", "force": "off", "operatorId": "alice"})
        await until(lambda: _switched(one), (None, False))


async def _switched(connection) -> tuple[object, object]:
    forced = (await connection.ask("/api/v1/node/forced")).json()["registry"]
    preserved = (await connection.ask("/api/v1/self-preservation")).json()["leases"]["enabled"]
    return forced and forced["force"], preserved


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


async def test_what_only_a_worker_has_written_that_is_no_more_is_taken_over(tmp_path):
    """As when the first could not write any more, and the machine comes back with fewer workers."""
    data = tmp_path / "data"
    async with machine(data_dir=str(data)) as running:
        await (await running.connect()).register("a", "b")
    (data / "registry.snapshot").write_bytes(b"damaged")
    (data / "registry.snapshot.previous").unlink(missing_ok=True)
    async with machine(data_dir=str(data), workers=1) as running:
        assert {"a", "b"} == await (await running.connect()).found()
    assert "snapshot of a former worker taken over" in running.output


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
        ({"workers": 2, "workers_port": 9000}, "workers-port: is of use only with"),
    ],
)
async def test_workers_that_cannot_be_are_refused_with_words(options, words):
    """Numbers out of range, and ports for nobody."""
    refused = Machine(arguments_of(options))
    assert 2 == await asyncio.to_thread(refused.process.wait, 20)
    refused.stop()
    assert words in refused.output


async def test_a_port_that_is_taken_is_named():
    """By a sentence, once, and exit code 1."""
    async with machine() as running:
        second = Machine(arguments_of({"workers": 2, "port": running.port}))
        assert 1 == await asyncio.to_thread(second.process.wait, 20)
        second.stop()
    assert re.search(r"artemis serve: cannot listen on 127.0.0.1:\d+ of TCP: Address already in use", second.output)


async def test_a_machine_with_a_certificate_serves_tls_at_all_workers_and_quic(tmp_path):
    """One worker speaks QUIC; so does the one that takes its place. Who has no TLS comes to all, too."""
    certificate = make_certificate(tmp_path)
    async with machine(**certificate.options, plain_port=0) as running:
        one, two = await running.at_each()
        await one.register("a")
        assert {"a"} == await two.found()
        async with aiohttp.ClientSession() as session, session.get(f"{running.plain_url}/health/ready") as answer:
            assert 200 == answer.status
        assert "success" == await _looked_up_over_quic(running.quic_url, certificate)
        running.signal(0, signal.SIGKILL)
        await running.at_each()
        assert "success" == await _looked_up_over_quic(running.quic_url, certificate)


async def _looked_up_over_quic(url: str, certificate: CertificateFiles) -> str:
    """The status of the answer to a lookup."""
    tls = TlsClientConfig(ca_file=certificate.ca_file)
    async with TransportClient(QuicClientConfig(target_address=url.removeprefix("quic://"), tls=tls)) as client:
        request = {"discoveryConfigs": [{"serviceId": "s"}], "regionId": "local", "zoneId": "zone1"}
        answer = json.loads((await client.request(json.dumps(request).encode(), biz_type=16)).payload)
    return answer["responseStatus"]["status"]


async def test_java_peers_and_all_workers_tell_each_other():
    """What any worker accepts is at the Java node, what that one tells is at all workers, and all name it."""
    patient = JavaNodeSettings(
        status_interval=0.05, init_interval=0.05, connect_timeout=5.0, socket_timeout=5.0, status_timeout=5.0
    )
    java = JavaNode(region_id="local", zone_id="zone1", force_up=True, settings=patient)
    await java.start()
    try:
        async with machine(java_peers=java.url) as running:
            java.urls = [java.url, running.url]
            one, two = await running.at_each()
            await one.register("a")
            await two.register("b")
            await until_held(java, {"a": one, "b": two})
            await until(lambda: _targets(java), [running.url])
            await until_told(java, "c", [one, two])
            for connection in (one, two):
                await until(connection.found, {"a", "b", "c"})
            for connection in (one, two):
                listed = await connection.ask("/api/cluster/up-registry-nodes.json", {"regionId": "local"})
                assert {running.url, java.url} == {node["url"].rstrip("/") for node in listed.json()["nodes"]}
    finally:
        await java.stop()


async def _targets(java: JavaNode) -> list[str]:
    return java.targets()


async def test_pipelined_requests_are_answered_in_order_although_some_are_held():
    """Each lookup shows what was registered before it on the connection, and the other worker shows all of it."""
    async with machine() as running:
        one, two = await running.at_each()
        names = [f"i{number}" for number in range(30)]
        seen = await one.pipeline(names)
        assert [set(names[: number + 1]) for number in range(30)] == seen
        assert set(names) == await two.found()


async def test_a_heartbeat_over_websocket_that_changes_an_instance_is_held():
    """Its answer comes when the other worker shows the new content."""
    async with machine() as running:
        one, two = await running.at_each()
        await one.register("i")
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{running.url.replace('http', 'ws')}/ws/registry/heartbeat") as socket,
        ):
            for port in range(81, 101):
                await socket.send_str(json.dumps({"instances": [instance("i") | {"port": port}]}))
                assert "success" == json.loads(await socket.receive_str())["responseStatus"]["status"]
                assert [port] * 2 == [await one.port_of("i"), await two.port_of("i")]
