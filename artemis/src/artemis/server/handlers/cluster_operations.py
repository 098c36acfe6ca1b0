"""What operators ask of a cluster at one node: status, diff, repair, leave (design 4.1, 6).

A diff and a repair take a while: their answer has a number, by which the outcome is asked for.
Not here: the work itself (`artemis.cluster`), and what clients are told of nodes (`cluster`).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from artemis.cluster.digests import BUCKETS
from artemis.cluster.engine.standing import EngineStanding
from artemis.cluster.exchange import Exchanged
from artemis.cluster.inspection import Difference, Inspection, Side
from artemis.cluster.retiring import Retiring, Seen
from artemis.model.cluster_status import (
    ClusterDiff,
    ClusterDifference,
    ClusterDrain,
    ClusterLeaveRequest,
    ClusterLeaveResponse,
    ClusterOutcomeRequest,
    ClusterRepair,
    ClusterSide,
    ClusterStayRequest,
    ClusterStayResponse,
    ClusterTask,
    ClusterTaskRequest,
    ClusterTaskResponse,
    ClusterViewResponse,
)
from artemis.model.engine import EngineView
from artemis.model.nodes import UP
from artemis.model.responses import BAD_REQUEST, SUCCESS, failure
from artemis.model.status import StatusRequest
from artemis.model.wire import in_camel_case
from artemis.registry import Origin
from artemis.server.cluster_control import ClusterControl, Task, UnknownPeer
from artemis.server.handlers.cluster_members import members_of
from artemis.server.handlers.force import MAX_OPERATOR
from artemis.server.handlers.java_peers import java_peers_of
from artemis.server.handlers.status import preservation_state
from artemis.server.node import Node
from artemis.server.retirement import spread_of, takes_over

ALONE = "this node is in no cluster; start it with --peers, --peers-dns, --peers-file or --cluster"
NOBODY_TAKES_OVER = (
    "no other node is up that could take over what this one serves; see `artemis cluster status`, or --force (force)"
)


def view(node: Node, request: StatusRequest | None, now: int) -> ClusterViewResponse:  # noqa: ARG001
    """Show the cluster as this node sees it."""
    identity, registry, standing, control = node.identity, node.registry, node.standing, node.control
    normal, legacy = registry.self_preservation()
    own = ClusterViewResponse(
        age_ms=node.age(now),
        alone=node.alone(now) or None,
        base=dict(registry.base),
        buckets=BUCKETS,
        cursor=node.cursor(),
        draining=_drain(node.retiring, now),
        epoch=identity.epoch,
        floor=_named(registry.floor),
        instances=len(registry),
        java_peers=java_peers_of(node),
        leases=preservation_state(normal, now),
        legacy_leases=preservation_state(legacy, now),
        members=[],
        missing_nodes=node.missing_nodes,
        node_id=identity.node_id,
        region_id=identity.region,
        response_status=SUCCESS,
        serves_discovery=standing.discovery,
        serves_registry=standing.registry,
        services=registry.live_services,
        status=standing.status,
        uptime_ms=now - node.about.started,
        url=identity.url,
        vector=_named(registry.vector),
        version=node.about.version,
        why=standing.why or None,
        zone_id=identity.zone,
    )
    if control is None:
        return own
    replica = control.replica
    state, digest = control.state(), replica.digest
    counters = control.all_counters(state)
    return msgspec.structs.replace(
        own,
        cluster_name=control.name,
        counters={in_camel_case(name): count for name, count in sorted(counters.items())},
        engine=None if control.engine is None else engine_view(control.engine()),
        data_digest=None if digest is None else f"{digest:016x}",
        exchanging_with=state.exchanging,
        held=state.held,
        in_cluster=True,
        members=members_of(control, state, now),
        newest_protocol=control.versions.newest,
        oldest_protocol=control.versions.oldest,
        unlisted={source: why for source, why in control.members.unlisted.items() if why},
    )


def engine_view(standing: EngineStanding) -> EngineView:
    """Tell how a node stands with its engine."""
    numbers = standing.numbers
    return EngineView(
        flying=numbers.flying,
        position=numbers.position,
        refused=list(standing.refused) or None,
        remade=numbers.remade,
        server=standing.server or None,
        servers=standing.servers,
        state=standing.state,
        synced=numbers.synced,
        waiting=numbers.dirty,
        why=standing.why or None,
    )


def diff(node: Node, request: ClusterTaskRequest | None, now: int) -> ClusterTaskResponse:
    """Begin to compare this node with a peer, or with all."""
    return _begin(node, request, now, lambda control, peer: control.compare(peer, now))


def repair(node: Node, request: ClusterTaskRequest | None, now: int) -> ClusterTaskResponse:
    """Begin an exchange with a peer, or with all: afterwards this node knows what they knew."""
    return _begin(node, request, now, lambda control, peer: control.repair(peer, now))


def outcome(node: Node, request: ClusterOutcomeRequest | None, now: int) -> ClusterTaskResponse:
    """Show what became of a comparison or a repair until now."""
    if node.control is None:
        return _no_task(ALONE)
    number = 0 if request is None else request.number
    task = node.control.task(number, now)
    if task is None:
        return _no_task(f"there is no diff or repair {number} here, or not any more; begin another one")
    return _outcome(node.control, task, now)


def leave(node: Node, request: ClusterLeaveRequest | None, now: int) -> ClusterLeaveResponse:
    """Leave the cluster for good: say farewell, drain and end; or only once others have taken over."""
    if node.control is None:
        return ClusterLeaveResponse(response_status=failure(BAD_REQUEST, ALONE))
    operator = "" if request is None else (request.operator_id or "").strip()
    if not operator or len(operator) > MAX_OPERATOR:
        text = f"operatorId must say who lets the node leave, in {MAX_OPERATOR} characters at most"
        return ClusterLeaveResponse(response_status=failure(BAD_REQUEST, text))
    told = sum(each.link is not None and each.link.connected for each in node.control.neighbours(now))
    if request is None or not request.drain:
        node.control.leave(operator)
    elif node.retiring is None:
        linked = {link.node for link in node.control.links() if link.connected}
        zone = node.identity.zone
        views = [view for view in node.control.members.others(now) if view.status == UP and view.node in linked]
        taking = [view for view in views if takes_over(view, zone)]
        if not taking and not request.force:
            return ClusterLeaveResponse(response_status=failure(BAD_REQUEST, NOBODY_TAKES_OVER))
        asked = node.registry.wall(now)
        node.retire(Retiring(operator, spread_of(node), now, forced=request.force, asked=asked))
        node.switched("retirement", now)
    return ClusterLeaveResponse(members=told, response_status=SUCCESS)


def stay(node: Node, request: ClusterStayRequest | None, now: int) -> ClusterStayResponse:
    """Stay, though an operator let the node drain before it leaves."""
    operator = "" if request is None else (request.operator_id or "").strip()
    if not operator or len(operator) > MAX_OPERATOR:
        text = f"operatorId must say who lets the node stay, in {MAX_OPERATOR} characters at most"
        return ClusterStayResponse(response_status=failure(BAD_REQUEST, text))
    if node.retiring is None:
        return ClusterStayResponse(response_status=SUCCESS)
    if node.retiring.phase == "done" or node.availability.draining:
        return ClusterStayResponse(response_status=failure(BAD_REQUEST, "it is too late: the node ends now"))
    node.retire(None)
    node.switched("retirement", now)
    return ClusterStayResponse(response_status=SUCCESS, stays=True)


def _drain(retiring: Retiring | None, now: int) -> ClusterDrain | None:
    if retiring is None:
        return None
    seen = retiring.seen or Seen(others=0, sessions=0, renewed=None, unconfirmed=0)
    return ClusterDrain(
        for_ms=now - retiring.since,
        operator_id=retiring.operator,
        others=seen.others,
        phase=retiring.phase,
        renewed=seen.renewed,
        sessions=seen.sessions,
        unconfirmed=seen.unconfirmed,
    )


def _begin(
    node: Node,
    request: ClusterTaskRequest | None,
    now: int,
    work: Callable[[ClusterControl, str | None], Task],
) -> ClusterTaskResponse:
    if node.control is None:
        return _no_task(ALONE)
    peer = None if request is None else request.peer
    try:
        task = work(node.control, peer if peer and peer.strip() else None)
    except UnknownPeer as error:
        return _no_task(str(error))
    return _outcome(node.control, task, now)


def _no_task(text: str) -> ClusterTaskResponse:
    return ClusterTaskResponse(response_status=failure(BAD_REQUEST, text))


def _outcome(control: ClusterControl, task: Task, now: int) -> ClusterTaskResponse:
    peers = [_task(control, task, peer, now) for peer in task.peers]
    return ClusterTaskResponse(done=task.done, number=task.number, peers=peers, response_status=SUCCESS)


def _task(control: ClusterControl, task: Task, peer: str, now: int) -> ClusterTask:
    told = ClusterTask(node_id=peer, state="running", took_ms=now - task.begun, url=control.url_of(peer, now))
    inspection = task.inspections.get(peer)
    failed = task.failed.get(peer) or (inspection.failed if inspection is not None else "")
    if failed:
        return msgspec.structs.replace(told, state="failed", why=failed)
    if inspection is not None and inspection.ended is not None:
        took = inspection.ended - inspection.since
        return msgspec.structs.replace(told, diff=_diff(inspection), state="done", took_ms=took)
    exchanged = task.exchanged.get(peer)
    if exchanged is not None:
        took = exchanged.at - task.begun
        return msgspec.structs.replace(told, repair=_repair(exchanged), state="done", took_ms=took)
    return told


def _diff(inspection: Inspection) -> ClusterDiff:
    return ClusterDiff(
        buckets=inspection.buckets,
        complete=inspection.complete,
        count=inspection.count,
        differences=[_difference(each) for each in inspection.found],
        reasons=dict(inspection.why),
        rows=inspection.rows,
        services=dict(inspection.services),
        visible=inspection.visible,
    )


def _difference(found: Difference) -> ClusterDifference:
    return ClusterDifference(
        here=_side(found.here),
        instance_id=found.instance,
        operation=found.operation or None,
        service_id=found.service,
        there=_side(found.there),
        visible=found.visible,
        why=found.why,
    )


def _side(side: Side) -> ClusterSide:
    if side.written is None:
        return ClusterSide(state=side.state)
    value, node = side.written
    return ClusterSide(node_id=node, state=side.state, written=value // 1000)


def _repair(exchanged: Exchanged) -> ClusterRepair:
    return ClusterRepair(
        buckets=exchanged.buckets, repaired=exchanged.repaired, restated=exchanged.restated, rows=exchanged.rows
    )


def _named(vector: dict[Origin, int]) -> dict[str, int]:
    return {f"{origin.node}/{origin.epoch}": seq for origin, seq in sorted(vector.items())}
