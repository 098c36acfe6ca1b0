"""What the SDK tells about itself to whoever measures, traces or logs; nothing of it is needed for anything to work.

`Telemetry` is what to subclass. `artemis.client.telemetry.prometheus` and `artemis.client.telemetry.opentelemetry` are
ready-made ones with dependencies of their own (``artemis-registry[metrics]``, ``artemis-registry[otel]``),
`LogTelemetry` needs none.
"""

from artemis.client.telemetry.contract import AttemptEnded, CallEnded, CallTelemetry, Telemetry
from artemis.client.telemetry.logs import LogTelemetry, event_fields, fields
from artemis.client.telemetry.readings import ClientReading, Readings

__all__ = [
    "AttemptEnded",
    "CallEnded",
    "CallTelemetry",
    "ClientReading",
    "LogTelemetry",
    "Readings",
    "Telemetry",
    "event_fields",
    "fields",
]
