"""The monitor: samples, rates, latencies, the dashboard with its alerts, and what Prometheus is told."""

from __future__ import annotations

import asyncio
import logging
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from msgtrans import (
    AlertLevels,
    ConfigurationError,
    ConnectError,
    ConnectionConfig,
    EndpointStats,
    ExpertConfig,
    Monitor,
    PerformanceConfig,
    QuicClientConfig,
    ResourceError,
    SessionClosedError,
    SmartPoolConfig,
    TransportClient,
    TransportServer,
    WorkersConfig,
)
from msgtrans.monitor import Alert, History, Latencies, MetricsServer, Rates, Sample, exposition
from msgtrans.monitor import watching as module
from msgtrans.monitor.collector import MsgTransCollector
from msgtrans.monitor.dashboard import assess
from msgtrans.monitor.families import COUNTERS, GAUGES, families, worker_families
from msgtrans.monitor.latency import BOUNDS, LatencyHistogram
from msgtrans.resilience.stats import ReconnectingStats

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Until

SELDOM = PerformanceConfig(sampling_interval=3600)  # only what a test samples itself


def sample(at: float, packets: int = 0) -> Sample:
    """Totals of an endpoint that has moved so many packets of 10 bytes each way."""
    return Sample(
        at=at,
        sessions=1,
        packets_sent=packets,
        packets_received=packets,
        bytes_sent=10 * packets,
        bytes_received=10 * packets,
        cpu=at / 2,
    )


def percent(**levels: float) -> AlertLevels:
    """Levels that nothing reaches, but for those given."""
    none = {"p99_latency": 1e9, "error_rate": 99.9, "cpu_usage": 99.9, "memory_usage": 99.9, "hit_rate": 1e-9}
    return AlertLevels(**none | levels)


