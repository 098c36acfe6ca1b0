"""How long requests of a server's own wait, as its statistics and `msgtrans top` tell it."""

from __future__ import annotations

import msgspec
from test_msgtrans_cli_top import shown, statistics

from msgtrans import (
    ConnectionConfig,
    ExpertConfig,
    PerformanceConfig,
    TransportClient,
    TransportServer,
)
from msgtrans.cli.screen import screen
from msgtrans.cli.top import compare
from msgtrans.middleware import ServerStatistics, StatisticsMiddleware, Watched, fetch_statistics
from msgtrans.middleware.statistics import statistics_of
from msgtrans.monitor import Latencies
from msgtrans.monitor.latency import BOUNDS

SELDOM = PerformanceConfig(sampling_interval=3600)  # only what a test samples itself


async def test_statistics_tell_it_over_the_wire() -> None:
    """A server that asks its clients tells whoever asks for its statistics how long it waits, and top shows it."""
    performance = ExpertConfig(performance=SELDOM)
    server = TransportServer(
        tcp="127.0.0.1:0",
        middleware=[StatisticsMiddleware()],
        connection=ConnectionConfig(metrics=False),
        expert=performance,
    )
    async with server, TransportClient(server.uris[0]) as client:
        client.on_request(lambda _: b"")
        first = await fetch_statistics(client)
        assert (None, None) == (first.watched.asked, first.sessions[0].asked)
        await server.sessions[1].request(b"")
        now = statistics_of(server)
        again = msgspec.json.decode(msgspec.json.encode(now), type=ServerStatistics)
    assert now == again
    assert again.watched.asked is not None
    assert [again.watched.asked, 1] == [again.sessions[0].asked, again.watched.asked.count]
    look = compare("tcp://h:1", compare("tcp://h:1", None, first), now)
    assert (again.watched.asked, {1: again.watched.asked}) == (look.asked, look.answers)


def test_top_shows_what_was_answered_between_two_looks() -> None:
    """Waits have a line, and two columns in a wide terminal; without answers there is neither."""
    slow, fast = [0] * (len(BOUNDS) + 1), [0] * (len(BOUNDS) + 1)
    slow[BOUNDS.index(1.0)] = 5
    fast[BOUNDS.index(0.001)] = 90
    fast[BOUNDS.index(0.025)] = 10
    then, now = Latencies(tuple(slow), 5.0), Latencies(tuple(map(sum, zip(slow, fast, strict=True))), 6.0)
    look = None
    for second, waits in enumerate((then, now)):
        told = statistics(10 + second, packets=(700, 10))
        sessions = [msgspec.structs.replace(told.sessions[0], asked=waits), told.sessions[1]]
        look = compare(
            "tcp://h:1", look, msgspec.structs.replace(told, sessions=sessions, watched=Watched(asked=waits))
        )
    assert look is not None
    lines = [" ".join(line.split()) for line in shown(look)]
    assert "own requests: 100 answered, p50 1,000 us, p99 25,000 us" in lines
    (head,) = [line for line in lines if line.startswith("session")]
    assert head.endswith("queued asked p50 us p99 us")
    first, second = [line.split() for line in lines if "wss" in line]
    assert (["1,000", "25,000"], ["-", "-"]) == (first[-2:], second[-2:])
    quiet = compare("tcp://h:1", look, msgspec.structs.replace(look.statistics, uptime=20.0))
    assert not any("own requests" in line or "p50" in line for line in shown(quiet))
    assert screen(look, columns=60) is not None
    assert not any("p99 us" in line for line in shown(look, width=60))
