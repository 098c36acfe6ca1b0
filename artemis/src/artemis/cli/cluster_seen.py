"""Nodes as they were seen from here: who tells what of whom, which have one id, and equal opinions in one sentence.

Pure. Not here: what is wrong with a cluster (`cluster_view`), and asking the nodes (`cluster`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from artemis.cluster.messages import Versions
from artemis.model.cluster_status import ClusterViewResponse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from artemis.model.cluster_members import ClusterMember

VERSION = "version"
"""Why a link is refused where the nodes speak no version of the messages in common."""

DEPARTED = "departed"
"""The presence of an address in a list whose node has left for good."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A node of which somebody told: its URL, what it says itself, or else `silence`, why it does not."""

    url: str
    view: ClusterViewResponse | None = None
    silence: str = ""


class Opinion(NamedTuple):
    """What one node takes another one for, and why, and what that one says that it is; the nodes by URL."""

    viewer: str
    node: str
    status: str
    why: str
    own: str


def twins(nodes: Iterable[Seen]) -> dict[str, list[str]]:
    """Return the URLs of nodes that answer with one id, by that id."""
    found: dict[str, list[str]] = {}
    for node in nodes:
        if node.view is not None and node.view.node_id:
            found.setdefault(node.view.node_id, []).append(node.url)
    return {node_id: urls for node_id, urls in found.items() if len(urls) > 1}


def is_twin(node: Seen, nodes: Iterable[Seen]) -> bool:
    """Tell whether another node has the id of this one."""
    return node.view is not None and node.view.node_id in twins(nodes)


def told_of(node: Seen, nodes: Sequence[Seen]) -> list[tuple[Seen, ClusterMember]]:
    """Return what others tell of a node: of its addresses, and of its id where that is its alone."""
    view = node.view
    urls = {node.url} if view is None or not view.url else {node.url, view.url}
    own_id = None if view is None or is_twin(node, nodes) else view.node_id
    return [
        (viewer, member)
        for viewer in nodes
        if viewer is not node and viewer.view is not None
        for member in viewer.view.members or ()
        if member.url in urls or (own_id is not None and member.node_id == own_id)
    ]


def departed(nodes: Sequence[Seen]) -> dict[str, list[str]]:
    """Return the URLs that do not answer as their node has left for good, each with the nodes that still list it."""
    found: dict[str, list[str]] = {}
    for node in nodes:
        told = told_of(node, nodes) if node.view is None else []
        if any(member.presence == DEPARTED for _, member in told):
            found[node.url] = sorted(viewer.url for viewer, member in told if member.configured)
    return found


def departed_text(url: str, listing: Sequence[str]) -> str:
    """Say that a node has left for good, and who still lists it."""
    return f"{url} has left for good and is still in the {'lists' if len(listing) > 1 else 'list'} of {worded(listing)}"


def no_common_version(nodes: Sequence[Seen]) -> list[str]:
    """Return sentences on nodes that cannot talk to each other for the versions of the messages that they speak."""
    spoken: dict[tuple[int, int], list[str]] = {}
    for node in nodes:
        refusing = any(
            member.refusal == VERSION and not member.connected
            for other in (node, *(viewer for viewer, _ in told_of(node, nodes)))
            for member in (() if other.view is None else other.view.members or ())
        )
        if node.view is not None and refusing:
            spoken.setdefault((node.view.oldest_protocol, node.view.newest_protocol), []).append(node.url)
    ordered = sorted(spoken.items(), key=lambda each: each[0][1])
    if len(ordered) <= 1:
        return []
    those = ", ".join(
        f"{worded(urls)} {'speak' if len(urls) > 1 else 'speaks'} {Versions(*versions)}" for versions, urls in ordered
    )
    what = f"Not all nodes understand each other: of the messages between nodes {those}"
    return [f"{what}. Update {worded(ordered[0][1])}; what the sides accept meanwhile is merged then."]


def told_once(opinions: Iterable[Opinion]) -> list[str]:
    """Return opinions as sentences: nodes of which one thinks the same are together, then those who think the same."""
    targets: dict[tuple[str, str, str, str], list[str]] = {}
    for viewer, node, status, why, own in opinions:
        targets.setdefault((viewer, status, why, own), []).append(node)
    viewers: dict[tuple[tuple[str, ...], str, str, str], list[str]] = {}
    for (viewer, status, why, own), urls in targets.items():
        viewers.setdefault((tuple(sorted(urls)), status, why, own), []).append(viewer)
    return [
        f"{worded(by)} {'take' if len(by) > 1 else 'takes'} {worded(urls)} for {status}{f' ({why})' if why else ''}; "
        f"{f'they say that they are {own}' if len(urls) > 1 else f'it says that it is {own}'}."
        for (urls, status, why, own), by in viewers.items()
    ]


def worded(names: Sequence[str]) -> str:
    """Return names as words: `a`, `a and b`, `a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