@pytest.fixture(autouse=True)
def no_processor_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the tests are, CPU usage is no alert here."""
    monkeypatch.setattr(module.time, "process_time", lambda: 0.0)


@pytest.mark.parametrize(
    ("made", "values"),
    [
        (PerformanceConfig(), (True, 3600, 0.1, 1000, 300)),
        (PerformanceConfig.production(), (True, 7200, 0.2, 2000, 600)),
        (PerformanceConfig.development(), (True, 1800, 0.05, 500, 60)),
    ],
)
def test_the_presets(made: PerformanceConfig, values: tuple[object, ...]) -> None:
    """The three presets have the values of the specification, in seconds (case 30)."""
    assert (*values, AlertLevels()) == msgspec.structs.astuple(made)


@pytest.mark.parametrize(
    ("field", "least", "wrong"),
    [
        ("sampling_interval", 0.01, 0.0099),
        ("monitoring_retention", 60, 59.9),
        ("metrics_history_size", 2, 1),
        ("auto_report_interval", None, 0),
    ],
)
def test_the_ranges(field: str, least: float | None, wrong: float) -> None:
    """The least value is taken, less is a ConfigurationError that names the field (case 30)."""
    assert least == getattr(PerformanceConfig(**{field: least}), field)
    with pytest.raises(ConfigurationError) as caught:
        PerformanceConfig(**{field: wrong})
    assert field == caught.value.field


@pytest.mark.parametrize("field", AlertLevels.__struct_fields__)
@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf")])
def test_levels_of_alerts_are_positive(field: str, wrong: float) -> None:
    """A level that cannot be reached, or always is, is refused."""
    with pytest.raises(ConfigurationError) as caught:
        AlertLevels(**{field: wrong})
    assert field == caught.value.field


def test_percentages_stay_below_a_hundred() -> None:
    """A percentage that nothing exceeds is refused."""
    with pytest.raises(ConfigurationError):
        AlertLevels(cpu_usage=100)


async def test_the_levels_of_a_monitor_that_a_server_makes() -> None:
    """They are those of the performance options, by default such that a handler which waits a little is no alert; the
    specification's are at hand.
    """
    assert (0.1, 0.001) == (AlertLevels().p99_latency, AlertLevels.strict().p99_latency)
    assert AlertLevels() == AlertLevels.strict().replace(p99_latency=0.1)
    for levels in (percent(p99_latency=2), None):
        config = PerformanceConfig(alerts=levels) if levels is not None else PerformanceConfig()
        expert = ExpertConfig(performance=config)
        for endpoint in (TransportServer(expert=expert), TransportClient("tcp://127.0.0.1:1", expert=expert)):
            assert endpoint.monitor is not None
            assert (levels or AlertLevels()) == endpoint.monitor.levels
    server = TransportServer(connection=ConnectionConfig(), expert=expert)
    assert Monitor(server, config).levels == config.alerts
    assert Monitor(server, config, alerts=percent()).levels == percent()


def test_rates_are_differences() -> None:
    """What happened in a time is the difference of the totals at its ends, per second."""
    history = History(10, 60)
    assert Rates() == history.rates(10)
    history.add(sample(0))
    assert Rates() == history.rates(10)
    history.add(sample(2, 100))
    history.add(sample(4, 300))
    found = history.rates(2)
    assert (2, 100, 100, 1000, 1000, 0.5) == (
        found.seconds,
        found.packets_sent,
        found.packets_received,
        found.bytes_sent,
        found.bytes_received,
        found.cpu,
    )
    assert 75 == history.rates(100).packets_sent


@given(
    size=st.integers(2, 40),
    retention=st.floats(60, 1000),
    steps=st.lists(st.floats(0.01, 50), max_size=200),
)
def test_a_history_is_bounded(size: int, retention: float, steps: list[float]) -> None:
    """However many samples come: no more than its size are kept, in order, none older than the retention."""
    history, at = History(size, retention), 0.0
    for step in steps:
        at += step
        history.add(sample(at))
        times = [kept.at for kept in history]
        assert len(times) <= size
        assert sorted(times) == times
        assert at == times[-1]
        assert at - times[0] <= retention


def test_a_history_reaches_back_over_its_retention() -> None:
    """With many more samples than it keeps, the older half is spread over the retention."""
    history = History(100, 1000)
    for at in range(5000):
        history.add(sample(at))
    assert 900 < 4999 - next(iter(history)).at <= 1000


def test_percentiles_are_bounds_of_buckets() -> None:
    """A percentile is the upper bound of its bucket; what is beyond the last bound is told as that."""
    histogram = LatencyHistogram()
    assert 0.0 == histogram.read().percentile(0.99)
    for _ in range(99):
        histogram.record(0.0003)
    before = histogram.read()
    histogram.record(100.0)
    found = histogram.read()
    assert (0.0005, 0.0005, BOUNDS[-1]) == (found.percentile(0.5), found.percentile(0.99), found.percentile(1))
    assert 1 == found.since(before).count
    assert pytest.approx(100.0297) == found.seconds


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0.01, 1))
def test_percentiles_are_never_too_low(values: list[float], part: float) -> None:
    """At least that part of the requests took no longer than a percentile, as far as there are buckets."""
    histogram = LatencyHistogram()
    for value in values:
        histogram.record(value)
    bound = histogram.read().percentile(part)
    within = sum(value <= bound for value in values)
    assert bound == BOUNDS[-1] or within >= part * len(values) - 1e-9


def test_a_dashboard_without_troubles() -> None:
    """With nothing beyond a level there is no alert, and the score is 100."""
    latencies = LatencyHistogram()
    for _ in range(100):
        latencies.record(0.0001)
    rates = Rates(seconds=10, packets_received=10, bytes_sent=125_000, cpu=0.25, latencies=latencies.read())
    board = assess(rates, AlertLevels(), sessions=3, memory=(2**20, 2**22), buffers=(99, 1))
    assert ([], 0, 100) == (board.alerts, board.alert_count, board.health_score)
    assert (10, 3, 1, 25, 1, 25, 99) == (
        board.current_qps,
        board.active_connections,
        board.network_throughput_mbps,
        board.cpu_usage_percent,
        board.memory_usage_mb,
        board.memory_usage_percent,
        board.hit_rate_percent,
    )
    assert (pytest.approx(100), pytest.approx(100)) == (board.avg_latency_us, board.p99_latency_us)


def test_every_level_raises_its_alert() -> None:
    """Each figure beyond its level is an alert, and takes its part of the score."""
    latencies = LatencyHistogram()
    for _ in range(100):
        latencies.record(9.0)
    rates = Rates(seconds=10, errors=5, cpu=1, latencies=latencies.read())
    board = assess(rates, AlertLevels(), sessions=0, memory=(100, 100), buffers=(1, 99))
    assert list(AlertLevels.__struct_fields__) == [alert.what for alert in board.alerts]
    assert Alert("error_rate", 50.0, 0.1) == board.alerts[1]
    assert 0 == board.health_score
    assert "p99_latency is 10 s, beyond its level of 100 ms" == str(board.alerts[0])
    assert "hit_rate is 1 %, below its level of 95 %" == str(board.alerts[-1])
    assert "p99_latency 2.5 ms, level 1 ms" == Alert("p99_latency", 0.0025, 0.001).brief()
    assert "cpu_usage 93.5 %, level 80 %" == Alert("cpu_usage", 93.51, 80).brief()


@pytest.mark.parametrize(("seconds", "alerts"), [(0.01, []), (0.99, []), (1.0, ["cpu_usage"])])
def test_a_short_look_back_raises_no_alert(seconds: float, alerts: list[str]) -> None:
    """A processor that was used for all of some milliseconds says nothing."""
    board = assess(Rates(seconds=seconds, cpu=1), AlertLevels(), sessions=0)
    assert (alerts, 100 if not alerts else 80) == ([alert.what for alert in board.alerts], board.health_score)
    assert 100 == board.cpu_usage_percent


def test_few_requests_raise_no_alert() -> None:
    """One error of one request says nothing about a percentage."""
    board = assess(Rates(seconds=1, packets_received=1, errors=1), AlertLevels(), sessions=1, buffers=(0, 5))
    assert ([], 0, None) == (board.alerts, board.error_rate_percent, board.hit_rate_percent)


async def test_a_server_is_watched() -> None:
    """Endpoint, protocols and followed sessions have samples; requests are timed, those of coroutines too."""
    server = TransportServer(tcp="127.0.0.1:0", ws="127.0.0.1:0")

    @server.on_request
    async def answer(context: object) -> bytes:
        await asyncio.sleep(0)
        return b"answer"

    monitor = Monitor(server, SELDOM, alerts=percent())
    async with server, monitor:  # noqa: SIM117 - the line would be too long
        async with TransportClient(server.uris[0]) as first, TransportClient(server.uris[1]) as second:
            await first.request(b"")
            history = monitor.follow(server.sessions[1])
            assert history is monitor.follow(server.sessions[1])
            for _ in range(30):
                await first.request(b"")
                await second.request(b"")
            monitor.sample()
            assert {"tcp", "ws"} == set(monitor.protocols)
            latest = monitor.history.latest
            assert latest is not None
            assert latest.latencies is not None
            assert (2, 61, 61) == (latest.sessions, latest.packets_received, latest.latencies.count)
            assert (31, 31) == (history.latest.packets_received, history.latest.packets_sent)  # type: ignore[union-attr]
            board = monitor.dashboard()
            assert board.current_qps > 0
            assert board.avg_latency_us > 0
            assert (2, 100) == (board.active_connections, board.health_score)


async def test_quic_is_watched_as_other_transports_are() -> None:
    """Its sessions, packets and requests are in a row of their own."""
    server = TransportServer(quic="127.0.0.1:0")
    server.on_request(lambda _: b"answer")
    async with server, Monitor(server, SELDOM) as monitor:  # noqa: SIM117 - the line would be too long
        async with TransportClient(QuicClientConfig.insecure(server.uris[0])) as client:
            for _ in range(5):
                await client.request(b"")
            monitor.sample()
            assert {"quic"} == set(monitor.protocols)
            latest = monitor.protocols["quic"].latest
            assert latest is not None
            assert (1, 5, 5) == (latest.sessions, latest.packets_received, latest.packets_sent)


async def test_closed_sessions_stay_in_the_totals_of_their_protocol(until: Until) -> None:
    """What a protocol moved never gets less, and a followed session that closed is forgotten."""
    server = TransportServer(tcp="127.0.0.1:0")
    server.on_request(lambda _: b"")
    async with server, Monitor(server, SELDOM) as monitor:
        async with TransportClient(server.uris[0]) as client:
            await client.request(b"")
            monitor.follow(server.sessions[1])
            monitor.sample()
        await until(lambda: not server.sessions)
        monitor.sample()
        latest = monitor.protocols["tcp"].latest
        assert latest is not None
        assert (0, 1, 1) == (latest.sessions, latest.packets_received, latest.packets_sent)
        monitor.sample()
        assert {} == monitor._followed


async def test_at_most_a_hundred_sessions_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Histories of sessions are bounded, and one more is refused with the limit."""
    monkeypatch.setattr(module, "FOLLOWED", 1)
    server = TransportServer(tcp="127.0.0.1:0")
    server.on_request(lambda _: b"")
    async with server, Monitor(server, SELDOM) as monitor:  # noqa: SIM117 - the line would be too long
        async with TransportClient(server.uris[0]) as one, TransportClient(server.uris[0]) as two:
            await one.request(b"")
            await two.request(b"")
            monitor.follow(server.sessions[1])
            with pytest.raises(ResourceError):
                monitor.follow(server.sessions[2])


