"""What is public, in one place. Everything else may change at any time.

A module is public with the names of its `__all__`, or with those that stand here; a class with all its members whose
names have no leading underscore, but for those that stand in `FOR_OUR_OWN_PARTS`.
Not here: the commands, the HTTP paths and the wire, which have tests of their own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """One distribution. modules: public ones with their public names; None for those of `__all__`.

    source: the folder that holds its package, relative to the root of the repository. unread: parts of the package in
    which nothing public is defined. hidden: members without an underscore that are no promise, by the class that
    defines them or by the public name of one that has them. made_by_us: classes that users get and never make, by
    patterns of the path where they are defined; how they are made is no promise.
    """

    name: str
    package: str
    source: str
    unread: tuple[str, ...] = ()
    modules: dict[str, tuple[str, ...] | None]
    hidden: dict[str, tuple[str, ...]] = {}
    made_by_us: tuple[str, ...] = ()

    def version_file(self, root: Path) -> Path:
        """The one place where its version is written."""
        return root / self.source / self.package / "_version.py"

    def record_file(self, root: Path) -> Path:
        """Where its public API is recorded."""
        return root / "api" / f"{self.name}.txt"


FOR_OUR_OWN_PARTS: Final[dict[str, tuple[str, ...]]] = {
    # Servers, clients and sessions are objects that our modules, and no others, reach into.
    "msgtrans.endpoint.Endpoint": (
        "connect_handler", "counters", "disconnect_handler", "error_handler", "hub", "kept", "make_room_for_packets",
        "max_kept", "message_handler", "message_in_task", "middleware", "offer_message", "offer_request", "paused",
        "request_handler", "request_in_task", "session_closed", "session_ending", "session_finished",
        "session_opened", "spawn", "sweeping", "throttle", "worker_link",
    ),
    "msgtrans.server.TransportServer": ("work_for", "worker_start_handlers", "worker_stop_handlers"),
    "msgtrans.Session": (
        "active_at", "awaits_rest", "drop_incomplete", "encode_message", "forward", "kept", "offer_frame",
        "send_together", "take_messages", "write_offered",
    ),
    "msgtrans.EventStream": ("displace", "full", "put"),
    "msgtrans.PoolEventStream": ("put",),
    "msgtrans.Monitor": ("session_ended",),
    "msgtrans.resilience.states.StateStream": ("put",),
}  # fmt: skip

MSGTRANS: Final = Distribution(
    name="msgtrans",
    package="msgtrans",
    source="msgtrans/src",
    unread=("cli",),
    modules={
        "msgtrans": None,
        "msgtrans.config": None,
        "msgtrans.middleware": None,
        "msgtrans.autotune": None,
        "msgtrans.monitor": None,
        "msgtrans.monitor.collector": ("MsgTransCollector",),
        "msgtrans.tuning": ("Decision", "Tuning"),
        # For transports of other makers.
        "msgtrans.transport": (
            "ClientConfig", "HasCertificates", "Host", "Listener", "ServerConfig", "ServerHost", "Terms", "Transport",
            "TransportInfo",
        ),
        "msgtrans.adapters.registry": ("TransportRegistry", "transports"),
        "msgtrans.adapters.stream": ("StreamConnection",),
        "msgtrans.link": ("HttpRequest", "Link"),
        "msgtrans.config.checks": ("positive", "whole"),
        # Of pools, batches and workers, what few need.
        "msgtrans.flow.batching": ("PacketBatches", "ProtocolStats"),
        "msgtrans.flow.pipelines": (
            "ActorStats", "BatchCompleted", "Connected", "Failed", "HealthCheck", "PacketReceived", "PacketSent",
            "PipelineEvent", "SessionPipelines", "Shutdown",
        ),
        "msgtrans.pool.allocation": (
            "AdjustLimits", "AllocationCommand", "BufferAllocated", "BufferClass", "BufferClassStats", "BufferEvent",
            "BufferLimits", "BufferPoolStats", "BufferReturned", "CacheEviction", "CacheHit", "CacheMiss",
            "ClearCache", "GetStats", "MemoryPressure", "Preallocate", "SetLimits",
        ),
        "msgtrans.pool.buffers": ("BufferPool",),
        "msgtrans.pool.control": (
            "CreateConnection", "ForceExpand", "GetConnection", "GetStats", "PoolCommand", "RemoveConnection",
            "ReturnConnection",
        ),
        "msgtrans.workers": None,
        # What public calls return, and what handlers are, for annotations.
        "msgtrans.containers": ("CounterStats", "MapStats", "QueueStats"),
        "msgtrans.pool.stats": ("MemberState", "PooledConnection"),
        "msgtrans.resilience.states": ("StateStream",),
        "msgtrans.resilience.stats": ("ReconnectingStats",),
        "msgtrans.resilience.keeper": ("TargetStatus",),
        "msgtrans.handlers": (
            "Answer", "ConnectHandler", "DisconnectHandler", "ErrorHandler", "MessageHandler", "RequestHandler",
        ),
    },
    hidden=FOR_OUR_OWN_PARTS,
    made_by_us=(
        "msgtrans.session.Session", "msgtrans.events.*", "msgtrans.info.*", "msgtrans.stats.*",
        "msgtrans.resilience.states.*", "msgtrans.resilience.stats.*", "msgtrans.resilience.keeper.*",
        "msgtrans.middleware.statistics.ServerStatistics",
        "msgtrans.link.HttpRequest", "msgtrans.transport.Terms", "msgtrans.pool.events.*", "msgtrans.pool.stats.*",
        "msgtrans.pool.allocation.Buffer[AC]*", "msgtrans.pool.allocation.BufferPoolStats",
        "msgtrans.pool.allocation.Cache*", "msgtrans.flow.pipelines.[!S]*", "msgtrans.flow.batching.ProtocolStats",
        "msgtrans.containers.*Stats", "msgtrans.flow.threads.*Stats",
        "msgtrans.tuning.*", "msgtrans.monitor.dashboard.*", "msgtrans.monitor.history.*", "msgtrans.monitor.latency.*",
        "msgtrans.workers.link.*", "msgtrans.workers.messages.*", "msgtrans.middleware.statistics.*Summary",
    ),
)  # fmt: skip

ARTEMIS: Final = Distribution(
    name="artemis-registry",
    package="artemis",
    source="artemis/src",
    unread=("cli", "cluster", "demo", "management", "push", "registry", "server"),
    modules={
        "artemis": None,
        "artemis.sync": None,
        "artemis.asgi": ("App", "ClientSource", "Lifespan", "RegisteredApp", "lifespan"),
        "artemis.wsgi": ("ENVIRON_KEY", "RegisteredApp"),
        "artemis.script": ("TERMINATED", "registered"),
        "artemis.client.telemetry": None,
        "artemis.client.telemetry.prometheus": ("PrometheusTelemetry",),
        "artemis.client.telemetry.opentelemetry": ("OpenTelemetryTelemetry",),
        "artemis.testing": None,
        "artemis.testing.fixtures": (
            "NodeOptions", "artemis_client", "artemis_node", "artemis_node_options", "artemis_node_session",
            "artemis_sync_client",
        ),
        "artemis.testing.java": ("JavaClient", "JavaSettings"),
        # For filters of other makers.
        "artemis.discovery": ("DiscoveryFilter", "ServiceDraft"),
    },
    made_by_us=(
        "artemis.client.events.*", "artemis.client.status.*", "artemis.client.errors.Attempt",
        "artemis.client.discovery.services.*", "artemis.client.discovery.changes.*", "artemis.client.discovery.watch.*",
        "artemis.client.discovery.listeners.*", "artemis.client.telemetry.readings.*",
        "artemis.client.telemetry.contract.*Ended", "artemis.client.balancing.balancer.*",
        "artemis.client.registration.registration.*", "artemis.client.sync.*.[!A]*",
        "artemis.testing.node.RunningNode", "artemis.testing.clusters.RunningCluster",
    ),
)  # fmt: skip

DISTRIBUTIONS: Final = (MSGTRANS, ARTEMIS)
