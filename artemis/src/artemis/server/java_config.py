"""What each key of a Java node's configuration is here: the option that does the same, or why there is none (spec 10).

A table, to be read. In a key `<L>` is one of the two kinds of leases, `<D>` one of the two dispatchers of replication,
`<ip>` an address, `<id>` what a client calls its registry and `<rest>` anything. How values are converted is
`java_import`'s business. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from artemis.server.rate_limit import LIMITERS

MILLISECONDS = 1000
"""Java counts milliseconds where options here count seconds."""


class Number(NamedTuple):
    """A whole number of Java's unit: its default and range there, and by what it is divided to be our unit."""

    default: int
    low: int
    high: int
    divisor: int = 1


class Switch(NamedTuple):
    """A boolean with its default in Java."""

    default: bool


class Text(NamedTuple):
    """A text that becomes the option's value; `change` makes it fit."""

    change: Callable[[str], str] = str.strip


class Addresses(NamedTuple):
    """A list of IP addresses, separated by commas; left out when the key `enabled` is false."""

    enabled: str


class Limits(NamedTuple):
    """Limits of single operations, `identity:limit,...`, each in the range of its limiter."""

    limiter: str


class LimiterSwitch(NamedTuple):
    """Whether a limiter works at all; one that does not is one whose limits are 0 here."""

    limiter: str


Kind = Number | Switch | Text | Addresses | Limits | LimiterSwitch


class Counterpart(NamedTuple):
    """A key that has an option, in the options' spelling with underscores, and how its value is read."""

    key: str
    option: str
    kind: Kind


class NoCounterpart(NamedTuple):
    """Keys that have none, and why, in a sentence."""

    key: str
    why: str


def _prefix(path: str) -> str:
    stripped = path.strip().strip("/")
    return f"/{stripped}" if stripped else ""


_R, _S, _W = "artemis.service.registry", "artemis.service", "artemis.service.websocket"
_CHECKER = "lease-manager.lease-update-safe-checker"

_LIMITERS = tuple(
    row
    for each in LIMITERS
    for row in (
        Counterpart(f"{each.id}.rate-limiter.enabled", f"rate_limit_{each.name}", LimiterSwitch(each.name)),
        Counterpart(
            f"{each.id}.rate-limiter.default-rate-limit",
            f"rate_limit_{each.name}",
            Number(100_000 if each.name == "registry" else each.default, each.lowest, each.highest),
        ),
        Counterpart(f"{each.id}.rate-limiter.rate-limit-map", "rate_limit_map", Limits(each.name)),
    )
)

_BLACKLISTS = tuple(
    Counterpart(f"{_S}.{theirs}.ws-ip.black-list", ours, Addresses(f"{_S}.{theirs}.ws-ip.black-list.enabled"))
    for theirs, ours in (
        ("service-heartbeat", "ws_blacklist_heartbeat"),
        ("service-discovery", "ws_blacklist_discovery"),
        ("service-discoveries", "ws_blacklist_discoveries"),
    )
)

COUNTERPARTS: tuple[Counterpart, ...] = (
    Counterpart("region.id", "region", Text()),
    Counterpart("zone.id", "zone", Text()),
    Counterpart("app.port", "port", Number(8080, 1, 65_535)),
    Counterpart("app.path", "path_prefix", Text(_prefix)),
    Counterpart(f"{_R}.allow-from-other-zone", "allow_registry_from_other_zone", Switch(False)),
    Counterpart(f"{_S}.discovery.allow-from-other-zone", "allow_discovery_from_other_zone", Switch(False)),
    Counterpart(
        f"{_R}.instance.lease-manager.lease.ttl", "lease_ttl", Number(20_000, 10_000, 604_800_000, MILLISECONDS)
    ),
    Counterpart(
        f"{_R}.legacy-instance.lease-manager.lease.ttl",
        "legacy_lease_ttl",
        Number(20_000, 10_000, 604_800_000, MILLISECONDS),
    ),
    Counterpart(f"{_R}.instance.{_CHECKER}.enabled", "self_preservation", Switch(True)),
    Counterpart(f"{_R}.instance.{_CHECKER}.percentage-threshold", "preservation_share", Number(85, 50, 100)),
    Counterpart(f"{_R}.instance.{_CHECKER}.max-count-threshold", "preservation_least", Number(50, 0, 1_000_000)),
    Counterpart(f"{_W}.session.ttl", "ws_session_ttl", Number(360_000, 300_000, 18_000_000, MILLISECONDS)),
    *_BLACKLISTS,
    *_LIMITERS,
)

SHADOWED: dict[str, str] = {row.kind.enabled: row.key for row in COUNTERPARTS if isinstance(row.kind, Addresses)}
"""Keys that are read together with another one: switch -> list."""