async def test_without_details_nothing_is_in_the_way_of_requests() -> None:
    """Monitoring without details adds no middleware, and counts packets as requests."""
    server = TransportServer(tcp="127.0.0.1:0")
    server.on_request(lambda _: b"")
    monitor = Monitor(server, SELDOM.replace(enable_detailed_monitoring=False))
    assert not server.middleware
    async with server, monitor, TransportClient(server.uris[0]) as client:
        await client.request(b"")
        monitor.sample()
        assert {} == monitor.protocols
        assert 0 < monitor.dashboard().current_qps
        assert "msgtrans_request_duration_seconds" not in monitor.prometheus()


async def test_the_timer_samples_and_stops(until: Until) -> None:
    """Once entered it samples by itself, and not any more once left."""
    server = TransportServer()
    monitor = Monitor(server, PerformanceConfig(sampling_interval=0.01))
    async with monitor:
        monitor.start()
        await until(lambda: monitor.samples > 2)
    seen = monitor.samples
    assert monitor._timer is None
    assert len(monitor.history) == seen


async def test_reports_and_alerts_are_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    """An alert is logged when it begins and when it is over, and a report sums up now and then."""
    caplog.set_level(logging.INFO, "msgtrans.monitor")
    monkeypatch.setattr(module, "CHECKED", 0.0)
    server = TransportServer()
    config = PerformanceConfig(sampling_interval=0.01, auto_report_interval=0.01)
    async with Monitor(server, config, alerts=percent(memory_usage=1e-6)) as monitor:
        await until(lambda: "memory_usage is" in caplog.text and "0 sessions" in caplog.text)
        monitor.levels = percent()
        await until(lambda: "memory_usage is within its level again" in caplog.text)
    (told,) = (record.message for record in caplog.records if "beyond its level" in record.message)
    assert re.fullmatch(r"memory_usage is \S+ %, beyond its level of 1e-06 %", told)


