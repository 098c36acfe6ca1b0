"""Automatic tuning: the formulas of the specification, the environment, and what the tuner decides while it runs."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msgtrans import (
    ConfigurationError,
    ConnectionConfig,
    ConnectionPool,
    ExpertConfig,
    PerformanceConfig,
    ServerStopped,
    SessionConfig,
    SmartPoolConfig,
    TransportClient,
    TransportServer,
)
from msgtrans import tuning as module
from msgtrans.adapters.buffers import buffer_pool
from msgtrans.autotune import cores, optimize_buffer_size, recommend_config
from msgtrans.events import EventHub
from msgtrans.tuning import LARGEST_BATCH, MOST_LARGE, SMALLEST_BATCH, Decision, Observation, Tuner, Tuning

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Until

LEAST = [(None, 1000), (1, 1000), (2, 1000), (3, 1500), (4, 1500), (5, 2000), (8, 2000), (9, 2500), (64, 2500)]


@pytest.mark.parametrize(("count", "least"), LEAST)
def test_buffers_by_cores(count: int | None, least: int) -> None:
    """A buffer has at least what the cores ask for, and never less than it was given (case 30)."""
    assert (least, least, 9999) == tuple(optimize_buffer_size(base, count) for base in (1, least, 9999))


@pytest.mark.parametrize(("count", "least"), LEAST)
def test_configs_by_cores(count: int | None, least: int) -> None:
    """Up to two cores, and for an unknown number, tuning is recommended, else large buffers (case 30)."""
    wanted = ConnectionConfig.auto_optimized() if least == 1000 else ConnectionConfig.high_performance()
    assert wanted == recommend_config(count)


@pytest.mark.parametrize(
    ("files", "allowed"),
    [
        ({}, None),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu.max": "nonsense"}, None),
        ({"cpu.max": "100000000 100000"}, None),
    ],
)
def test_control_groups_limit_cores(tmp_path: Path, files: dict[str, str], allowed: int | None) -> None:
    """A control group with time for fewer processors than there are is what counts, rounded up."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert (allowed or cores(tmp_path / "none")) == cores(tmp_path)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be bound here")