_NODES = (
    "name the nodes with --peers, --peers-dns or --peers-file and give all of them the same --cluster-secret-file; "
    "nodes of the original are named with --java-peers"
)
_LINKED = "nodes tell each other at once what changes, over a link each way that is repaired by comparison"
_STARTED = "a node copies from others as soon as it meets them, and waits --join-timeout at most"
_FORCED = "operators switch a running node, and back: POST api/v1/node/force"
_ONE_LOOP = "nothing here has threads or pools of its own: one event loop does all"
_GROWS = "tables grow and shrink by themselves"
_ORDERED = "leases are kept in the order in which they end, so there is no cleaner to pace"
_NO_DATABASE = "there is no database to read: what operators do is in the node's memory and takes effect at once"
_METRICS = "numbers are at /metrics, for whoever collects them"

NO_COUNTERPARTS: tuple[NoCounterpart, ...] = (
    NoCounterpart("app.id", "a node does not need a name for its deployment"),
    NoCounterpart("app.protocol", "a node speaks plain HTTP; what encrypts stands in front of it, see --self-url"),
    NoCounterpart("deployment-env", "there is one file; give the one of this environment"),
    NoCounterpart("deployment.env", "there is one file; give the one of this environment"),
    NoCounterpart(f"{_S}.cluster.nodes", _NODES),
    NoCounterpart(f"{_S}.cluster.nodes.status-update.interval", "nodes say what they serve: see --peer-beat"),
    NoCounterpart(f"{_S}.cluster.nodes.status-update.fail-retry-times", "see --peer-suspect and --peer-down"),
    NoCounterpart(f"{_S}.cluster.node.init.sync-interval", _STARTED),
    NoCounterpart(f"{_S}.cluster.node.status.force-up", f"{_STARTED}, so nobody has to force it"),
    NoCounterpart(f"{_S}.cluster.node.status.registry.force-up", f"{_STARTED}, so nobody has to force it"),
    NoCounterpart(f"{_S}.cluster.node.status.discovery.force-up", f"{_STARTED}, so nobody has to force it"),
    NoCounterpart(f"{_S}.cluster.node.status.force-down.<ip>", _FORCED),
    NoCounterpart(f"{_S}.cluster.node.status.registry.force-down.<ip>", _FORCED),
    NoCounterpart(f"{_S}.cluster.node.status.discovery.force-down.<ip>", _FORCED),
    NoCounterpart(f"{_R}.data.init-capacity", _GROWS),
    NoCounterpart(
        f"{_R}.data.instance-change.max-buffer-size",
        "changes are told as they happen and wait nowhere; each subscriber has bounds of its own",
    ),
    NoCounterpart(f"{_R}.data.instance-change.poll-wait", "changes are told as they happen; nobody polls for them"),
    NoCounterpart(f"{_R}.change-publisher.thread-count", _ONE_LOOP),
    NoCounterpart(f"{_S}.discovery.notify.thread-count", _ONE_LOOP),
    NoCounterpart("<L>.lease-manager.clean-task.run-interval", _ORDERED),
    NoCounterpart("<L>.lease-manager.clean-task.init-delay", _ORDERED),
    NoCounterpart("<L>.lease-manager.clean-task.thread-count", _ONE_LOOP),
    NoCounterpart("<L>.lease-manager.data.init-capacity", _GROWS),
    NoCounterpart(
        f"<L>.{_CHECKER}.time-window",
        "leases count as heard within their TTL less one heartbeat: see --heartbeat-interval",
    ),
    NoCounterpart(
        f"<L>.{_CHECKER}.max-count-reset-interval",
        "self-preservation compares with the leases that live now, not with a maximum of the past",
    ),
    NoCounterpart(f"<L>.{_CHECKER}.<thread>", _ORDERED),
    NoCounterpart(
        f"{_R}.legacy-instance.{_CHECKER}.enabled", "one switch holds for both kinds of leases: that of `instance`"
    ),
    NoCounterpart(
        f"{_R}.legacy-instance.{_CHECKER}.percentage-threshold",
        "one threshold holds for both kinds of leases: that of `instance`",
    ),
    NoCounterpart(
        f"{_R}.legacy-instance.{_CHECKER}.max-count-threshold",
        "one threshold holds for both kinds of leases: that of `instance`",
    ),
    NoCounterpart(
        "<L>.lease-manager.thread-pool-size", "without effect in the original as well, though its file has it"
    ),
    NoCounterpart(f"{_R}.replicaton.<rest>", "misspelt, and so without effect in the original as well"),
    NoCounterpart(
        f"{_S}.discovery.versioned-cache.cache-count", "every change is a version; deltas come from the change log"
    ),
    NoCounterpart(f"{_S}.discovery.versioned-cache.cache-refresh.init-delay", "what callers see is never refreshed"),
    NoCounterpart(f"{_S}.discovery.versioned-cache.cache-refresh.interval", "every change is a version, at once"),
    *(
        NoCounterpart(f"{_R}.{what}.replication.{key}", _LINKED)
        for what in ("register", "unregister", "heartbeat")
        for key in ("batching-enabled", "task-ttl")
    ),
    NoCounterpart("<D>.task-acceptor.<rest>", _LINKED),
    NoCounterpart("<D>.task-executor.thread-count", _LINKED),
    NoCounterpart("<D>.traffic-shaper.fail-delay", _LINKED),
    NoCounterpart(f"{_R}.replication.<http>", _LINKED),
    NoCounterpart(f"{_R}.replication.heartbeat.client.socket-timeout", _LINKED),
    NoCounterpart(f"{_R}.replication.get-applications.client.socket-timeout", _LINKED),
    NoCounterpart(f"{_R}.status.<http>", _LINKED),
    NoCounterpart(f"{_R}.status.get-leases.client.socket-timeout", _LINKED),
    NoCounterpart(f"{_R}.status.get-cluster-node.client.socket-timeout", _LINKED),
    NoCounterpart(f"{_W}.session.health-checker.<thread>", "sessions that have reached their age end by themselves"),
    NoCounterpart(
        f"{_S}.inet-socket-address.get-host.enabled", "the address of a peer is that of its connection, never looked up"
    ),
    NoCounterpart("artemis.management.db-sync.wait-time", _NO_DATABASE),
    NoCounterpart("artemis.management.data.cache-refresher.<thread>", _NO_DATABASE),
    NoCounterpart("artemis.management.group.data.cache-refresher.<thread>", _NO_DATABASE),
    NoCounterpart("artemis.management.zone.data.cache-refresher.<thread>", _NO_DATABASE),
    NoCounterpart("artemis.management.enabled", "operators' calls are always there; who may, says --admin-token-file"),
    NoCounterpart("artemis.service.management.group.rate-limiter.<rest>", "there are no groups to ask for yet"),
    NoCounterpart("artemis.trace.enabled", _METRICS),
    NoCounterpart("artemis.trace.factory-class", _METRICS),
    NoCounterpart("artemis.metric.default.managers-provider", _METRICS),
    NoCounterpart("artemis.client.<id>.<rest>", "a setting of clients; a node does not read it"),
    NoCounterpart("artemis.client.registry-service.<rest>", "a setting of clients; a node does not read it"),
)

