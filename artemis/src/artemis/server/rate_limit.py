"""Counting requests: the sliding windows of the rate limiter and the limits they are held to (spec 11). No I/O.

Not here: which request belongs to which window, and what a refused one is answered; see `gate`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from artemis.server.config import ServeConfig

BUCKET = 1_000
"""Milliseconds of a bucket."""

BUCKETS = 10
"""Buckets of a window; the one that is being filled counts too."""

MAX_CALLERS = 65_536
"""Callers that are told apart at one time: about 25 MiB when there are as many."""

_LOOKED_AT = 8


class Limiter(msgspec.Struct, frozen=True, kw_only=True):
    """One limiter of spec 11: `id` as there, `name` as in our options; requests per 10 s by default and at the ends of
    the range."""

    id: str
    name: str
    identities: tuple[str, ...]
    default: int
    lowest: int
    highest: int


LIMITERS = (
    Limiter(
        id="artemis.service.registry",
        name="registry",
        identities=("register", "heartbeat", "unregister"),
        # The original's 100 000 (1 000 to 1 000 000) would refuse what this node serves every day.
        default=2_000_000,
        lowest=1_000,
        highest=100_000_000,
    ),
    Limiter(
        id="artemis.service.registry.replication",
        name="replication",
        identities=("register", "heartbeat", "unregister", "get-services"),
        default=1_000_000,
        lowest=1_000,
        highest=10_000_000,
    ),
    Limiter(
        id="artemis.service.cluster",
        name="cluster",
        identities=("up-registry-nodes", "up-discovery-nodes"),
        default=10_000,
        lowest=100,
        highest=100_000,
    ),
    Limiter(
        id="artemis.service.status",
        name="status",
        identities=("get-cluster", "get-leases", "get-legacy-leases", "get-config", "get-deployment"),
        default=30,
        lowest=1,
        highest=10_000,
    ),
)


class RateLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What the limiters allow, in requests per 10 s (spec 11). 0 anywhere: not limited.

    `defaults` is by the id of a limiter, for all its identities; one that is not named has its own default. `limits` is
    by limiter and identity and goes before it. `per_caller` is for all requests of one address together.
    """

    enabled: bool = True
    defaults: Mapping[str, int] = {}
    limits: Mapping[tuple[str, str], int] = {}
    per_caller: int = 0

    def of(self, limiter_id: str, identity: str) -> int:
        """Return what is allowed for one identity of a limiter."""
        if not self.enabled:
            return 0
        found = self.limits.get((limiter_id, identity))
        if found is None:
            found = self.defaults.get(limiter_id)
        return _DEFAULTS.get(limiter_id, 0) if found is None else found


_BY_NAME = {each.name: each for each in LIMITERS}
_DEFAULTS = {each.id: each.default for each in LIMITERS}


def limiter(name: str) -> Limiter:
    """Return the limiter that our options call `name`."""
    return _BY_NAME[name]


def rate_limits(config: ServeConfig) -> RateLimits:
    """Return what the options of a node allow."""
    limits = {}
    for name, count in config.rate_limit_map.items():
        limiter_name, _, identity = name.partition(".")
        limits[_BY_NAME[limiter_name].id, identity] = count
    return RateLimits(
        enabled=config.rate_limits,
        defaults={each.id: int(getattr(config, f"rate_limit_{each.name}")) for each in LIMITERS},
        limits=limits,
        per_caller=config.rate_limit_per_caller,
    )


def read_limits(value: object) -> dict[str, int]:
    """Read limits of single operations: a table, a text `limiter.identity:limit,...`, or a list of such texts.

    Raises ValueError for what names no operation, or is out of the range of its limiter.
    """
    read: dict[str, int] = {}
    for name, text in _pairs(value):
        limiter_name, _, identity = name.partition(".")
        found = _BY_NAME.get(limiter_name)
        if found is None or identity not in found.identities:
            known = ", ".join(f"{each.name}.{one}" for each in LIMITERS for one in each.identities)
            raise ValueError(f"{name!r} is not one of {known}")
        count = _whole(text)
        if count is None or (count and not found.lowest <= count <= found.highest):
            raise ValueError(f"{name}: must be 0 (no limit) or from {found.lowest} to {found.highest}, not {text!r}")
        read[name] = count
    return read


