"""What of a node's options changes while it runs: which ones, how, and when their file is looked at again.

An option is live exactly when there is a line for it in `_LIVE`. Not here: reading and checking options (`config`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from artemis.registry import NodeLimits, NodeTimings
from artemis.server.config import ConfigError, ServeConfig, load_config
from artemis.server.logs import configure_logging
from artemis.server.rate_limit import rate_limits
from artemis.server.websocket.sessions import session_policy

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from artemis.server.app import NodeServer

LOOK_EVERY = 1.0
"""Seconds between two looks at the file."""

_Apply = Callable[["NodeServer", ServeConfig], None]


class Reconfiguration(NamedTuple):
    """What became of new options: `config` is in effect now, `changed` was taken over, `kept` waits for a restart."""

    config: ServeConfig
    changed: tuple[str, ...]
    kept: tuple[str, ...]


def node_timings(config: ServeConfig) -> NodeTimings:
    """The times of leases in milliseconds."""
    return NodeTimings(
        ttl=_ms(config.lease_ttl),
        legacy_ttl=_ms(config.legacy_lease_ttl),
        heartbeat=_ms(config.expected_heartbeat),
        hold=_ms(config.preservation_hold),
        lifetime=_ms(config.record_lifetime),
    )


def node_limits(config: ServeConfig) -> NodeLimits:
    """The bounds of what the registry keeps."""
    return NodeLimits(max_instances=config.max_instances, max_operations=config.max_operations)


def _retime(server: NodeServer, config: ServeConfig) -> None:
    server.node.retime(node_timings(config))


def preserve(server: NodeServer, config: ServeConfig) -> None:
    """Switch self-preservation and say when it begins."""
    server.node.registry.enable_self_preservation(config.self_preservation)
    server.node.registry.preserve_below(config.preservation_share, config.preservation_least)


def _allow(server: NodeServer, config: ServeConfig) -> None:
    server.node.allow_other_zones(
        registry=config.allow_registry_from_other_zone, discovery=config.allow_discovery_from_other_zone
    )


def _bound_registry(server: NodeServer, config: ServeConfig) -> None:
    server.node.registry.limits = node_limits(config)
    server.node.operations.max_records = config.max_operations


def _bound_connections(server: NodeServer, config: ServeConfig) -> None:
    server.bound_connections(config.max_connections)


def _limit_rates(server: NodeServer, config: ServeConfig) -> None:
    server.gate.configure(rate_limits(config))


def _snapshot(server: NodeServer, config: ServeConfig) -> None:
    if server.persistence is not None:
        server.persistence.retime(config.snapshot_interval)


def _judge_sessions(server: NodeServer, config: ServeConfig) -> None:
    server.websocket.sessions.policy = session_policy(config)


def _log(server: NodeServer, config: ServeConfig) -> None:  # noqa: ARG001 - logging belongs to the process
    configure_logging(config.log_level, config.log_format)


_LIVE: Mapping[str, _Apply] = {
    "lease_ttl": _retime,
    "legacy_lease_ttl": _retime,
    "heartbeat_interval": _retime,
    "preservation_hold": _retime,
    "tombstone_lifetime": _retime,
    "self_preservation": preserve,
    "preservation_share": preserve,
    "preservation_least": preserve,
    "allow_registry_from_other_zone": _allow,
    "allow_discovery_from_other_zone": _allow,
    "max_instances": _bound_registry,
    "max_operations": _bound_registry,
    "max_connections": _bound_connections,
    "rate_limits": _limit_rates,
    "rate_limit_registry": _limit_rates,
    "rate_limit_replication": _limit_rates,
    "rate_limit_cluster": _limit_rates,
    "rate_limit_status": _limit_rates,
    "rate_limit_map": _limit_rates,
    "rate_limit_per_caller": _limit_rates,
    "snapshot_interval": _snapshot,
    "max_ws_sessions": _judge_sessions,
    "ws_session_ttl": _judge_sessions,
    "ws_blacklist_heartbeat": _judge_sessions,
    "ws_blacklist_discovery": _judge_sessions,
    "ws_blacklist_discoveries": _judge_sessions,
    "log_level": _log,
    "log_format": _log,
}

LIVE_OPTIONS = frozenset(_LIVE)
"""The options that a running node takes from its file when that changes."""


def reconfigured(server: NodeServer, old: ServeConfig, new: ServeConfig) -> Reconfiguration:
    """Apply to `server` what differs between the options and can change; each thing once, whatever named it."""
    differing = [name for name in ServeConfig.model_fields if getattr(old, name) != getattr(new, name)]
    changed = tuple(name for name in differing if name in _LIVE)
    config = old.model_copy(update={name: getattr(new, name) for name in changed})
    origins = {name: given for name, given in old.given.items() if name not in _LIVE}
    config.trace({**origins, **{name: given for name, given in new.given.items() if name in _LIVE}})
    for apply in dict.fromkeys(_LIVE[name] for name in changed):
        apply(server, config)
    return Reconfiguration(config, changed, tuple(name for name in differing if name not in _LIVE))


async def follow(
    server: NodeServer,
    file: Path | None,
    flags: Mapping[str, object],
    hangup: asyncio.Event,
    log: FilteringBoundLogger,
) -> None:
    """Read `file` again when it has changed or `hangup` is set, and hand the node what it says; until cancelled.

    Flags and environment stay what they were and go on winning. A file that cannot be used changes nothing; why is
    logged once for each state of it.
    """
    seen = None  # the first look reads it again: it may have changed since the node was started from it
    while True:
        try:
            async with asyncio.timeout(LOOK_EVERY if file else None):
                await hangup.wait()
        except TimeoutError:
            pass
        asked = hangup.is_set()
        hangup.clear()
        state = await asyncio.to_thread(_state, file)
        if not asked and state == seen:
            continue
        seen = state
        try:
            config = await asyncio.to_thread(load_config, file, dict(flags))
        except ConfigError as error:
            log.error("configuration kept", reason=str(error))  # noqa: TRY400 - what is wrong is said, not where
            continue
        outcome = server.reconfigure(config)
        if asked or outcome.changed or outcome.kept:
            _report(outcome, log)


def _report(outcome: Reconfiguration, log: FilteringBoundLogger) -> None:
    values = {name: getattr(outcome.config, name) for name in outcome.changed}
    log.info("configuration read again", changed=", ".join(map(_name, outcome.changed)) or "nothing", **values)
    if outcome.kept:
        log.warning("options wait for a restart", options=", ".join(map(_name, outcome.kept)))


def _state(file: Path | None) -> tuple[int, int, int] | None:
    """What tells one state of a file from another; None without a file, also while it is being replaced."""
    try:
        found = file.stat() if file else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino) if found else None


def _name(option: str) -> str:
    return option.replace("_", "-")


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