_ADDRESS = r"(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F:]*:[0-9a-fA-F:]+)"
_PARTS = {
    "<L>": r"artemis\.service\.registry\.(?:instance|legacy-instance)",
    "<D>": r"artemis\.service\.registry\.replication\.(?:batching|non-batching)",
    "<ip>": _ADDRESS,
    "<id>": r"[^.]+",
    "<rest>": r".+",
    "<thread>": r"dynamic-scheduled-thread\.(?:init-delay|run-interval)",
    "<http>": (
        r"(?:client\.(?:connect-timeout|connection-request-timeout|socket-timeout|max-connections-per-route"
        r"|max-total-connections|connection-ttl|connection-idle-time|clean-check-interval"
        r"|inactivity-time-before-validate|destroy-delay)|default-request-config(?:\..+)?)"
    ),
}


def _pattern(key: str) -> re.Pattern[str]:
    parts = re.split(r"(<\w+>)", key)
    return re.compile("".join(_PARTS.get(part) or re.escape(part) for part in parts))


_BY_KEY = {row.key: row for row in COUNTERPARTS}
_WITHOUT = [(_pattern(row.key), row) for row in NO_COUNTERPARTS]
_BEGINNINGS = tuple({re.split(r"[.<]", row.key)[0] or "artemis" for row in NO_COUNTERPARTS})
_OF_HOST = re.compile(rf"(.+)\.({_ADDRESS})")


@lru_cache(maxsize=4096)
def row_of(key: str) -> Counterpart | NoCounterpart | None:
    """The line of the table that a key belongs to, None for a key that nobody knows."""
    found = _BY_KEY.get(key)
    if found is not None:
        return found
    if not key.startswith(_BEGINNINGS):
        return None
    return next((row for pattern, row in _WITHOUT if pattern.fullmatch(key)), None)


def split_host(key: str) -> tuple[str, str] | None:
    """Take `key.<address>` apart, the form that beats `key` on the host with that address (spec 10.1)."""
    found = _OF_HOST.fullmatch(key)
    return (found.group(1), found.group(2)) if found else None
