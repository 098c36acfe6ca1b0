"""The room for watching endpoints: samples with history, a dashboard with alerts, and Prometheus exposition.

`Monitor(server)` watches; `monitor.http.MetricsServer` and, with prometheus_client, `monitor.collector` show it.
"""

from msgtrans.monitor.dashboard import Alert, Dashboard
from msgtrans.monitor.families import Family, render
from msgtrans.monitor.history import History, Rates, Sample
from msgtrans.monitor.http import MetricsServer
from msgtrans.monitor.latency import Latencies
from msgtrans.monitor.together import group_exposition
from msgtrans.monitor.watching import Monitor, exposition

__all__ = [
    "Alert",
    "Dashboard",
    "Family",
    "History",
    "Latencies",
    "MetricsServer",
    "Monitor",
    "Rates",
    "Sample",
    "exposition",
    "group_exposition",
    "render",
]
