"""Who is connected to the WebSocket endpoints (spec 3.5): tables, life time, limits, blacklists, numbers.

The seed's SessionManager as a pure core: addresses, milliseconds and chances come in, judgements go out.
Not here: sockets and frames (`connection`), and what is subscribed, which `artemis.push` knows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

if TYPE_CHECKING:
    from artemis.server.config import ServeConfig


class Endpoint(Enum):
    """The endpoints; the value is the name in statistics, for the first three that of the original (spec 3)."""

    HEARTBEAT = "registry"
    CHANGES = "discovery"
    ALL_CHANGES = "discoveries"
    NATIVE = "native"


_PATHS = {
    "/ws/registry/heartbeat": Endpoint.HEARTBEAT,
    "/ws/discovery/instance-change": Endpoint.CHANGES,
    "/ws/discovery/all-instance-change": Endpoint.ALL_CHANGES,
    "/artemis/websocket/registry/heartbeat": Endpoint.HEARTBEAT,
    "/artemis/websocket/discovery/instance-change": Endpoint.CHANGES,
    "/artemis/websocket/discovery/all-instance-change": Endpoint.ALL_CHANGES,
    "/ws": Endpoint.NATIVE,
}


def endpoint_paths(prefix: str = "") -> dict[str, Endpoint]:
    """Every path and its endpoint, v1, v2 and the seed's (spec 3, artemis-rust 2); with and without `prefix`."""
    paths = dict(_PATHS)
    if prefix:
        paths.update({prefix + path: endpoint for path, endpoint in _PATHS.items()})
    return paths


class SessionPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for sessions. `ttl`: milliseconds a session lives from its beginning, whatever it does (spec 3.5).

    `max_sessions`: open at the same time, all endpoints together. `blacklists`: addresses that may not connect, by
    endpoint (spec 3.1), compared with that of the TCP peer.
    """

    ttl: int = 360_000
    max_sessions: int = 12_000
    blacklists: Mapping[Endpoint, frozenset[str]] = {}


def session_policy(config: ServeConfig) -> SessionPolicy:
    """What the options of a node say of sessions; in effect once it is the `policy` of the door's sessions."""
    return SessionPolicy(
        ttl=round(config.ws_session_ttl * 1000),
        max_sessions=config.max_ws_sessions,
        blacklists={
            Endpoint.HEARTBEAT: frozenset(config.ws_blacklist_heartbeat),
            Endpoint.CHANGES: frozenset(config.ws_blacklist_discovery),
            Endpoint.ALL_CHANGES: frozenset(config.ws_blacklist_discoveries),
        },
    )


class Refusal(msgspec.Struct, frozen=True):
    """Why a handshake is not granted: an HTTP status, and a sentence that says what to do."""

    status: int
    why: str


S = TypeVar("S")

_SPREAD = 10
_LONGEST_SPREAD = 60_000
_SWEEP_SHARE = 20
_SWEEP_LEAST = 50


class _Entry(msgspec.Struct, gc=False):
    since: int
    chance: float


class Sessions(Generic[S]):
    """The open sessions by endpoint, in the order they began. Owned by the door; `now` is monotonic milliseconds.

    A session ends between its life time and a tenth, at most a minute, more: `chance`, a number from 0 to 1 drawn for
    it, says where in between, so that clients that came together are not sent away together.
    """

    def __init__(self, policy: SessionPolicy) -> None:
        self.policy = policy
        #: Sessions begun, and handshakes refused, by reason, since the start.
        self.opened: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._tables: dict[Endpoint, dict[S, _Entry]] = {endpoint: {} for endpoint in Endpoint}

    def __len__(self) -> int:
        return sum(map(len, self._tables.values()))

    def judge(self, endpoint: Endpoint, address: str) -> Refusal | None:
        """Say why a client at `address`, the TCP peer's, may not begin a session; None when it may."""
        if _canonical(address) in self.policy.blacklists.get(endpoint, ()):
            self.refused["blacklisted"] += 1
            return Refusal(403, f"The address {address} is on the blacklist of this endpoint; ask its operator.")
        if len(self) >= self.policy.max_sessions:
            self.refused["full"] += 1
            return Refusal(503, "As many WebSocket sessions as may be are open; try another node, or later.")
        return None

    def begin(self, endpoint: Endpoint, session: S, now: int, chance: float) -> None:
        """A session begins."""
        self.opened[endpoint.value] += 1
        self._tables[endpoint][session] = _Entry(now, chance)

    def end(self, endpoint: Endpoint, session: S) -> bool:
        """A session has ended; whether it was there."""
        return self._tables[endpoint].pop(session, None) is not None

    def expired(self, now: int) -> list[S]:
        """Return sessions whose life is over, the oldest first, at most a twentieth of all (50 at least) in one call.

        They stay in their tables until they `end`; call it about once a second.
        """
        ttl = self.policy.ttl
        spread = min(ttl // _SPREAD, _LONGEST_SPREAD)
        most = max(_SWEEP_LEAST, len(self) // _SWEEP_SHARE)
        found: list[S] = []
        for table in self._tables.values():
            for session, entry in table.items():
                if entry.since + ttl > now or len(found) >= most:
                    break
                if entry.since + ttl + spread * entry.chance <= now:
                    found.append(session)
        return found

    def counts(self) -> dict[str, int]:
        """How many sessions are open, by the endpoint's name in statistics."""
        return {endpoint.value: len(table) for endpoint, table in self._tables.items()}

    def __iter__(self) -> Iterator[S]:
        """All sessions; the tables must not change meanwhile."""
        for table in self._tables.values():
            yield from table


def _canonical(address: str) -> str:
    """An IPv4 address that came over IPv6 is the same address."""
    return address.removeprefix("::ffff:") if "." in address else address
