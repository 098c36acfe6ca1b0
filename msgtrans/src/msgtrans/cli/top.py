"""What `msgtrans top` does: ask a server for its statistics again and again, and tell what changed between two looks.

`compare` needs no connection; `looks` asks, and connects again when the server comes back.
Not here: what the screen looks like (`screen`), and giving statistics (`msgtrans.middleware`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from msgtrans.cli.target import plain, told_plainly
from msgtrans.errors import TransportError, TransportTimeoutError
from msgtrans.middleware import ServerStatistics, SessionSummary, fetch_statistics
from msgtrans.monitor.latency import Latencies
from msgtrans.stats import EndpointStats

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from msgtrans.cli.target import Target
    from msgtrans.client import TransportClient

TREND: Final = 40  # looks
SHORTEST: Final = 0.001  # seconds between two looks, in which rates say something
ANSWER: Final = 5.0  # seconds to wait for an answer


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Per second, between two looks. in and out are the server's."""

    packets_in: float
    packets_out: float
    bytes_in: float
    bytes_out: float


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """A server at one moment, compared with the look before.

    rates: of all sessions; sessions, workers: of those that were there both times, by id, by process. None and empty
    without a look before.
    opened: connections per second. grown: by how much counters have grown, those that have. trouble: why there is
    nothing newer, empty when all is well. trend: packets per second, both ways together, of the last 40 looks. asked,
    answers: how long requests of the server's own that were answered between the two looks waited for it, all together
    and by session id; only where there were some.
    """

    uri: str
    statistics: ServerStatistics
    rates: Rates | None = None
    sessions: dict[int, Rates] = {}
    workers: dict[int, Rates] = {}
    opened: float = 0.0
    grown: dict[str, int] = {}
    trouble: str = ""
    trend: tuple[float, ...] = ()
    asked: Latencies | None = None
    answers: dict[int, Latencies] = {}

    def busiest(self) -> list[tuple[SessionSummary, Rates | None]]:
        """The sessions told of, the busiest now first."""
        return sorted(
            ((session, self.sessions.get(session.id)) for session in self.statistics.sessions),
            key=lambda found: (
                -(found[1].packets_in + found[1].packets_out if found[1] else 0.0),
                -(found[0].packets_sent + found[0].packets_received),
            ),
        )


def compare(uri: str, before: Look | None, now: ServerStatistics) -> Look:
    """What `now` says after `before`. A server that began anew meanwhile has nothing to be compared with."""
    then = before.statistics if before is not None else None
    if then is None or now.uptime < then.uptime:
        return Look(uri=uri, statistics=now)
    seconds = now.uptime - then.uptime
    if before is not None and seconds == 0:
        return msgspec.structs.replace(before, trouble="")  # it has given the same answer again
    known = {session.id: session for session in then.sessions}
    others = {worker.pid: worker for worker in then.workers}
    rates = _rates(then.counters, now.counters, seconds)
    return Look(
        uri=uri,
        statistics=now,
        rates=rates,
        trend=(*(before.trend if before is not None else ()), rates.packets_in + rates.packets_out)[-TREND:],
        sessions={
            session.id: _rates(known[session.id], session, seconds) for session in now.sessions if session.id in known
        },
        workers={
            worker.pid: _rates(others[worker.pid].counters, worker.counters, seconds)
            for worker in now.workers
            if worker.pid in others
        },
        asked=_answered(then.watched.asked, now.watched.asked) if then.worker == now.worker else None,
        answers={
            session.id: found
            for session in now.sessions
            if then.worker == now.worker
            and session.id in known
            and (found := _answered(known[session.id].asked, session.asked)) is not None
        },
        opened=_per_second(then.counters.connections_total, now.counters.connections_total, seconds),
        grown={
            name: growth
            for name, value in counters(now.counters).items()
            if (growth := value - getattr(then.counters, name)) > 0
        },
    )


def counters(stats: EndpointStats) -> dict[str, int]:
    """All of them by name, those of newer versions included."""
    return {name: getattr(stats, name) for name in stats.__struct_fields__}


def _answered(then: Latencies | None, now: Latencies | None) -> Latencies | None:
    nothing = Latencies()
    then = then or nothing
    if now is None or not len(now.counts) == len(then.counts) == len(nothing.counts):
        return None  # or a server with other buckets
    found = now.since(then)
    return found if found.count > 0 else None


def _rates(then: EndpointStats | SessionSummary, now: EndpointStats | SessionSummary, seconds: float) -> Rates:
    return Rates(
        packets_in=_per_second(then.packets_received, now.packets_received, seconds),
        packets_out=_per_second(then.packets_sent, now.packets_sent, seconds),
        bytes_in=_per_second(then.bytes_received, now.bytes_received, seconds),
        bytes_out=_per_second(then.bytes_sent, now.bytes_sent, seconds),
    )


def _per_second(then: int, now: int, seconds: float) -> float:
    """Of a counter; 0 where it fell, as with a server that began anew."""
    return max(now - then, 0) / max(seconds, SHORTEST)


async def looks(target: Target, *, interval: float, biz_type: int) -> AsyncGenerator[Look, None]:
    """Look every `interval` seconds. Once it has worked, a server that is gone is tried again, and the looks say so.

    Raises TransportError when the first look fails, or when trying again cannot help.
    """
    look: Look | None = None
    while True:
        try:
            async with target.client() as client:
                with told_plainly(client):
                    while True:
                        look = compare(target.uri, look, await _ask(client, biz_type))
                        yield look
                        await asyncio.sleep(interval)
        except TransportError as error:
            if look is None or not error.retriable:
                raise
            yield msgspec.structs.replace(look, trouble=f"no news, trying again: {plain(error)}")
        await asyncio.sleep(interval)


async def _ask(client: TransportClient, biz_type: int) -> ServerStatistics:
    missing = (
        f"{client.uri} gives no statistics; its program switches them on, by server.use(StatisticsMiddleware()). "
        "A server that is not yours to change may tell of itself elsewhere, as a registry node does at its /metrics"
    )
    try:
        return await fetch_statistics(client, biz_type=biz_type, seconds=ANSWER)
    except msgspec.DecodeError as error:
        raise TransportError(missing, retriable=False) from error
    except TransportTimeoutError as error:
        raise TransportError(f"{missing}, or it is too busy to answer within {ANSWER:g} s", retriable=True) from error
