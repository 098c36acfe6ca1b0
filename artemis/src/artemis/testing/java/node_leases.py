"""What a Java node keeps: leases, the service table with its case, and changes to be published (spec 4.1 to 4.4).

Not here: who asks (`node_doors`), and self-preservation, which needs fifty leases.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from artemis.testing.java.beans import Bean, instance_key

Key = tuple[str, str, str]

Publish = Callable[[str, Bean], None]
"""Told of each change: its type and the instance."""


@dataclass
class JavaLease:
    """A lease: the instance, when it was renewed last (`time.monotonic`), whether it was evicted."""

    bean: Bean
    renewed: float
    evicted: bool = False


class JavaLeases:
    """The leases of one node. `ttl` is in seconds."""

    def __init__(self, region_id: str, ttl: float, publish: Publish) -> None:
        self.leases: dict[Key, JavaLease] = {}
        self._region = region_id.lower()
        self._ttl = ttl
        self._publish = publish

    def refuse(self, bean: Bean) -> tuple[str, str] | None:
        """Why an instance is not taken: code and message; None when it is."""
        region = bean.get("regionId")
        if not isinstance(region, str) or region.lower() != self._region:
            return "no-permission", f"the region {region} is not the region of this node"
        for name in ("instanceId", "serviceId", "url"):
            value = bean.get(name)
            if not isinstance(value, str) or not value.strip():
                return "internal-service-error", f"Exception: argument instance.{name} is null or whitespace"
        return None

    def register(self, bean: Bean) -> None:
        """A fresh lease in the place of any other; `new` also for what was the same."""
        self.leases[instance_key(bean)] = JavaLease(bean, time.monotonic())
        self._publish("new", bean)

    def heartbeat(self, bean: Bean) -> bool:
        """Renew; False for what is unknown, expired or evicted. The content is not looked at."""
        lease = self.leases.get(instance_key(bean))
        if lease is None or self._over(lease):
            return False
        lease.renewed = time.monotonic()
        return True

    def unregister(self, bean: Bean) -> None:
        """Evict; it stays visible until the cleaner comes."""
        lease = self.leases.get(instance_key(bean))
        if lease is not None:
            lease.evicted = True

    def clean(self) -> None:
        """The cleaner's run."""
        for key in [key for key, lease in self.leases.items() if self._over(lease)]:
            self._publish("delete", self.leases.pop(key).bean)

    def of(self, service_id: str) -> list[Bean]:
        """What discovery shows of a service, by its exact id (defect 1)."""
        return [lease.bean for lease in self.leases.values() if lease.bean["serviceId"] == service_id]

    def services(self) -> dict[str, list[Bean]]:
        """All instances by service."""
        found: dict[str, list[Bean]] = {}
        for lease in self.leases.values():
            found.setdefault(str(lease.bean["serviceId"]), []).append(lease.bean)
        return found

    def _over(self, lease: JavaLease) -> bool:
        return lease.evicted or time.monotonic() > lease.renewed + self._ttl
