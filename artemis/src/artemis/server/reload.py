"""What of a node's options changes while it runs: which ones, how, and when their file is looked at again.

An option is live exactly when there is a line for it in `_LIVE`. Not here: reading and checking options (`config`).
"""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from artemis.registry import NodeLimits, NodeTimings
from artemis.server.beside import beside
from artemis.server.config import ConfigError, ServeConfig, load_config
from artemis.server.data_directory import read_regular
from artemis.server.logs import configure_logging
from artemis.server.rate_limit import rate_limits
from artemis.server.websocket.sessions import session_policy

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from artemis.server.app import NodeServer

LOOK_EVERY = 1.0
"""Seconds between two looks at the file."""

_Apply = Callable[["NodeServer", ServeConfig], None]


class FileState(NamedTuple):
    """What tells one state of a file from another. `kind` "other" is everything that is no regular file."""

    kind: Literal["regular", "other", "missing"]
    mark: tuple[int, int, int] = (0, 0, 0)


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
        grace=_ms(config.grace),
        lifetime=_ms(config.record_lifetime),
    )


def node_limits(config: ServeConfig) -> NodeLimits:
    """The bounds of what the registry keeps."""
    return NodeLimits(max_instances=config.max_instances, max_operations=config.max_operations)


def _retime(server: NodeServer, config: ServeConfig) -> None:
    server.node.retime(node_timings(config))
    _regroup(server, config)


def _regroup(server: NodeServer, config: ServeConfig) -> None:
    if server.cluster is not None:
        server.cluster.reconfigure(config)


def preserve(server: NodeServer, config: ServeConfig) -> None:
    """Switch self-preservation and say when it begins."""
    server.node.registry.enable_self_preservation(config.self_preservation)
    server.node.registry.preserve_below(config.preservation_share, config.preservation_least)


def _allow(server: NodeServer, config: ServeConfig) -> None:
    server.node.allow_other_zones(
        registry=config.allow_registry_from_other_zone, discovery=config.allow_discovery_from_other_zone
    )


def recognise(server: NodeServer, config: ServeConfig) -> None:
    """Say whether heartbeats are known by their bytes."""
    server.node.recognise_heartbeats(config.heartbeat_recognition)


def _bound_registry(server: NodeServer, config: ServeConfig) -> None:
    server.node.registry.limits = node_limits(config)
    server.node.operations.max_records = config.max_operations


def _bound_connections(server: NodeServer, config: ServeConfig) -> None:
    server.bound_connections(server.share(config).max_connections)


def _limit_rates(server: NodeServer, config: ServeConfig) -> None:
    server.gate.configure(rate_limits(server.share(config)))


def _snapshot(server: NodeServer, config: ServeConfig) -> None:
    if server.persistence is not None:
        server.persistence.retime(config.snapshot_interval)


def _judge_sessions(server: NodeServer, config: ServeConfig) -> None:
    server.websocket.sessions.policy = session_policy(server.share(config))


def _log(server: NodeServer, config: ServeConfig) -> None:  # noqa: ARG001 - logging belongs to the process
    configure_logging(config.log_level, config.log_format)


def _remix(server: NodeServer, config: ServeConfig) -> None:
    server.mix(config)


def _federate(server: NodeServer, config: ServeConfig) -> None:
    server.federate(config)


_LIVE: Mapping[str, _Apply] = {
    "lease_ttl": _retime,
    "legacy_lease_ttl": _retime,
    "heartbeat_interval": _retime,
    "preservation_hold": _retime,
    "heartbeat_recognition": recognise,
    "tombstone_lifetime": _retime,
    "peers": _regroup,
    "java_peers": _remix,
    "offer_java_peers": _remix,
    "federate": _federate,
    "federate_max_instances": _federate,
    "peer_grace": _retime,
    "peer_suspect": _regroup,
    "peer_down": _regroup,
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
"""The options that a running node takes from its file when that changes; `peers` only if it is in a cluster already."""


def reconfigured(server: NodeServer, old: ServeConfig, new: ServeConfig) -> Reconfiguration:
    """Apply to `server` what differs between the options and can change; each thing once, whatever named it."""
    differing = [name for name in ServeConfig.model_fields if getattr(old, name) != getattr(new, name)]
    live = _LIVE if server.node.control is not None else _LIVE.keys() - {"peers"}
    changed = tuple(name for name in differing if name in live)
    config = old.model_copy(update={name: getattr(new, name) for name in changed})
    origins = {name: given for name, given in old.given.items() if name not in live}
    config.trace({**origins, **{name: given for name, given in new.given.items() if name in live}})
    for apply in dict.fromkeys(_LIVE[name] for name in changed):
        apply(server, config)
    return Reconfiguration(config, changed, tuple(name for name in differing if name not in live))


async def follow(
    server: NodeServer,
    file: Path | None,
    flags: Mapping[str, object],
    hangup: asyncio.Event,
    log: FilteringBoundLogger,
    seen: FileState,
) -> None:
    """Read `file` again when it has changed or `hangup` is set, and hand the node what it says; until cancelled.

    `seen` is the state in which the start has read it. Flags and environment stay what they were and go on winning. A
    file that cannot be used changes nothing, one that is not regular neither: a pipe gives its content only once. Why
    is logged once for each state of it.
    """
    if seen.kind == "other":
        log.info("configuration is not read again", file=str(file), reason="it is not a regular file")
    while True:
        try:
            async with asyncio.timeout(LOOK_EVERY if file else None):
                await hangup.wait()
        except TimeoutError:
            pass
        asked = hangup.is_set()
        hangup.clear()
        try:
            state = await beside(file_state, file)
            if not asked and state == seen:
                continue
            seen = state
            config = await beside(load_config, file, dict(flags), read_regular)
            outcome = server.reconfigure(config)
            if asked or outcome.changed or outcome.kept:
                _report(outcome, log)
        except ConfigError as error:
            log.error("configuration kept", reason=str(error))  # noqa: TRY400 - what is wrong is said, not where
        except Exception as error:  # else one surprise would be the end of following, silently
            log.exception("configuration kept", reason=f"it could not be taken over: {error!r}")


def _report(outcome: Reconfiguration, log: FilteringBoundLogger) -> None:
    values = {name: getattr(outcome.config, name) for name in outcome.changed}
    log.info("configuration read again", changed=", ".join(map(_name, outcome.changed)) or "nothing", **values)
    if outcome.kept:
        log.warning("options wait for a restart", options=", ".join(map(_name, outcome.kept)))


def file_state(file: Path | None) -> FileState:
    """The state of a file now; missing is also one that is being replaced, and no file at all."""
    try:
        found = file.stat() if file else None
    except OSError:
        found = None
    if found is None:
        return FileState("missing")
    if not stat.S_ISREG(found.st_mode):
        return FileState("other")
    return FileState("regular", (found.st_mtime_ns, found.st_size, found.st_ino))


def _name(option: str) -> str:
    return option.replace("_", "-")


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