@pytest.mark.parametrize("wrong", [None, 5, TransportServer])
def test_what_is_no_endpoint(wrong: object) -> None:
    """A monitor of something else is refused with words that say what to use."""
    with pytest.raises(ConfigurationError, match=r"^endpoint: is .*; use a TransportServer"):
        Monitor(wrong)


async def test_a_monitor_that_comes_too_late() -> None:
    """While sessions are open only a monitor without detailed monitoring can be made, and the error says so."""
    async with TransportServer(tcp="127.0.0.1:0") as server, TransportClient(server.uris[0]) as client:
        with pytest.raises(ConfigurationError, match="make a Monitor before the server starts or the client connects"):
            Monitor(client)
        Monitor(client, PerformanceConfig(enable_detailed_monitoring=False))


async def test_the_last_error_is_kept(until: Until) -> None:
    """The error of the session that ended last with one can be read."""
    server = TransportServer(tcp="127.0.0.1:0")
    async with server, Monitor(server, SELDOM) as monitor:
        _, writer = await asyncio.open_connection(*server.tcp_address)
        writer.write(b"\xff" * 64)
        await until(lambda: monitor.last_error is not None)
        assert not isinstance(monitor.last_error, SessionClosedError)
        assert 1 == server.stats().errors().protocol == server.stats().errors().total
        writer.close()


