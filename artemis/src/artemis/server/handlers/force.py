"""The switches by which an operator makes this node serve, or not, whatever it thinks itself (spec 6.3, defect 11).

They are this node's own: no other node hears of them but by what this one says it serves, and they last as long as the
process, because a node that starts decides anew, and one that is switched off by a forgotten switch helps nobody.
Not here: which of several reasons wins; see `artemis.cluster.standing`.
"""

from typing import get_args

from artemis.cluster.standing import SERVICES, Direction, Service, Switch
from artemis.model.cluster import ForcedService, ForceRequest, ForceResponse
from artemis.model.responses import BAD_REQUEST, SUCCESS, failure
from artemis.model.status import StatusRequest
from artemis.server.node import Node

MAX_OPERATOR = 255
"""Characters of the name of an operator."""

_SERVICES: dict[str, Service] = {service: service for service in SERVICES}
_DIRECTIONS: dict[str, Direction] = {direction: direction for direction in get_args(Direction)}
_OFF = "off"


def forced(node: Node, request: StatusRequest | None, now: int) -> ForceResponse:  # noqa: ARG001
    """Show what is switched, and what the node serves."""
    return _answer(node)


def force(node: Node, request: ForceRequest | None, now: int) -> ForceResponse:
    """Switch registry, discovery or both on, off, or back to what they would be without a switch, at once."""
    if request is None:
        return _refusal('say {"service": "registry", "force": "down", "operatorId": "alice"}')
    operator, wanted = (request.operator_id or "").strip(), (request.force or "").strip().lower()
    named = (request.service or "").strip().lower()
    if named and named not in _SERVICES:
        return _refusal(f"service must be registry or discovery, or left out for both, not {request.service!r:.60}")
    if wanted not in {*_DIRECTIONS, _OFF}:
        return _refusal(f"force must be up, down or off, not {request.force!r:.60}")
    if not operator or len(operator) > MAX_OPERATOR:
        return _refusal(f"operatorId must say who switches, in {MAX_OPERATOR} characters at most")
    switch = None if wanted == _OFF else Switch(_DIRECTIONS[wanted], operator, node.registry.wall(now))
    for service in [_SERVICES[named]] if named else SERVICES:
        node.force(service, switch)
        node.switched(service, now)
    return _answer(node)


def _refusal(text: str) -> ForceResponse:
    return ForceResponse(response_status=failure(BAD_REQUEST, text))


def _answer(node: Node) -> ForceResponse:
    standing, switches = node.standing, node.availability.forced
    shown = {
        service: ForcedService(force=switch.direction, operator_id=switch.operator, since=switch.since)
        for service, switch in switches.items()
    }
    return ForceResponse(
        can_service_discovery=standing.discovery,
        can_service_registry=standing.registry,
        discovery=shown.get("discovery"),
        registry=shown.get("registry"),
        response_status=SUCCESS,
        status=standing.status,
        why=standing.why or None,
    )