def _pairs(value: object) -> Iterable[tuple[str, object]]:
    if isinstance(value, Mapping):
        return [(str(name), count) for name, count in value.items()]
    texts = value if isinstance(value, list) else [value]
    parts = [part.strip() for text in texts for part in str(text).split(",") if part.strip()]
    if any(":" not in part for part in parts):
        raise ValueError("must look like registry.register:5000,status.get-leases:10")
    return [(name.strip(), count) for name, _, count in (part.rpartition(":") for part in parts)]


def _whole(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and value.strip().isdecimal() else None


class Window:
    """Requests of the last ten seconds, the current one included (spec 11). `now` never goes back."""

    __slots__ = ("_at", "_before", "_counts", "_until", "total")

    def __init__(self, now: int) -> None:
        bucket = now // BUCKET
        self.total = 0
        self._at = bucket
        self._until = (bucket + 1) * BUCKET
        self._before = 0  # the part of `total` that is older than the current bucket
        self._counts = [0] * BUCKETS  # of the buckets that are over; that of the current one is what it held long ago

    def take(self, limit: int, now: int) -> bool:
        """Count a request; False, and it is not counted, when it is one above `limit`."""
        if now >= self._until:
            self._advance(now)
        if self.total >= limit:
            return False
        self.total += 1
        return True

    def give_back(self) -> None:
        """Count the request that was just taken as never made."""
        self.total -= 1

    def count(self, now: int) -> int:
        """Count the requests within the window."""
        if now >= self._until:
            self._advance(now)
        return self.total

    def _advance(self, now: int) -> None:
        bucket = now // BUCKET
        counts = self._counts
        counts[self._at % BUCKETS] = self.total - self._before
        for passed in range(self._at + 1, min(bucket, self._at + BUCKETS) + 1):
            # The place of a bucket that begins is that of the one that leaves the window.
            self.total -= counts[passed % BUCKETS]
            counts[passed % BUCKETS] = 0
        self._at = bucket
        self._until = (bucket + 1) * BUCKET
        self._before = self.total


class CallerCounters(msgspec.Struct, gc=False):
    """What happened to the table of callers; every counter only grows.

    `evicted`: callers forgotten to make room for others; `untracked`: requests of callers there was no room for.
    """

    evicted: int = 0
    untracked: int = 0


class Callers:
    """A window per caller, for the `size` that were heard last. Owned by a gate.

    One that has used up its limit is not forgotten to make room, so that nobody buys himself a fresh start with other
    addresses. Where only such ones are found, newcomers go uncounted: they are held to the other limits.
    """

    __slots__ = ("_size", "_windows", "counters")

    def __init__(self, size: int = MAX_CALLERS) -> None:
        self._size = size
        self._windows: OrderedDict[str, Window] = OrderedDict()
        self.counters = CallerCounters()

    def __len__(self) -> int:
        """Count the callers that are told apart."""
        return len(self._windows)

    def take(self, caller: str, limit: int, now: int) -> bool:
        """Count a request of a caller; False when it is above the limit."""
        windows = self._windows
        window = windows.get(caller)
        if window is None:
            if len(windows) >= self._size and not self._make_room(limit, now):
                self.counters.untracked += 1
                return True
            window = windows[caller] = Window(now)
        else:
            windows.move_to_end(caller)
        return window.take(limit, now)

    def give_back(self, caller: str) -> None:
        """Count the request that a caller was just allowed as never made."""
        window = self._windows.get(caller)
        if window is not None and window.total:
            window.give_back()

    def clear(self) -> None:
        """Forget all callers."""
        self._windows.clear()

    def _make_room(self, limit: int, now: int) -> bool:
        """Forget the caller that was not heard for longest, among the first few that may be; False when none may."""
        for _ in range(min(_LOOKED_AT, len(self._windows))):
            caller, window = next(iter(self._windows.items()))
            if window.count(now) < limit:
                del self._windows[caller]
                self.counters.evicted += 1
                return True
            self._windows.move_to_end(caller)
        return False
