"""Explain: why an instance is or is not in a given caller's answer (design 6, 9).

Not here: the steps that do not depend on the caller; see `artemis.management.explain`.
"""

from artemis.management.explain import Step, explain
from artemis.model.explain import ExplainRequest, ExplainResponse, ExplainStep
from artemis.model.responses import BAD_REQUEST, NO_PERMISSION, SUCCESS, failure
from artemis.server.node import Node


def explain_instance(node: Node, request: ExplainRequest | None, now: int) -> ExplainResponse:
    """Go through everything that decides whether a lookup of this caller shows this instance, in order.

    Service and instance must be there; a caller who names no region or no zone is in those of the node. An instance or
    service that nobody knows is an answer, not an error.
    """
    if request is None:
        return ExplainResponse(response_status=failure(BAD_REQUEST, "request is null"))
    fields = {"serviceId": request.service_id, "instanceId": request.instance_id}
    for name, value in fields.items():
        if value is None or not value.strip():
            return ExplainResponse(response_status=failure(BAD_REQUEST, f"{name} is null or empty"))
    copied = node.regions.only_copied(request.region_id)
    if copied:
        return ExplainResponse(response_status=failure(NO_PERMISSION, copied))
    region = (request.region_id or "").strip() or node.identity.region
    zone = (request.zone_id or "").strip() or node.identity.zone
    steps = [*_of_caller(node, region, zone)]
    steps += explain(node.registry, node.catalog, request.service_id or "", request.instance_id or "", now)
    return ExplainResponse(
        response_status=SUCCESS,
        steps=[ExplainStep(ok=step.ok, step=step.step, why=step.why) for step in steps],
        visible=all(step.ok for step in steps),
    )


def _of_caller(node: Node, region: str, zone: str) -> list[Step]:
    identity = node.identity
    serves = "serves discovery" if node.serves_discovery else "does not serve discovery"
    same_region = region.lower() == identity.region.lower()
    same_zone = zone.lower() == identity.zone.lower()
    if same_zone:
        why = f"the caller is in the zone {identity.zone!r} of this node"
    else:
        verb = "answers" if node.answers(zone) else "refuses"
        why = f"this node, of the zone {identity.zone!r}, {verb} callers of other zones such as {zone!r}"
    return [
        Step("node", ok=node.serves_discovery, why=f"status {node.status}: the node {serves}"),
        Step(
            "region",
            ok=same_region,
            why=f"the caller is in the region {identity.region!r} of this node"
            if same_region
            else f"the caller's region {region!r} is not the region {identity.region!r} of this node",
        ),
        Step("zone", ok=node.answers(zone), why=why),
    ]
