"""What the fleet consists of: services, how many instances of each, and who calls whom. Nothing here runs."""

from __future__ import annotations

from dataclasses import dataclass

REGION = "local"
ZONE = "zone1"
"""Where it all is; the defaults of `artemis serve`, so that the examples work beside the fleet."""


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """One service: ``instances`` processes, each calling the services in ``calls`` whenever it is called."""

    service_id: str
    instances: int
    calls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MemberPlan:
    """One process of the fleet."""

    service_id: str
    instance_id: str
    calls: tuple[str, ...]


SERVICES = (
    ServicePlan("storefront", 2, ("orders",)),
    ServicePlan("orders", 3, ("inventory", "prices")),
    ServicePlan("inventory", 2, ()),
    ServicePlan("prices", 2, ()),
)
"""The storefront is where customers come in. Nine instances, so that one that is away is less than the 15 % of silence
at which the registry would begin to protect leases instead of ending them."""

ENTRANCE = "storefront"
"""The service whose instances make the load."""

MEMBERS = tuple(
    MemberPlan(plan.service_id, f"{plan.service_id}-{number}", plan.calls)
    for plan in SERVICES
    for number in range(1, plan.instances + 1)
)

VICTIMS = ("orders-2", "prices-1", "orders-3", "inventory-2")
"""Who is killed, one outage after another."""
