"""What several workers know together, for one scrape: counters, and what the monitors of all of them see.

    text = await group_exposition(server)

Each worker tells its supervisor two sets of plain numbers: `sums`, which add up and stay when a worker has ended, as
counts in the buckets of a histogram, and `states`, which are its own. Their names are known here only.
Not here: the families of one endpoint (`families`), and how the numbers travel (`workers.link`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from msgtrans.monitor.families import Family, families, render, worker_families
from msgtrans.monitor.latency import BOUNDS, Latencies
from msgtrans.stats import EndpointStats

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msgtrans.endpoint import Endpoint
    from msgtrans.monitor.dashboard import Dashboard
    from msgtrans.monitor.families import Kind, Labels
    from msgtrans.monitor.history import Sample
    from msgtrans.workers.messages import Group

SEPARATOR: Final = ":"
SAMPLES: Final = "monitor_samples"
HEALTH: Final = "health_score"
ALERT: Final = "alert"
HISTOGRAMS: Final = {
    "request_duration_seconds": "time it took to handle requests that came in, of all workers",
    "answer_wait_seconds": "time that requests of ours waited for their answers, of all workers",
}
TRAFFIC: Final = {
    "packets_sent": ("protocol_packets_sent", "packets sent, by protocol, of all workers"),
    "packets_received": ("protocol_packets_received", "packets received, by protocol, of all workers"),
    "bytes_sent": ("protocol_sent_bytes", "bytes sent, by protocol, of all workers"),
    "bytes_received": ("protocol_received_bytes", "bytes received, by protocol, of all workers"),
}
SESSIONS: Final = "protocol_sessions_open"


def sums_of(
    samples: int, protocols: Mapping[str, Sample], handled: Latencies | None, asked: Latencies | None
) -> dict[str, float]:
    """What of a monitor adds up. handled, asked: how long requests of peers and of our own took."""
    found: dict[str, float] = {SAMPLES: samples}
    for name, latencies in zip(HISTOGRAMS, (handled, asked), strict=True):
        if latencies is not None:
            found |= {_key(name, str(place)): count for place, count in enumerate(latencies.counts)}
            found[_key(name, "sum")] = latencies.seconds
    for protocol, sample in protocols.items():
        found |= {_key(name, protocol): getattr(sample, field) for field, (name, _) in TRAFFIC.items()}
    return found


def states_of(dashboard: Dashboard, protocols: Mapping[str, Sample]) -> dict[str, float]:
    """What of a monitor is true of its worker now."""
    found = {HEALTH: dashboard.health_score}
    found |= {_key(ALERT, alert.what): 1.0 for alert in dashboard.alerts}
    return found | {_key(SESSIONS, protocol): sample.sessions for protocol, sample in protocols.items()}


def group_families(group: Group) -> list[Family]:
    """Everything that all workers know. Those without monitors tell counters only."""
    counters = msgspec.convert(group.total, EndpointStats)
    ready = sum(worker.ready for worker in group.workers)
    found = [*families(counters, started_at=group.started_at), *worker_families(ready, group.restarts)]
    if SAMPLES not in group.sums:
        return found
    found += _together(group.sums)
    found += _states({str(worker.index): worker.states for worker in group.workers if worker.states})
    sessions: dict[str, float] = {}
    for worker in group.workers:
        for protocol, count in _under(SESSIONS, worker.states).items():
            sessions[protocol] = sessions.get(protocol, 0) + count
    found.append(_family(SESSIONS, "gauge", "sessions open now, by protocol, of all workers", "protocol", sessions))
    return found


async def group_exposition(endpoint: Endpoint) -> str:
    """As `exposition`; in a worker process, of all workers together, from whichever of them is asked.

    With monitors, as `TransportServer(expert=)` makes them: histograms and traffic are sums, the score of health and
    alerts are of each worker, by the label `worker`. What is told of single sessions is not in it.
    Raises TimeoutError when the supervisor does not answer: counters of one worker in place of all would step back.
    """
    link = endpoint.worker_link
    if link is None:
        return render(families(endpoint.stats(), started_at=endpoint.started_at))
    return render(group_families(await link.group()))


def _together(sums: Mapping[str, float]) -> list[Family]:
    found = [Family(f"msgtrans_{SAMPLES}", "counter", "samples taken, of all workers", [((), sums[SAMPLES])])]
    for name, text in HISTOGRAMS.items():
        told = _under(name, sums)
        if told:
            counts = tuple(int(told.get(str(place), 0)) for place in range(len(BOUNDS) + 1))
            latencies = Latencies(counts, told.get("sum", 0.0))
            found.append(Family(f"msgtrans_{name}", "histogram", text, latencies=latencies))
    return found + [_family(name, "counter", text, "protocol", _under(name, sums)) for name, text in TRAFFIC.values()]


def _states(by_worker: Mapping[str, Mapping[str, float]]) -> list[Family]:
    health = {index: states[HEALTH] for index, states in by_worker.items() if HEALTH in states}
    alerts: list[tuple[Labels, float]] = [
        ((("what", what), ("worker", index)), value)
        for index, states in by_worker.items()
        for what, value in _under(ALERT, states).items()
    ]
    return [
        _family(HEALTH, "gauge", "100 when all is well, down to 0, of each worker", "worker", health),
        Family("msgtrans_alert", "gauge", "1 for each figure of a worker that is beyond its level now", alerts),
    ]


def _family(name: str, kind: Kind, text: str, label: str, values: Mapping[str, float]) -> Family:
    return Family(f"msgtrans_{name}", kind, text, [(((label, own),), value) for own, value in sorted(values.items())])


def _key(name: str, detail: str) -> str:
    return f"{name}{SEPARATOR}{detail}"


def _under(name: str, numbers: Mapping[str, float]) -> dict[str, float]:
    prefix = _key(name, "")
    return {key.removeprefix(prefix): value for key, value in numbers.items() if key.startswith(prefix)}
