"""What a node says about itself: cluster, configuration, deployment, connections, self-preservation (spec 2.4).

Not here: the node status, which is the node's own, and the lease pages (`leases`).
"""

from collections.abc import Mapping

import msgspec

from artemis.model.responses import BAD_REQUEST, SUCCESS, failure
from artemis.model.status import (
    ClusterStatusResponse,
    ConfigResponse,
    DeploymentResponse,
    MessageConnections,
    OverviewResponse,
    PreservationResponse,
    PreservationState,
    PreservationSwitch,
    StatusRequest,
)
from artemis.model.wire import in_camel_case
from artemis.push import ChangeStream
from artemis.registry import SelfPreservation
from artemis.server.about import Setting
from artemis.server.handlers.cluster import known_nodes
from artemis.server.handlers.cluster_members import members_of
from artemis.server.handlers.regions import other_regions
from artemis.server.node import Node


def cluster(node: Node, request: StatusRequest | None, now: int) -> ClusterStatusResponse:  # noqa: ARG001
    """Show every node of the cluster as this one knows it (spec 2.4)."""
    nodes, control = known_nodes(node, now), node.control
    return ClusterStatusResponse(
        members=None if control is None else members_of(control, control.state(), now),
        node_count=len(nodes),
        nodes_status=list(nodes),
        response_status=SUCCESS,
    )


def config(node: Node, request: StatusRequest | None, now: int) -> ConfigResponse:  # noqa: ARG001
    """Show the settings in force and where they come from (spec 2.4)."""
    settings = dict(sorted(node.about.settings.items()))
    return ConfigResponse(
        properties=_texts(settings),
        property_sources={key: setting.source for key, setting in settings.items()},
        response_status=SUCCESS,
        sources=dict(sorted(node.about.sources.items())),
    )


def deployment(node: Node, request: StatusRequest | None, now: int) -> DeploymentResponse:  # noqa: ARG001
    """Show where the node runs, and the settings that say so (spec 2.4)."""
    about, place = node.about, node.about.deployment
    chosen = {key: about.settings[key] for key in sorted(about.deployment_settings) if key in about.settings}
    used = {setting.source for setting in chosen.values()}
    return DeploymentResponse(
        app_id=place.app_id,
        ip=place.ip,
        machine_name=place.machine_name,
        path=place.path,
        port=place.port,
        properties=_texts(chosen),
        protocol=place.protocol,
        region_id=node.identity.region,
        response_status=SUCCESS,
        sources={source: priority for source, priority in sorted(about.sources.items()) if source in used},
        zone_id=node.identity.zone,
    )


def message_connections(node: Node, request: StatusRequest | None, now: int) -> MessageConnections:  # noqa: ARG001
    """Count the open sessions of the WebSocket endpoints (spec 2.4)."""
    open_sessions = node.about.sessions()
    return MessageConnections(
        discovery=str(open_sessions.get("discovery", 0)), registry=str(open_sessions.get("registry", 0))
    )


def self_preservation(node: Node, request: StatusRequest | None, now: int) -> PreservationResponse:  # noqa: ARG001
    """Show the state of self-preservation, with its numbers and reason (spec 4.5)."""
    normal, legacy = node.registry.self_preservation()
    return PreservationResponse(
        leases=preservation_state(normal, now), legacy_leases=preservation_state(legacy, now), response_status=SUCCESS
    )


def switch_self_preservation(node: Node, request: PreservationSwitch | None, now: int) -> PreservationResponse:
    """Switch self-preservation on or off for both classes of leases.

    It acts with the next tick and lasts as long as the process; the answer shows the state until then.
    """
    if request is None or request.enabled is None:
        return PreservationResponse(response_status=failure(BAD_REQUEST, 'say {"enabled": true} or {"enabled": false}'))
    node.registry.enable_self_preservation(request.enabled)
    node.preserves = request.enabled
    node.switched("self-preservation", now)
    return self_preservation(node, None, now)


def overview(node: Node, request: StatusRequest | None, now: int) -> OverviewResponse:  # noqa: ARG001
    """Show a node at one glance: who it is, what it holds, who is connected."""
    identity, about = node.identity, node.about
    normal, legacy = node.registry.self_preservation()
    return OverviewResponse(
        age_ms=node.age(now),
        connections=dict(about.doors()),
        cursor=node.cursor(),
        epoch=identity.epoch,
        instances=len(node.registry),
        leases=preservation_state(normal, now),
        legacy_leases=preservation_state(legacy, now),
        node_id=identity.node_id,
        push=_push(node.stream),
        region_id=identity.region,
        regions=other_regions(node.regions, now),
        response_status=SUCCESS,
        services=node.registry.live_services,
        status=node.status,
        uptime_ms=now - about.started,
        url=identity.url,
        version=about.version,
        workers=about.workers(),
        zone_id=identity.zone,
    )


def _push(stream: ChangeStream) -> dict[str, int]:
    """Return gauges and counters of subscriptions and pushes."""
    gauges = {"subscribers": stream.subscribers, "subscriptions": stream.subscriptions, "waiters": stream.waiters}
    counters = msgspec.structs.asdict(stream.counters)
    return gauges | {in_camel_case(name): count for name, count in counters.items()}


def _texts(settings: Mapping[str, Setting]) -> dict[str, str | None]:
    return {
        key: f"{{ key: {key}, value: {setting.value}, typedValue: {setting.value} }}"
        for key, setting in settings.items()
    }


def preservation_state(state: SelfPreservation, now: int) -> PreservationState:
    """Return the state of one class of leases as it is told."""
    return PreservationState(
        active=state.active,
        enabled=state.enabled,
        for_ms=now - state.since,
        heard=state.heard,
        hold_ms=state.hold,
        live=state.live,
        reason=state.reason,
        window_ms=state.window,
    )
