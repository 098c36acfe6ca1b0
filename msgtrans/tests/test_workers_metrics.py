"""One scrape of a server with workers tells what the monitors of all of them see."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time

from prometheus_client.parser import text_string_to_metric_families
from worker_program import LIMIT, Workers

from msgtrans import TransportClient, TransportError
from msgtrans.monitor.families import Family
from msgtrans.monitor.latency import BOUNDS, Latencies
from msgtrans.monitor.together import group_families, sums_of
from msgtrans.stats import EndpointStats
from msgtrans.workers import Group, WorkerState
from msgtrans.workers.serving import counters


def state(index: int, states: dict[str, float]) -> WorkerState:
    return WorkerState(index=index, pid=1, ready=True, uptime=1, reported=0, counters={}, states=states)


def by_name(found: list[Family]) -> dict[str, Family]:
    return {family.name: family for family in found}


def group(sums: dict[str, float], *workers: WorkerState) -> Group:
    total = counters(EndpointStats(packets_sent=7))
    return Group(uptime=1, started_at=5.5, restarts=0, total=total, workers=[*workers], sums=sums)


def test_without_monitors_only_counters_are_told() -> None:
    """Workers that are not watched tell no latency, health or alerts; the start is that of the supervisor."""
    found = by_name(group_families(group({}, state(0, {}))))
    assert {((), 5.5)} == {*found["msgtrans_start_time_seconds"].values}
    assert [((), 7)] == found["msgtrans_packets_sent"].values
    assert not {"msgtrans_health_score", "msgtrans_request_duration_seconds"} & found.keys()


def test_what_a_worker_of_another_version_tells_is_taken_as_far_as_it_fits() -> None:
    """Buckets and names that are not known here are left out, those that are missing count nothing."""
    sums = {"monitor_samples": 3, "request_duration_seconds:0": 2, "request_duration_seconds:99": 5, "other:x": 1}
    found = by_name(group_families(group(sums, state(0, {"health_score": 90, "new": 1}))))
    counts = (2,) + (0,) * len(BOUNDS)
    assert Latencies(counts) == found["msgtrans_request_duration_seconds"].latencies
    assert [((("worker", "0"),), 90)] == found["msgtrans_health_score"].values


def test_states_keep_apart_and_sessions_add_up() -> None:
    """Health and alerts are those of each worker, by its index, of two processes in one place the newer one's."""
    alerting = {"health_score": 60.0, "alert:cpu_usage": 1.0, "protocol_sessions_open:tcp": 2.0}
    workers = [
        state(0, {"health_score": 10.0, "protocol_sessions_open:tcp": 5.0}),
        state(0, {"health_score": 100.0}),
        state(1, alerting),
    ]
    found = by_name(group_families(group(sums_of(1, {}, None, None), *workers)))
    assert [((("worker", "0"),), 100.0), ((("worker", "1"),), 60.0)] == found["msgtrans_health_score"].values
    assert [((("what", "cpu_usage"), ("worker", "1")), 1.0)] == found["msgtrans_alert"].values
    assert [((("protocol", "tcp"),), 7.0)] == found["msgtrans_protocol_sessions_open"].values


def scrape(port: int) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """The samples of one scrape, by name and labels."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        peer.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        got = b""
        while part := peer.recv(65536):
            got += part
    text = got.partition(b"\r\n\r\n")[2].decode()
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


async def ask(uri: str, connections: int, requests: int) -> None:
    for _ in range(connections):
        async with TransportClient(uri) as client:
            await asyncio.gather(*(client.request(b"x") for _ in range(requests)))


def until_told(port: int, wanted: float) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """The first scrape whose histogram and traffic count as many requests."""
    end = time.monotonic() + LIMIT
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    while time.monotonic() < end:
        try:
            found = scrape(port)
        except ConnectionError:  # that one was on its way to a worker that was killed
            continue
        handled = found["msgtrans_request_duration_seconds_count"][()]
        seen = sum(found.get("msgtrans_protocol_packets_received_total", {}).values())
        if (handled, seen) == (wanted, wanted) and len(found["msgtrans_health_score"]) == 2:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not told in time: {found}")


def test_one_scrape_tells_all_workers_also_those_that_ended() -> None:
    """Histograms and traffic are sums that a killed worker does not lessen; health is told of each worker."""
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # the workers share the port
        kept.bind(("127.0.0.1", 0))
        port = kept.getsockname()[1]
        words = ("serve-echo", "--tcp", "127.0.0.1:0", "--metrics", f"127.0.0.1:{port}", "--workers", "2")
        with Workers(sys.executable, "-m", "msgtrans", *words) as workers:
            uri = workers.until("listening ").split()[1]
            asyncio.run(ask(uri, connections=6, requests=20))
            before = until_told(port, 120)
            assert {(("worker", "0"),), (("worker", "1"),)} == {*before["msgtrans_health_score"]}
            assert 120 == before["msgtrans_request_duration_seconds_bucket"][(("le", "+Inf"),)]
            children = f"/proc/{workers.process.pid}/task/{workers.process.pid}/children"
            with open(children) as listed:
                os.kill(int(listed.read().split()[0]), signal.SIGKILL)
            while True:
                try:
                    asyncio.run(ask(uri, connections=1, requests=1))
                    break
                except TransportError:  # that one was on its way to the worker that was killed
                    continue
            after = until_told(port, 121)
            assert before["msgtrans_start_time_seconds"] == after["msgtrans_start_time_seconds"]
            assert 0 == workers.end()


def test_figures_of_a_monitor_are_plain_numbers() -> None:
    """Without detailed monitoring only samples and health are told."""
    assert {"monitor_samples": 4} == sums_of(4, {}, None, None)
    assert sums_of(0, {}, Latencies(), None).keys() >= {"request_duration_seconds:0", "request_duration_seconds:sum"}
