"""How the engine that nodes stand around reads for people: what each node says of it, and what is not well. Pure.

Not here: asking the nodes (`cluster`), and what they say of each other (`cluster_view`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artemis.cli.cluster_seen import worded
from artemis.cli.output import counted, ended
from artemis.cluster.configured import ENGINE as SOURCE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from artemis.cli.cluster_seen import Seen
    from artemis.model.cluster_status import ClusterViewResponse
    from artemis.model.engine import EngineView

ENGINE = ("NODE", "ENGINE", "STATE", "READ UP TO", "STILL TO PUT", "BUCKETS")

_READY = "ready"
_OPEN = (_READY, "full")


def engine_rows(nodes: Sequence[Seen]) -> list[tuple[object, ...]]:
    """Return a line for each node that answers and stands around an engine."""
    return [
        (
            node.url,
            engine.server or engine.servers,
            engine.state,
            engine.position,
            counted(engine.waiting, "change"),
            1 + engine.remade,
        )
        for node, engine in _engines(nodes)
    ]


def engine_troubles(nodes: Sequence[Seen]) -> list[str]:
    """Return sentences on who cannot work with the engine, and on nodes that it is refused with, each reason once."""
    reasons: dict[str, list[str]] = {}
    refused: dict[str, None] = {}
    for node, engine in _engines(nodes):
        if engine.state != _READY:
            reasons.setdefault(f"{engine.state}: {engine.why}", []).append(node.url)
        refused.update(dict.fromkeys(engine.refused or ()))
    found = [
        ended(f"{worded(urls)} {'say' if len(urls) > 1 else 'says'} that the engine is {reason}")
        for reason, urls in reasons.items()
    ]
    found += [ended(text) for text in refused]
    meshed = [node.url for node in nodes if node.view is not None and node.view.in_cluster and node.view.engine is None]
    if meshed and any(True for _ in _engines(nodes)):
        found.append(f"{worded(meshed)} {'are' if len(meshed) > 1 else 'is'} in a mesh of peers, the others are not.")
    return found


def without_engine(node: Seen) -> bool:
    """Tell whether a node stands around an engine that does not work for it, which it says itself."""
    return any(engine.state not in _OPEN for _, engine in _engines([node]))


def serving_without(view: ClusterViewResponse) -> str:
    """Return without whom a node serves and why, in its words, less its engine, of which `engine_troubles` tells."""
    alone = view.alone or ""
    if view.engine is None:
        return alone
    others, engine, _ = alone.partition(f"without {SOURCE}{view.engine.servers} (")
    return others.removesuffix("; ").removesuffix("it serves ") if engine else alone


def unlisted(view: ClusterViewResponse) -> Mapping[str, str | None]:
    """Return what is wrong with each list of nodes, again less the engine."""
    return {source: why for source, why in (view.unlisted or {}).items() if not source.startswith(SOURCE)}


def _engines(nodes: Sequence[Seen]) -> Iterator[tuple[Seen, EngineView]]:
    for node in nodes:
        if node.view is not None and node.view.engine is not None:
            yield node, node.view.engine
