"""The numbers of an endpoint in a registry of prometheus_client (`msgtrans[metrics]`).

    registry.register(MsgTransCollector(server))

Collect in the loop of the endpoint: `generate_latest(registry)` in a handler there. A thread of its own, as that of
`start_http_server`, would read while the loop changes what it reads.
Not here: which numbers there are (`families`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from msgtrans.monitor.families import families
from msgtrans.monitor.latency import BOUNDS, cumulative
from msgtrans.monitor.watching import Monitor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from msgtrans.endpoint import Endpoint
    from msgtrans.monitor.families import Family


class MsgTransCollector(Collector):
    """Shows one endpoint, or one `Monitor` with all it knows. name: the value of the label `endpoint`; default none."""

    def __init__(self, source: Endpoint | Monitor, *, name: str = "") -> None:
        self._source = source
        self._labels = (("endpoint", name),) if name else ()

    def collect(self) -> Iterator[Metric]:
        """For prometheus_client."""
        source = self._source
        found = (
            source.families() if isinstance(source, Monitor) else families(source.stats(), started_at=source.started_at)
        )
        for family in found:
            yield self._metric(family)

    def describe(self) -> list[Metric]:
        """For prometheus_client, so that registering asks for no numbers."""
        return []

    def _metric(self, family: Family) -> Metric:
        first = family.values or family.histograms
        names = [name for name, _ in self._labels + (first[0][0] if first else ())]
        if family.kind == "histogram":
            bounds = (*(f"{bound:g}" for bound in BOUNDS), "+Inf")
            histogram = HistogramMetricFamily(family.name, family.help, labels=names)
            for own, latencies in family.histograms:
                histogram.add_metric(
                    [text for _, text in self._labels + own],
                    list(zip(bounds, cumulative(latencies.counts), strict=True)),
                    latencies.seconds,
                )
            return histogram
        kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
        metric = kind(family.name, family.help, labels=names)
        for own, value in family.values:
            metric.add_metric([text for _, text in self._labels + own], value)
        return metric
