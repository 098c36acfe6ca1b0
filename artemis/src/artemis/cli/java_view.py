"""How the Java peers of nodes read for people. Pure.

Not here: nodes of this implementation (`cluster_view`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artemis.cli.cluster_seen import worded
from artemis.cli.overview import duration_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artemis.cli.cluster_seen import Seen
    from artemis.model.java_peers import JavaPeerView

JAVA = ("JAVA PEER", "OF", "STATE", "FOR", "ZONE", "OFFERED", "WAITING", "TOLD", "AGAIN", "LOST", "REFUSED")


def java_rows(nodes: Sequence[Seen]) -> list[tuple[object, ...]]:
    """Return a line for each Java peer of each node."""
    return [
        (
            peer.url,
            node.url,
            peer.state,
            duration_text(peer.for_ms),
            peer.zone_id,
            "yes" if peer.offered else "no",
            peer.waiting,
            peer.told,
            peer.later,
            peer.lost,
            peer.refused,
        )
        for node, peer in _peers(nodes)
    ]


def java_troubles(nodes: Sequence[Seen]) -> list[str]:
    """Return sentences on Java peers that do not serve, and on nodes that have others than the rest."""
    found: dict[str, list[str]] = {}
    for node, peer in _peers(nodes):
        if not peer.serves_registry:
            found.setdefault(f"Java peer {peer.url} is {peer.state}: {peer.why or 'it does not serve'}", []).append(
                node.url
            )
        elif peer.error:
            found.setdefault(f"Java peer {peer.url} does not take everything ({peer.error})", []).append(node.url)
    sentences = [f"{what}; so {worded(urls)} {'see' if len(urls) > 1 else 'sees'} it." for what, urls in found.items()]
    return sentences + _lacking(nodes)


def _lacking(nodes: Sequence[Seen]) -> list[str]:
    """Say which nodes lack a Java peer: each of ours passes on what its own clients ask."""
    answering = [node for node in nodes if node.view is not None]
    having: dict[str, list[str]] = {}
    for node, peer in _peers(nodes):
        having.setdefault(str(peer.url), []).append(node.url)
    found = []
    for name, urls in having.items():
        without = [node.url for node in answering if node.url not in urls]
        if without:
            lacks = f"{worded(without)} {'lack' if len(without) > 1 else 'lacks'} Java peer {name}"
            found.append(f"{lacks}; give all nodes the same --java-peers.")
    return found


def _peers(nodes: Sequence[Seen]) -> list[tuple[Seen, JavaPeerView]]:
    return [(node, peer) for node in nodes if node.view is not None for peer in node.view.java_peers or ()]
