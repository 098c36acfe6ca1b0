"""How a cluster reads for people: what each node says of itself and of the others, and where they disagree. Pure.

Not here: asking the nodes (`cluster`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artemis.cli.cluster_seen import (
    DEPARTED,
    VERSION,
    Opinion,
    departed,
    departed_text,
    is_twin,
    no_common_version,
    told_of,
    told_once,
    twins,
    worded,
)
from artemis.cli.draining import progress
from artemis.cli.engine_view import serving_without, unlisted, without_engine
from artemis.cli.output import counted
from artemis.cli.overview import duration_text, preservation_text
from artemis.cli.reach import trust_advice, untrusted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from artemis.cli.cluster_seen import Seen
    from artemis.model.cluster_members import ClusterMember
    from artemis.model.cluster_status import ClusterViewResponse

NODES = ("NODE", "STATUS", "SERVES", "FOR", "ZONE", "HOLDS", "ID", "EPOCH", "VERSION")
LINKS = ("TO", "LINK", "RTT", "CLOCK", "HEARD", "LAG", "DIFFERED", "QUEUE", "DROPPED", "LAST ERROR")

_UP = "up"
_SECOND = 1_000
_NAMES = {"cluster", "region"}
_SECRETS = {"secret"}
_SILENT = {"suspected", "gone", "left", "unmet", DEPARTED}


def others_of(view: ClusterViewResponse) -> list[str]:
    """Return the URLs of the nodes that a node tells of."""
    return [member.url for member in view.members or () if member.url]


def node_rows(nodes: Sequence[Seen]) -> list[tuple[object, ...]]:
    """Return a line for each node: what it says of itself, or what the others think where it says nothing."""
    rows: list[tuple[object, ...]] = []
    for node in nodes:
        view = node.view
        if view is not None:
            holds = f"{counted(view.instances, 'instance')} of {counted(view.services, 'service')}"
            up_for = duration_text(view.uptime_ms)
            serves = _serves(registry=view.serves_registry, discovery=view.serves_discovery)
            who = (view.zone_id, holds, view.node_id, view.epoch, view.version)
            rows.append((node.url, view.status, serves, up_for, *who))
            continue
        told = [member for _, member in told_of(node, nodes)]
        words = "/".join(sorted({member.status or "-" for member in told}))
        one = next((member for member in told if member.node_id), told[0] if told else None)
        if one is None:
            rows.append((node.url, "?", *[None] * 7))
        else:
            epoch = one.epoch or None
            for_ms = duration_text(one.for_ms)
            rows.append((node.url, words, None, for_ms, one.zone_id, None, one.node_id, epoch, one.version))
    return rows


def link_rows(view: ClusterViewResponse) -> list[tuple[object, ...]]:
    """Return a line for each link of one node. What a node lacks of one that it does not hear, nobody knows."""
    return [
        (
            member.url,
            _link_word(member),
            None if member.rtt_ms is None else f"{member.rtt_ms} ms",
            _clock_word(member.clock_skew_ms) if _heard(member) else None,
            _ago(member.last_contact_ms),
            counted(member.lag, "change") if _heard(member) else None,
            _differed(member, view),
            member.queued,
            member.dropped,
            member.error,
        )
        for member in view.members or ()
    ]


def troubles(nodes: Sequence[Seen]) -> list[str]:
    """Return sentences on what is not well: first what explains much of the rest, as two nodes with one id and nodes
    that do not belong together, then nodes that are not up, and each on which views differ."""
    found = [
        *_twins(nodes),
        *_different_clusters(nodes),
        *_different_secrets(nodes),
        *no_common_version(nodes),
    ]
    opinions: list[Opinion] = []
    others: list[str] = []
    left = departed(nodes)
    for node in nodes:
        if node.url in left:
            continue
        if node.view is not None and node.view.status != _UP and node.view.draining is None:
            why = f": {node.view.why}" if node.view.why else ""
            found.append(f"{node.url} says that it is {node.view.status}{why}.")
        told = told_of(node, nodes)
        opinions += _opinions_of(node, told)
        others += _views_of(node, told, nodes)
        if node.view is not None and not node.view.in_cluster and len(nodes) > 1:
            others.append(
                f"{node.url} is in no cluster; start it with --peers, --peers-dns, --peers-file or --cluster."
            )
    return found + told_once(opinions) + others + _different_data(nodes)


def unasked(nodes: Sequence[Seen]) -> list[str]:
    """Return sentences on nodes that could not be asked for a reason that lies here: nobody says that they are ill."""
    reasons: dict[str, list[str]] = {}
    for node in nodes:
        if _untrusted(node):
            reasons.setdefault(node.silence, []).append(node.url)
    return [
        f"{worded(urls)} {'answer and were' if len(urls) > 1 else 'answers and was'} not asked, since from here "
        f"{silence}; {trust_advice(silence)}."
        for silence, urls in reasons.items()
    ]


def remarks(nodes: Sequence[Seen]) -> list[str]:
    """Return sentences on what is worth knowing and no trouble."""
    found = [f"{departed_text(url, listing)}; take it from there." for url, listing in departed(nodes).items()]
    alone: dict[str, list[str]] = {}
    for node in nodes:
        if node.view is None:
            continue
        draining = node.view.draining
        if draining is not None:
            by = f" by {draining.operator_id}" if draining.operator_id else ""
            found.append(f"{node.url} is taken out of service{by}; {progress(draining)}.")
        for name, state in (("", node.view.leases), (" of legacy leases", node.view.legacy_leases)):
            if state is not None and state.active:
                found.append(f"Self-preservation{name} at {node.url}: {preservation_text(state)}.")
        without = serving_without(node.view)
        if without:
            alone.setdefault(without.removeprefix("it serves "), []).append(node.url)
        else:
            sources = unlisted(node.view).items()
            found += [f"{node.url} cannot tell the nodes of {source}: {why}." for source, why in sources]
        if node.view.held:
            held = counted(node.view.held, "change")
            before = "that before it has" if node.view.held == 1 else "those before them have"
            found.append(f"{node.url} holds {held} back until {before} come.")
    found += [f"{worded(urls)} {'serve' if len(urls) > 1 else 'serves'} {without}." for without, urls in alone.items()]
    answering = [node for node in nodes if node.view is not None]
    for node in answering:
        missing = _missing(node, answering)
        if missing:
            found.append(f"{node.url} lacks {counted(missing, 'change')} that others have, at this moment.")
    digests = {node.view.data_digest for node in answering if node.view is not None}
    if len(answering) > 1 and len(digests) == 1 and None not in digests:
        found.append("All nodes that answer know the same.")
    return found


def same_data(nodes: Iterable[Seen]) -> bool:
    """Tell whether all nodes that answer know the same, as far as they say."""
    return len({node.view.data_digest for node in nodes if node.view is not None}) <= 1


def _opinions_of(node: Seen, told: Sequence[tuple[Seen, ClusterMember]]) -> list[Opinion]:
    """Return what others think of a node that answers, where that is not what it is and nothing said already why."""
    own = None if node.view is None else node.view.status
    return [
        Opinion(viewer.url, node.url, member.status or "unknown", member.why or "", own or "unknown")
        for viewer, member in told
        if node.view is not None and member.status != own and not _apart(viewer, node, member)
    ]


def _views_of(node: Seen, told: Sequence[tuple[Seen, ClusterMember]], nodes: Sequence[Seen]) -> list[str]:
    """Return who does not know a node, cannot send to it, or hears nothing of it, unless an engine that is away, which
    is said once for all, explains it."""
    knowing = {node.url, *(viewer.url for viewer, _ in told)}
    viewers = [viewer for viewer in nodes if viewer.view is not None and viewer.view.in_cluster]
    found = [
        f"{viewer.url} does not know {node.url}; {_introduce(viewer)}."
        for viewer in viewers
        if viewer.url not in knowing
        and not is_twin(node, nodes)
        and _would_be_let_in(node, viewer)
        and not (without_engine(viewer) or without_engine(node))
    ]
    if _untrusted(node):
        found += [
            f"{viewer.url} takes {node.url} for {member.status}{f' ({member.why})' if member.why else ''}."
            for viewer, member in told
            if member.status != _UP
        ]
    elif node.view is None:
        words = {member.status: (viewer.url, member.why) for viewer, member in told}
        said = "; ".join(f"{url} takes it for {word}{f' ({why})' if why else ''}" for word, (url, why) in words.items())
        found.append(f"{node.url} does not answer from here ({node.silence}){f': {said}' if said else ''}.")
    elif told and node.view.status == _UP:
        found += [
            f"{viewer.url} cannot send to {node.url}: {member.error or 'there is no link yet'}."
            for viewer, member in told
            if not member.connected and member.status == _UP and not (without_engine(viewer) or without_engine(node))
        ]
    return found


def _introduce(viewer: Seen) -> str:
    """Say how a node comes to know another one."""
    if viewer.view is not None and viewer.view.engine is not None:
        return "nodes hear each other over the engine, so look whether both can use it"
    return "name it in its list of peers"


def _untrusted(node: Seen) -> bool:
    return node.view is None and untrusted(node.silence)


def _apart(viewer: Seen, node: Seen, member: ClusterMember) -> bool:
    """Tell whether two nodes do not belong together, for a reason that is said once for all of them."""
    if member.refusal in _SECRETS or (member.refusal == VERSION and node.view is not None):
        return True
    return member.refusal in _NAMES and _cluster_of(viewer) != _cluster_of(node)


def _would_be_let_in(node: Seen, viewer: Seen) -> bool:
    """Tell whether a node is there and does not say itself what keeps it from another, such as a wrong secret."""
    members = () if node.view is None else node.view.members or ()
    refused = any(member.url == viewer.url and not member.connected and member.error for member in members)
    return node.view is not None and not refused


def _twins(nodes: Sequence[Seen]) -> list[str]:
    return [
        f"{'Two' if len(urls) == 2 else len(urls)} nodes have the id {node_id}: {worded(urls)}; "
        "stop one and give it an empty --data-dir."
        for node_id, urls in twins(nodes).items()
    ]


def _cluster_of(node: Seen) -> str:
    return "" if node.view is None else f"{node.view.cluster_name} in region {node.view.region_id}"


def _different_clusters(nodes: Sequence[Seen]) -> list[str]:
    names: dict[str, list[str]] = {}
    for node in nodes:
        if node.view is not None and node.view.in_cluster:
            names.setdefault(_cluster_of(node), []).append(node.url)
    if len(names) <= 1:
        return []
    those = ", ".join(f"{worded(urls)} {'are' if len(urls) > 1 else 'is'} of {name}" for name, urls in names.items())
    return [f"They are not one cluster: {those}. Give all the same --cluster-name and --region."]


def _different_secrets(nodes: Sequence[Seen]) -> list[str]:
    pairs = {
        frozenset((viewer.url, node.url))
        for node in nodes
        for viewer, member in told_of(node, nodes)
        if node.view is not None and member.refusal in _SECRETS
    }
    found: list[str] = []
    while pairs:
        # The one that is at odds with most is most probably the one to be mended.
        odd = max(sorted({url for pair in pairs for url in pair}), key=lambda url: sum(url in pair for pair in pairs))
        theirs = {pair for pair in pairs if odd in pair}
        pairs -= theirs
        others = worded(sorted(url for pair in theirs for url in pair if url != odd))
        found.append(f"{odd} has another cluster secret than {others}; give all the same --cluster-secret-file.")
    return found


def _different_data(nodes: Sequence[Seen]) -> list[str]:
    """Say where nodes took in the same changes and yet know something else, which must not be."""
    known: dict[str, dict[str, str]] = {}
    for node in nodes:
        view = node.view
        if view is None or view.data_digest is None or view.vector is None:
            continue
        reached = repr(sorted((name, seq) for name, seq in view.vector.items() if seq))
        known.setdefault(reached, {}).setdefault(view.data_digest, node.url)
    advice = "see `artemis cluster diff`"
    return [
        f"{' and '.join(by_digest.values())} took in the same changes but know different things: {advice}."
        for by_digest in known.values()
        if len(by_digest) > 1
    ]


def _missing(node: Seen, nodes: Sequence[Seen]) -> int:
    """Count the changes that any other node has and this one lacks."""
    best: dict[str, int] = {}
    for other in nodes:
        for name, seq in _vector(other).items():
            best[name] = max(seq, best.get(name, 0))
    own, base = _vector(node), {} if node.view is None else node.view.base or {}
    return sum(max(0, seq - own.get(name, 0)) for name, seq in best.items() if not _included(name, base))


def _included(name: str, base: Mapping[str, int]) -> bool:
    """Tell whether a life of a node, `node/epoch`, is one that is over and wholly known."""
    node, _, epoch = name.rpartition("/")
    return int(epoch) < base.get(node, 0)


def _vector(node: Seen) -> Mapping[str, int]:
    return {} if node.view is None else node.view.vector or {}


def _serves(*, registry: bool, discovery: bool) -> str:
    if registry and discovery:
        return "all"
    return "registry" if registry else "discovery" if discovery else "nothing"


def _heard(member: ClusterMember) -> bool:
    # A connection that is dead without anybody saying so is still there for a while.
    return member.receiving and member.presence not in _SILENT


def _differed(member: ClusterMember, view: ClusterViewResponse) -> str | None:
    known = _heard(member) and member.differing_buckets is not None
    return f"{member.differing_buckets} of {view.buckets}" if known else None


def _link_word(member: ClusterMember) -> str:
    receiving = _heard(member)
    if member.connected and receiving:
        return "both ways"
    if member.connected:
        return "to it only"
    return "from it only" if receiving else "none"


def _clock_word(skew: int | None) -> str | None:
    return None if skew is None else f"{skew:+} ms"


def _ago(milliseconds: int | None) -> str:
    if milliseconds is None:
        return "never"
    return "now" if milliseconds < 2 * _SECOND else f"{duration_text(milliseconds)} ago"