def test_every_counter_has_a_metric() -> None:
    """Each counter of an endpoint is told, with a help text, and nothing else is."""
    assert set(ReconnectingStats.__struct_fields__) == COUNTERS.keys() | GAUGES.keys()


async def test_the_metrics_are_documented() -> None:
    """The README lists every metric by its name."""
    server = TransportServer(tcp="127.0.0.1:0")
    async with server, Monitor(server, SELDOM) as monitor:
        found = [*families(ReconnectingStats(), started_at=0.0), *monitor.families(), *worker_families(1, 0)]
        names = {f"{family.name}_total" if family.kind == "counter" else family.name for family in found}
    text = (Path(__file__).parents[1] / "README.md").read_text()
    listed = set(re.findall(r"`(msgtrans_[a-z0-9_]+)(?:\{[a-z,]+\})?`", text))
    assert names == listed


def test_errors_are_counted_by_kind() -> None:
    """Each kind is the sum of its counters, and the total that of all kinds."""
    stats = EndpointStats(handshake_failures=1, protocol_errors=2, overloads=4, write_timeouts=8, handler_errors=16)
    assert (31, 1, 2, 0, 4, 8, 16) == msgspec.structs.astuple(stats.errors())


async def test_the_text_is_what_prometheus_reads() -> None:
    """Our text and that of prometheus_client, made of the same numbers, are read as the same families."""
    server = TransportServer(tcp="127.0.0.1:0")
    server.on_request(lambda _: b"")
    monitor = Monitor(server, SELDOM, alerts=percent(memory_usage=1e-6))
    async with server, monitor, TransportClient(server.uris[0]) as client:
        await client.request(b"")
        monitor.sample()
        registry = CollectorRegistry()
        registry.register(MsgTransCollector(monitor))
        read = [
            {family.name: family for family in text_string_to_metric_families(text)}
            for text in (monitor.prometheus(), generate_latest(registry).decode())
        ]
        assert read[0].keys() == read[1].keys()
        for name, family in read[0].items():
            assert (family.documentation, family.type) == (read[1][name].documentation, read[1][name].type)
            if name != "msgtrans_health_score":  # memory moves
                assert [s[:3] for s in family.samples] == [s[:3] for s in read[1][name].samples]
        assert 1 == read[0]["msgtrans_packets_received"].samples[0].value
        assert {"protocol": "tcp"} == read[0]["msgtrans_protocol_received_bytes"].samples[0].labels
        assert {"what": "memory_usage"} == read[0]["msgtrans_alert"].samples[0].labels


async def test_several_endpoints_share_a_registry() -> None:
    """A name tells the numbers of one endpoint from those of another."""
    for name in ("orders", 'a "b"\\\n'):
        registry = CollectorRegistry()
        registry.register(MsgTransCollector(TransportServer(), name=name))
        read = text_string_to_metric_families(generate_latest(registry).decode())
        assert {name} == {found.labels["endpoint"] for family in read for found in family.samples}


