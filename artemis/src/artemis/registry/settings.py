"""Timings and limits of a registry: every value with its unit, default and range.

Not here: where the values come from; configuration files and flags are the assembly's business.
"""

import msgspec


class NodeTimings(msgspec.Struct, frozen=True, kw_only=True):
    """Durations in milliseconds (spec 10.2, design 4.1). Raises ValueError for values that cannot work together.

    `ttl`: silence after which a lease expires. `legacy_ttl`: the same for instances marked `java_registry` (spec 4.4).
    `heartbeat`: the interval at which clients are expected; a lease counts as heard within TTL minus one heartbeat.
    `hold`: how much longer self-preservation keeps a silent lease; above the longest partition to survive.
    `grace`: how much longer than the owner of a lease each further member of a cluster waits before giving it up.
    `lifetime`: how long a removed or expired record is remembered.
    """

    ttl: int = 20_000
    legacy_ttl: int = 90_000
    heartbeat: int = 5_000
    hold: int = 60_000
    grace: int = 10_000
    lifetime: int = 600_000

    def __post_init__(self) -> None:
        """Check the values against each other."""
        if self.heartbeat < 1:
            raise ValueError(f"heartbeat must be at least 1 ms, not {self.heartbeat}")
        for name, ttl in (("ttl", self.ttl), ("legacy_ttl", self.legacy_ttl)):
            if ttl < 2 * self.heartbeat:
                raise ValueError(f"{name} must be at least two heartbeats ({2 * self.heartbeat} ms), not {ttl} ms")
        if self.hold < 0:
            raise ValueError(f"hold must not be negative, is {self.hold}")
        if self.grace < 1:
            raise ValueError(f"grace must be at least 1 ms, not {self.grace}")
        longest = max(self.ttl, self.legacy_ttl)
        if self.lifetime <= longest:
            raise ValueError(f"lifetime must be longer than the longest lease ({longest} ms), not {self.lifetime} ms")


MAX_ID = 1_024
"""Characters of a service, instance, group or zone id. Even where each takes six bytes of JSON, a `reload`, which
names the service, stays below the 8 KiB that a Java client takes (spec 0.8)."""


class NodeLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of what a node keeps and answers. Raises ValueError unless all are positive.

    `max_instances`: live instances; as many dead records may be remembered beside them, older ones are swept early.
    `max_content_bytes`: JSON size of one instance.
    `max_lookup_services`: services that one lookup may name.
    `max_lookup_bytes`: JSON size of one lookup answer about several services.
    `max_operations`: operations that are recorded for instances and servers together.
    """

    max_instances: int = 1_000_000
    max_content_bytes: int = 65_536
    max_lookup_services: int = 1_000
    max_lookup_bytes: int = 8_388_608
    max_operations: int = 10_000

    def __post_init__(self) -> None:
        """Check that every bound leaves room for something."""
        for name in self.__struct_fields__:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
