"""Answers about a node: its cluster, configuration, deployment, connections, and our own overview (spec 2.4, design 9).

Not here: the node status (`responses`) and leases (`leases`).
"""

import msgspec

from artemis.model.cluster_members import ClusterMember
from artemis.model.nodes import ServiceNodeStatus
from artemis.model.regions import OtherRegion
from artemis.model.responses import UNSTATED, ResponseStatus
from artemis.model.wire import Int32, Int64, WireStruct

Texts = dict[str, str | None]
Counts = dict[str, Int64]


class StatusRequest(WireStruct, kw_only=True):
    """Body of status operations that have no parameters: an empty object (spec 2.4)."""


class ClusterStatusResponse(WireStruct, kw_only=True):
    """Answer of the cluster status (spec 2.4): every configured node as this one last knew it.

    `members` is an addition: all nodes but this one, with what is thought of them, lag, divergence and links; null for
    a node without others.
    """

    members: list[ClusterMember] | None = None
    node_count: Int32 = 0
    nodes_status: list[ServiceNodeStatus | None] | None = None
    response_status: ResponseStatus = UNSTATED


class ConfigResponse(WireStruct, kw_only=True):
    """Answer of config (spec 2.4): sources with their priority; properties by key, each in the original's text form.

    `property_sources` is an addition: the source of each property.
    """

    properties: Texts | None = None
    property_sources: Texts | None = None
    response_status: ResponseStatus = UNSTATED
    sources: Counts | None = None


class DeploymentResponse(WireStruct, kw_only=True):
    """Answer of deployment (spec 2.4): where the node runs, with the settings that say so."""

    app_id: str | None = None
    ip: str | None = None
    machine_name: str | None = None
    path: str | None = None
    port: Int32 = 0
    properties: Texts | None = None
    protocol: str | None = None
    region_id: str | None = None
    response_status: ResponseStatus = UNSTATED
    sources: Counts | None = None
    zone_id: str | None = None


class MessageConnections(WireStruct, kw_only=True):
    """Answer of message/connections (spec 2.4): open WebSocket sessions as text, without a status unless it failed."""

    discovery: str | msgspec.UnsetType = msgspec.UNSET
    registry: str | msgspec.UnsetType = msgspec.UNSET
    response_status: ResponseStatus | msgspec.UnsetType = msgspec.UNSET


class PreservationState(WireStruct, kw_only=True):
    """Self-preservation of one class of leases, with its numbers and reason (spec 4.5, design 4.1).

    `active` since `for_ms`: of `live` leases only `heard` were heard within `window_ms`, so each silent one is kept
    `hold_ms` longer.
    """

    active: bool = False
    enabled: bool = False
    for_ms: Int64 = 0
    heard: Int64 = 0
    hold_ms: Int64 = 0
    live: Int64 = 0
    reason: str | None = None
    window_ms: Int64 = 0


class PreservationSwitch(WireStruct, kw_only=True):
    """Body of the switch of self-preservation: on or off, for both classes, until the process ends."""

    enabled: bool | None = None


class PreservationResponse(WireStruct, kw_only=True):
    """Answer of self-preservation and of its switch: the state of normal and of legacy leases."""

    leases: PreservationState | None = None
    legacy_leases: PreservationState | None = None
    response_status: ResponseStatus = UNSTATED


class ShownWorker(WireStruct, kw_only=True):
    """One of several processes that are one node: its number, from 0, its process, whether it takes connections, for
    how long it has run, and for how long it has said nothing to the parent, to which it reports once a second."""

    index: Int32 = 0
    process: Int64 = 0
    ready: bool = False
    silent_ms: Int64 = 0
    uptime_ms: Int64 = 0


class OverviewResponse(WireStruct, kw_only=True):
    """Answer of v1/status: a node at one glance.

    `cursor` is that of what lookups show now, `age_ms` how old that may be, `version` that of the software, `epoch` the
    number of this start, `uptime_ms` its length. `connections` counts the open ones per door, `push` what became of
    subscriptions and pushes. `regions` are the other regions that it shows, null for a node that shows none, `workers`
    the processes of a node with several, null for one with a single one.
    """

    age_ms: Int64 = 0
    connections: Counts | None = None
    cursor: str | None = None
    epoch: Int64 = 0
    instances: Int64 = 0
    leases: PreservationState | None = None
    legacy_leases: PreservationState | None = None
    node_id: str | None = None
    push: Counts | None = None
    region_id: str | None = None
    regions: list[OtherRegion] | None = None
    response_status: ResponseStatus = UNSTATED
    services: Int64 = 0
    status: str | None = None
    uptime_ms: Int64 = 0
    url: str | None = None
    version: str | None = None
    workers: list[ShownWorker] | None = None
    zone_id: str | None = None