async def ask(server: MetricsServer, request: bytes) -> str:
    """The whole answer."""
    reader, writer = await asyncio.open_connection(*server.address)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer.decode()


async def test_scrapes_are_answered() -> None:
    """GET and HEAD of /metrics get the numbers; other paths and methods are told what there is."""
    server = TransportServer()
    async with MetricsServer(lambda: exposition(server), "127.0.0.1:0") as metrics:
        answer = await ask(metrics, b"GET /metrics?x=y HTTP/1.1\r\nHost: h\r\n\r\n")
        head, _, body = answer.partition("\r\n\r\n")
        assert head.startswith("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4")
        assert f"Content-Length: {len(body)}" in head
        assert body.startswith("# HELP msgtrans_connections_open ")
        assert (await ask(metrics, b"HEAD /metrics HTTP/1.1\r\n\r\n")).endswith("\r\n\r\n")
        assert (await ask(metrics, b"GET / HTTP/1.1\r\n\r\n")).startswith("HTTP/1.1 404 ")
        assert (await ask(metrics, b"POST /metrics HTTP/1.1\r\n\r\n")).startswith("HTTP/1.1 405 ")
        assert "" == await ask(metrics, b"x" * 100_000)
    with pytest.raises(ConnectError):
        _ = metrics.address


async def test_a_metrics_server_starts_once() -> None:
    """A second start changes nothing, also at the same time; then it listens nowhere once it is stopped."""
    metrics = MetricsServer(lambda: "", "127.0.0.1:0")
    await asyncio.gather(metrics.start(), metrics.start())
    address = metrics.address
    await metrics.start()
    assert address == metrics.address
    await metrics.stop()
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await asyncio.open_connection(*address)


async def test_proxies_scrape_by_the_whole_address() -> None:
    """A request in absolute form is answered as any other; text that UTF-8 cannot encode is a 500."""
    texts = iter(("fine 1\n", "\ud800"))
    async with MetricsServer(lambda: next(texts), "127.0.0.1:0") as metrics:
        assert (await ask(metrics, b"GET HTTP://h:1/metrics?x HTTP/1.1\r\n\r\n")).endswith("\r\n\r\nfine 1\n")
        assert (await ask(metrics, b"GET /metrics HTTP/1.1\r\n\r\n")).startswith("HTTP/1.1 500 ")


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("text", lambda: MetricsServer(None)),
        ("reuse_port", lambda: MetricsServer(lambda: "", reuse_port=1)),
        ("session", lambda: Monitor(TransportServer()).follow(5)),
        ("seconds", lambda: Monitor(TransportServer()).dashboard(math.nan)),
        ("seconds", lambda: Monitor(TransportServer()).dashboard(10**400)),
        ("restart_delay", lambda: WorkersConfig(count=1, restart_delay=10**400)),
        ("shrink_cooldown", lambda: SmartPoolConfig(shrink_cooldown=10**400)),
    ],
)
def test_what_is_no_such_thing_is_refused(field: str, call: Callable[[], object]) -> None:
    """Arguments of a wrong type or range are refused when they are given, and named."""
    with pytest.raises(ConfigurationError, match=rf"^{field}: is .*; use "):
        call()


async def test_a_scrape_that_fails_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """What the text raises is logged, and the scraper gets a 500."""

    async def fails() -> str:
        raise OSError("no numbers")

    async with MetricsServer(fails, "127.0.0.1:0") as metrics:
        assert (await ask(metrics, b"GET /metrics HTTP/1.1\r\n\r\n")).startswith("HTTP/1.1 500 ")
        with pytest.raises(ConnectError):
            await MetricsServer(fails, str(metrics.address)).start()
    assert re.search("the metrics could not be told", caplog.text)


def test_latencies_begin_empty() -> None:
    """Without requests there is neither mean nor percentile."""
    assert (0, 0.0, 0.0) == (Latencies().count, Latencies().mean, Latencies().percentile(0.5))
