"""Calls of a client as spans of OpenTelemetry, and their context on the wire (``artemis-registry[otel]``).

A call is a span ``artemis.client.registry.register`` (spec 15) of the kind CLIENT, with a child
``artemis.client.attempt`` for each request to a node. The context of the attempt goes along as the application's
propagator writes it, usually as ``traceparent``: in HTTP headers, over MsgTrans in the ext header.

======================= ======= ====================================================================================
attribute               of      value
======================= ======= ====================================================================================
``rpc.system``          both    ``artemis``
``rpc.method``          both    the operation, as ``registry.heartbeat``
``artemis.attempts``    call    how many requests it took
``error.type``          both    what it ended in, unless it went well: the outcome, or the code of a refusal
``artemis.node``        attempt URL of the node
``server.address``      attempt its host; ``server.port``: its port, if the URL has one
``artemis.via``         attempt what carried it: ``http`` or a kind of link
======================= ======= ====================================================================================

What the client does by itself, heartbeats above all, belongs to no request of the application: these spans are roots.
Not here: exporting and sampling, which the application's SDK does; without one nothing happens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from artemis._version import __version__
from artemis.client.telemetry.contract import CallTelemetry, Telemetry

if TYPE_CHECKING:
    from collections.abc import Collection

    from opentelemetry.trace import Span, Tracer, TracerProvider

    from artemis.client.telemetry.contract import AttemptEnded, CallEnded


class OpenTelemetryTelemetry(Telemetry):
    """Makes spans of the calls of one client.

    ``tracer_provider`` is the application's global one unless given. Of the operations in ``without`` no spans are
    made; ``("registry.heartbeat",)`` keeps a trace every few seconds away.
    """

    def __init__(self, tracer_provider: TracerProvider | None = None, *, without: Collection[str] = ()) -> None:
        self._tracer = trace.get_tracer("artemis.client", __version__, tracer_provider)
        self._without = frozenset(without)

    def call(self, operation: str) -> CallTelemetry | None:
        """See `Telemetry.call`; a child of the span that is current where the call is made."""
        return None if operation in self._without else _Call(self._tracer, operation)


class _Call(CallTelemetry):
    def __init__(self, tracer: Tracer, operation: str) -> None:
        self._tracer = tracer
        self._common = {"rpc.system": "artemis", "rpc.method": operation}
        self._span = tracer.start_span(f"artemis.client.{operation}", kind=SpanKind.CLIENT, attributes=self._common)
        self._context = trace.set_span_in_context(self._span)
        self._attempt: Span | None = None

    def attempt(self, node: str) -> Mapping[str, str]:
        url = urlsplit(node)
        attributes: dict[str, str | int] = {**self._common, "artemis.node": node, "server.address": url.hostname or ""}
        if url.port is not None:
            attributes["server.port"] = url.port
        self._attempt = self._tracer.start_span(
            "artemis.client.attempt", self._context, kind=SpanKind.CLIENT, attributes=attributes
        )
        carrier: dict[str, str] = {}
        propagate.inject(carrier, trace.set_span_in_context(self._attempt))
        return carrier

    def attempted(self, attempt: AttemptEnded) -> None:
        span, self._attempt = self._attempt, None
        if span is not None:
            span.set_attribute("artemis.via", attempt.via)
            if attempt.outcome != "ok":
                _failed(span, attempt.error_code or attempt.outcome, attempt.reason)
            span.end()

    def ended(self, call: CallEnded) -> None:
        self._span.set_attribute("artemis.attempts", call.attempts)
        if call.outcome != "ok":
            _failed(self._span, getattr(call.error, "error_code", call.outcome), str(call.error or ""))
        self._span.end()


def _failed(span: Span, kind: str, words: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR, words))