def test_binding_limits_cores(tmp_path: Path) -> None:
    """A process that is bound to one processor has one."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert 1 == cores(tmp_path)
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("made", "values"),
    [
        (ConnectionConfig(), (1500, True, True)),
        (ConnectionConfig.high_performance(), (2500, True, False)),
        (ConnectionConfig.auto_optimized(), (1000, True, True)),
        (ConnectionConfig.silent(), (1000, False, False)),
        (ConnectionConfig().with_buffer_size(7), (7, True, False)),
    ],
)
def test_presets_of_connections(made: ConnectionConfig, values: tuple[object, ...]) -> None:
    """The presets are those of the specification; a size that was given is not optimised (case 30)."""
    assert values == msgspec.structs.astuple(made)


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, ConnectionConfig()),
        ({"MSGTRANS_CONNECTION_TYPE": ""}, ConnectionConfig()),
        ({"MSGTRANS_CONNECTION_TYPE": "auto"}, ConnectionConfig.auto_optimized()),
        ({"MSGTRANS_CONNECTION_TYPE": "traditional"}, ConnectionConfig.auto_optimized()),
        ({"MSGTRANS_CONNECTION_TYPE": "high_performance"}, ConnectionConfig.high_performance()),
        (
            {"MSGTRANS_BUFFER_SIZE": " 77 ", "MSGTRANS_CONNECTION_TYPE": "auto"},
            ConnectionConfig(buffer_size=77, auto_optimize=False),
        ),
    ],
)
def test_the_environment_configures(
    environment: dict[str, str], wanted: ConnectionConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """The size wins over the type, and what is known is taken without a word (case 30)."""
    assert wanted == ConnectionConfig.from_env(environment)
    assert "" == caplog.text


def test_an_unknown_type_is_the_default_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """A type that does not exist is told, and the default taken (case 30)."""
    assert ConnectionConfig() == ConnectionConfig.from_env({"MSGTRANS_CONNECTION_TYPE": "fast"})
    assert "MSGTRANS_CONNECTION_TYPE is 'fast'" in caplog.text


@pytest.mark.parametrize("size", ["0", "-1", "x", "1.5", "१", "0x10"])
def test_a_wrong_size_is_refused(size: str) -> None:
    """A size that is no positive number is an error that names the variable (case 30)."""
    with pytest.raises(ConfigurationError) as caught:
        ConnectionConfig.from_env({"MSGTRANS_BUFFER_SIZE": size})
    assert "MSGTRANS_BUFFER_SIZE" == caught.value.field


@pytest.mark.parametrize("size", [0, -1, 1.5, True])
def test_buffers_have_a_place(size: int) -> None:
    """A buffer size below one, or that is no whole number, is refused (case 30)."""
    with pytest.raises(ConfigurationError):
        ConnectionConfig(buffer_size=size)


def test_a_connection_config_acts() -> None:
    """The buffer is what event streams hold, and the two switches make a monitor and a tuning, or none."""
    server = TransportServer(connection=ConnectionConfig(buffer_size=9999), session=SessionConfig(batch_size=5))
    assert (9999, 5) == (server.config.event_queue_size, server.config.batch_size)
    assert server.monitor is not None
    assert server.tuning is not None
    client = TransportClient("tcp://h:1", connection=ConnectionConfig.silent())
    assert (1000, None, None) == (client.config.event_queue_size, client.monitor, client.tuning)
    assert (None, None) == (TransportServer().monitor, TransportServer().tuning)


async def test_an_expert_config_acts() -> None:
    """Performance makes a monitor of a server or client, and smart_pool sizes a pool."""
    performance = PerformanceConfig.development()
    expert = ExpertConfig(
        performance=performance, smart_pool=SmartPoolConfig(initial_size=2, max_size=2, min_connections=1)
    )
    expert.validate()
    assert expert.has_expert_config()
    assert not ExpertConfig().has_expert_config()
    server = TransportServer(tcp="127.0.0.1:0", expert=expert)
    server.on_request(lambda _: b"")
    assert server.monitor is not None
    assert performance is server.monitor.config
    async with server:
        assert server.monitor.samples > 0
        async with ConnectionPool(server.uris[0], expert=expert) as pool:
            assert 2 == pool.stats().total_connections
        async with TransportClient(server.uris[0], expert=expert) as client:
            await client.request(b"")
            assert client.monitor is not None
            assert client.monitor.samples > 0
        assert client.monitor._timer is None
    assert server.monitor._timer is None
    assert TransportServer(expert=ExpertConfig()).monitor is None


SMALL = Observation(packets=1000, bytes=64_000)
LARGE = Observation(packets=1000, bytes=64_000_000)


def test_small_packets_get_larger_batches() -> None:
    """What was wanted three times in a row is done, once, and said with its reason."""
    tuner = Tuner(32, 50)
    assert [[], []] == [tuner.observe(SMALL, 1.0) for _ in range(2)]
    told = Decision("batch_size", 32, 100, "packets have 64 bytes on average", 1.0)
    assert [told] == tuner.observe(SMALL, 1.0)
    assert [] == [found for _ in range(20) for found in tuner.observe(SMALL, 2.0)]


def test_loads_that_alternate_change_nothing() -> None:
    """A load that is another one at each look never agrees with itself, so nothing flaps."""
    tuner = Tuner(32, 50)
    assert [] == [found for _ in range(50) for seen in (SMALL, LARGE) for found in tuner.observe(seen, 1.0)]


def test_few_packets_say_nothing() -> None:
    """A quiet time leaves everything as it is."""
    tuner = Tuner(32, 50)
    assert [] == [found for _ in range(10) for found in tuner.observe(Observation(packets=99, bytes=99), 1.0)]


def test_large_buffers_grow_with_use_and_shrink_without() -> None:
    """When too few buffers are used again more are kept, up to 200; when none is borrowed, as many as at first."""
    tuner, limit, limits = Tuner(32, 50), 50, []
    for hits, misses, dropped in [(50, 50, 50)] * 12 + [(0, 0, 0)] * 12:
        seen = Observation(packets=0, bytes=0, hits=hits, misses=misses, dropped=dropped, limit=limit)
        for decision in tuner.observe(seen, 1.0):
            limit = decision.after
            limits.append(limit)
    assert [100, 200, 100, 50] == limits


OBSERVATIONS = st.builds(
    Observation,
    packets=st.integers(0, 10**7),
    bytes=st.integers(0, 10**12),
    hits=st.integers(0, 10**5),
    misses=st.integers(0, 10**5),
    dropped=st.integers(0, 10**5),
)


@given(st.lists(OBSERVATIONS, max_size=60), st.integers(0, 500))
def test_what_is_tuned_stays_within_bounds(seen: list[Observation], configured: int) -> None:
    """Whatever is observed, decisions stay within the bounds, and begin where things are."""
    tuner, limit = Tuner(32, configured), configured
    for observation in seen:
        before = tuner.batch_size
        for decision in tuner.observe(msgspec.structs.replace(observation, limit=limit), 1.0):
            if decision.what == "large_buffers":
                assert limit == decision.before
                limit = decision.after
                assert min(configured, MOST_LARGE) <= limit <= max(configured, MOST_LARGE)
            else:
                assert before == decision.before
                assert SMALLEST_BATCH <= decision.after <= LARGEST_BATCH


@given(OBSERVATIONS, st.integers(1, 1000), st.integers(1, 200))
def test_a_constant_load_settles(observation: Observation, batch_size: int, limit: int) -> None:
    """Under a load that stays the same the decisions come to an end."""
    tuner, decisions = Tuner(batch_size, limit), 0
    for turn in range(60):
        for decision in tuner.observe(msgspec.structs.replace(observation, limit=limit), 1.0):
            decisions += 1
            if decision.what == "large_buffers":
                limit = decision.after
            assert turn < 40
    assert decisions <= 10


async def test_sessions_are_tuned(caplog: pytest.LogCaptureFixture) -> None:
    """What the tuner decides holds for the sessions that are open, and for those that open later; it is logged."""
    caplog.set_level(logging.INFO, "msgtrans.tuning")
    server = TransportServer(tcp="127.0.0.1:0", connection=ConnectionConfig(metrics=False))
    server.on_request(lambda _: b"")
    events = server.events()
    async with server, TransportClient(server.uris[0]) as client:
        tuning = server.tuning
        assert tuning is not None
        for _ in range(3):
            for _ in range(100):
                await client.request(b"")
            tuning.look()
        (decision,) = tuning.decisions
        assert ("batch_size", 32, 100) == (decision.what, decision.before, decision.after)
        assert [decision] == [event for event in iter(events.next_nowait, None) if isinstance(event, Decision)]
        assert 100 == server.sessions[1]._batch_least
        assert "batch_size: 32 -> 100, because packets have 16 bytes on average" in caplog.text
        async with TransportClient(server.uris[0]) as second:
            await second.request(b"")
            tuning.look()
            assert 100 == server.sessions[2]._batch_least


def test_a_full_stream_keeps_the_latest_decision() -> None:
    """Decisions that nobody reads do not pile up: of those that came to a full stream the latest stays."""
    hub = EventHub(2, lambda: None, lambda: None)
    events = hub.open()
    told = [Decision("batch_size", number, number + 1, "", 0.0) for number in range(9)]
    for decision in told:
        hub.emit(decision)
    hub.emit(ServerStopped())
    assert [*told[:1], told[-1], ServerStopped()] == list(iter(events.next_nowait, None))


async def test_the_timer_looks_and_stops(monkeypatch: pytest.MonkeyPatch, until: Until) -> None:
    """Started, it looks by itself; stopped, it does not."""
    monkeypatch.setattr(module, "INTERVAL", 0.001)
    looks = []
    server = TransportServer()
    tuning = Tuning(server)
    monkeypatch.setattr(tuning, "look", lambda: looks.append(1), raising=False)
    tuning.start()
    await until(lambda: len(looks) > 1)
    tuning.stop()
    assert tuning._timer is None


async def test_large_buffers_of_the_loop_are_tuned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decision about buffers sets the limit of the pool that the loop's connections share."""
    pool = buffer_pool(asyncio.get_running_loop())
    tuning = Tuning(TransportServer())
    tuning.start()
    try:
        for _ in range(3):
            borrowed = [pool.get(65536) for _ in range(120)]
            for buffer in borrowed:
                pool.release(buffer)
            tuning.look()
        assert 100 == pool.limits.large
        assert ["large_buffers"] == [decision.what for decision in tuning.decisions]
    finally:
        tuning.stop()
