"""What `artemis doctor` finds in what the nodes of a cluster say of themselves and of each other. Pure.

Each check is a function of all nodes that returns findings, or nothing where all is well; `CHECKS` names them with the
sentence that is said then. Not here: asking the nodes (`doctor`), and machines (`doctor_machines`).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec

from artemis.cli.cluster_seen import Seen, departed, departed_text, no_common_version, told_of, twins, worded
from artemis.cli.draining import progress
from artemis.cli.engine_view import engine_troubles, serving_without, unlisted, without_engine
from artemis.cli.java_view import java_troubles
from artemis.cli.output import counted
from artemis.cli.overview import age_text, duration_text, preservation_text, stands_still
from artemis.cli.reach import trust_advice, untrusted
from artemis.model.cluster_members import ClusterMember
from artemis.model.cluster_status import ClusterViewResponse
from artemis.model.vitals import VitalsResponse


class Level(StrEnum):
    """How bad a finding is: only FAIL makes the command fail."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


class Finding(msgspec.Struct, frozen=True):
    """One line: of which check, how bad, what there is, and what to do about it, empty for nothing."""

    check: str
    level: str
    text: str
    advice: str = ""


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """A node as it was seen from here. `offset` is by how many ms its wall clock is ahead of this machine's, to within
    `error`; `differs` counts the records that differ from those of the first node; `took` is how many ms its answer
    took. None where it did not answer, or does not tell."""

    seen: Seen
    vitals: VitalsResponse | None = None
    offset: float | None = None
    differs: int | None = None
    error: float = 0.0
    took: float | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return self.seen.url


class Check(NamedTuple):
    """A check: its name, what is said where it finds nothing, and how it looks."""

    name: str
    well: str
    look: Callable[[Sequence[Examined]], Iterable[Finding]]


_SKEW_PART = 8
_OLD = 5_000
"""Milliseconds that data may be old without being worth a word: nodes that fall silent are suspected meanwhile."""

_AWAY = "that ends by itself once the engine works for all of them again"

_UP = "up"
_GONE = ("left", "gone")
_MISSING = ("unmet", "gone")
_TOLD_ELSEWHERE = ("version", "clock", "secret", "cluster", "region")
"""Reasons for which a link is refused that have a check of their own."""


def reachable(nodes: Sequence[Examined]) -> Iterator[Finding]:
    """Who does not answer from here, and which links between nodes are missing, in either direction."""
    left = departed([node.seen for node in nodes])
    for url, listing in left.items():
        advice = "take its URL from there (--peers, --peers-file or --peers-dns)"
        yield Finding("reachability", Level.WARN, departed_text(url, listing), advice)
    for node in nodes:
        silence = node.seen.silence
        if node.seen.view is None and node.url not in left:
            told = told_of(node.seen, [each.seen for each in nodes])
            thought = "; ".join(f"{viewer.url} takes it for {member.status}" for viewer, member in told)
            text = f"{node.url} does not answer from here ({silence}){f': {thought}' if thought else ''}"
            if untrusted(silence):
                yield Finding("reachability", Level.WARN, text, trust_advice(silence))
            else:
                advice = "see whether it runs; if it is gone for good, take its URL from the lists of the others"
                yield Finding("reachability", Level.FAIL, text, advice)
    # Around an engine that does not work for a node, of which `foreign` tells, it can send to nobody and hears nobody.
    cut_off = {node.url for node in nodes if without_engine(node.seen)}
    for viewer, member in _pairs(nodes):
        where = f"{viewer.url} and {member.url}"
        if member.refusal in _TOLD_ELSEWHERE or member.presence in _GONE or member.url in left:
            continue
        if viewer.url in cut_off or member.url in cut_off:
            continue
        if member.presence == "unmet":
            text = f"{viewer.url} has {member.url} in its list and has never met it ({member.why or 'not reached yet'})"
            yield Finding("reachability", Level.FAIL, text, "start that node, or take it from the list")
        elif not member.connected:
            text = f"{viewer.url} cannot send to {member.url}: {member.error or 'there is no link'}"
            yield Finding("reachability", Level.FAIL, text, f"see the log of both, and the network between {where}")
        elif not member.receiving:
            text = f"{viewer.url} hears nothing of {member.url}, although it can send to it"
            yield Finding("reachability", Level.FAIL, text, f"see the network from {member.url} to {viewer.url}")


def serving(nodes: Sequence[Examined]) -> Iterator[Finding]:
    """Who does not serve all, and why; who is in no cluster; workers of a machine that stand still."""
    for node, view in _answering(nodes):
        if view.draining is not None:
            text = f"{node.url} is taken out of service by {view.draining.operator_id}; {progress(view.draining)}"
            yield Finding("status", Level.WARN, text, "`artemis cluster stay` ends that")
        elif view.status != _UP:
            text = f"{node.url} says that it is {view.status}{f': {view.why}' if view.why else ''}"
            yield Finding("status", Level.FAIL, text, "do what the reason says; a start takes a moment")
        if not view.in_cluster and len(nodes) > 1:
            text = f"{node.url} is in no cluster"
            yield Finding("status", Level.FAIL, text, "start it with the list of the others, or with --cluster")
        for worker in (node.vitals.workers or ()) if node.vitals is not None else ():
            name = f"worker {worker.index} of {node.url}, process {worker.process},"
            if not worker.ready:
                text = f"{name} does not serve yet, {duration_text(worker.uptime_ms)} after its start"
                yield Finding("status", Level.WARN, text, "the others do; the log says why it was started again")
            elif stands_still(worker):
                text = f"{name} has stood still for {duration_text(worker.silent_ms)}: whoever came to it waits"
                advice = "it is killed and started again within seconds; see what stopped it or took its processor"
                yield Finding("status", Level.FAIL, text, advice)


def clocks(nodes: Sequence[Examined]) -> Iterator[Finding]:
    """Clocks that are apart from each other, or from this machine, by more than an eighth of the TTL at least."""
    timed = [(node, node.offset) for node in nodes if node.offset is not None]
    if not timed:
        return
    bound = min((node.vitals.options or {}).get("leaseTtl", 20_000) for node, _ in timed if node.vitals) / _SKEW_PART
    ordered = sorted(timed, key=lambda each: each[1])
    (slow, least), (fast, most) = ordered[0], ordered[-1]
    apart = most - least - slow.error - fast.error
    advice = "let all machines follow the same time server"
    if apart > bound:
        text = f"the clock of {fast.url} is {apart:.0f} ms or more ahead of that of {slow.url}; {bound:.0f} are allowed"
        yield Finding("clocks", Level.FAIL, text, advice)
    elif apart > bound / 2:
        text = f"the clock of {fast.url} is {apart:.0f} ms or more ahead of that of {slow.url}, of {bound:.0f} allowed"
        yield Finding("clocks", Level.WARN, text, advice)
    elif (own := _all_off(ordered)) > bound:
        text = f"the clock of this machine is {own:.0f} ms or more off those of all nodes, which agree"
        yield Finding("clocks", Level.WARN, text, "set this machine's clock")
    for viewer, member in _refused(nodes, "clock"):
        yield Finding("clocks", Level.FAIL, f"{viewer.url} and {member.url} are apart: {member.error}", advice)


def _all_off(ordered: Sequence[tuple[Examined, float]]) -> float:
    """By how much this machine is off all of them, 0 if it is between them."""
    behind = min(offset - node.error for node, offset in ordered)
    ahead = min(-offset - node.error for node, offset in ordered)
    return max(behind, ahead, 0.0)


def versions(nodes: Sequence[Examined]) -> Iterator[Finding]:
    """Releases that are mixed, and nodes that have no version of the messages in common."""
    for sentence in no_common_version([node.seen for node in nodes]):
        yield Finding("versions", Level.FAIL, sentence.rstrip("."), "update those nodes; nothing is lost meanwhile")
    releases: dict[tuple[int, str], list[str]] = {}
    for node, view in _answering(nodes):
        releases.setdefault((view.newest_protocol, view.version or "?"), []).append(node.url)
    if len(releases) > 1:
        ordered = sorted(releases.items(), key=lambda each: (each[0][0], _release(each[0][1])))
        those = ", ".join(
            f"{worded(urls)} {'have' if len(urls) > 1 else 'has'} {release} with version {protocol} of the messages"
            for (protocol, release), urls in ordered
        )
        older = worded([url for _, urls in ordered[:-1] for url in urls])
        advice = f"go on with the upgrade, one after the other: {older}"
        yield Finding("versions", Level.WARN, f"releases are mixed: {those}", advice)


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else -1 for part in version.split("."))


def membership(nodes: Sequence[Examined]) -> Iterator[Finding]:
    """Nodes of other clusters, with the same id, or that others do not know."""
    for node_id, urls in twins([node.seen for node in nodes]).items():
        text = f"{worded(urls)} have the same id {node_id}"
        yield Finding("membership", Level.FAIL, text, "stop the copy and give it an empty --data-dir")
    names: dict[str, list[str]] = {}
    for node, view in _answering(nodes):
        if view.in_cluster:
            names.setdefault(f"{view.cluster_name} in region {(view.region_id or '').lower()}", []).append(node.url)
    if len(names) > 1:
        those = ", ".join(f"{worded(urls)}: {name}" for name, urls in names.items())
        advice = "give all the same --cluster-name and --region"
        yield Finding("membership", Level.FAIL, f"they are not one cluster ({those})", advice)
    for viewer, member in _refused(nodes, "secret"):
        text = f"{viewer.url} and {member.url} have different cluster secrets"
        yield Finding("membership", Level.FAIL, text, "give both the same --cluster-secret-file")
    for node, view in _answering(nodes):
        for source, why in unlisted(view).items():
            text = f"{node.url} cannot tell the nodes of {source}: {why}"
            yield Finding("membership", Level.WARN, text, "the last list holds until it can")


def options(nodes: Sequence[Examined]) -> Iterator[Finding]:
    """Options that all nodes must share and do not, and lists of peers that differ."""
    values: dict[str, dict[int, list[str]]] = {}
    for node in nodes:
        for name, value in (node.vitals.options or {}).items() if node.vitals is not None else ():
            values.setdefault(name, {}).setdefault(value, []).append(node.url)
    for name, found in values.items():
        if len(found) > 1:
            those = ", ".join(f"{duration_text(value)} at {worded(urls)}" for value, urls in found.items())
            option = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name)
            level = Level.FAIL if name.endswith("easeTtl") else Level.WARN
            yield Finding("options", level, f"--{option} is {those}", "give all nodes the same")
    lists: dict[frozenset[str], list[str]] = {}
    for node, view in _answering(nodes):
        listed = {member.url for member in view.members or () if member.configured and member.url}
        if view.in_cluster and view.engine is None and listed:
            lists.setdefault(frozenset({*listed, view.url or node.url}), []).append(node.url)
    if len(lists) > 1:
        text = f"lists of nodes differ: {', '.join(worded(urls) for urls in lists.values())} have different ones"
        yield Finding("options", Level.WARN, text, "give all nodes the same list")
    for node in nodes:
        told = node.vitals
        lifetime = 0 if told is None else (told.options or {}).get("tombstoneLifetime", 0)
        if told is not None and lifetime < told.least_lifetime_ms:
            least = duration_text(told.least_lifetime_ms)
            text = f"{node.url} remembers what was removed for {duration_text(lifetime)}, too short for so many nodes"
            yield Finding("options", Level.WARN, text, f"set --tombstone-lifetime to more than {least} on all nodes")


def data(nodes: Sequence[Examined]) -> Iterator[Finding]:
    """Nodes that know different things, data that is old, changes that are held back."""
    digests: dict[str, list[str]] = {}
    left = departed([node.seen for node in nodes])
    for node, view in _answering(nodes):
        if view.data_digest is not None:
            digests.setdefault(view.data_digest, []).append(node.url)
        if view.age_ms > _OLD:
            text = f"answers of {node.url} are {age_text(view.age_ms, duration_text(view.age_ms))}"
            advice = "a node that it counts on is silent, or a snapshot unconfirmed"
            yield Finding("data", Level.WARN, text, _AWAY if without_engine(node.seen) else advice)
        if view.held:
            text = f"{node.url} holds {counted(view.held, 'change')} back until those before them come"
            yield Finding("data", Level.WARN, text, "an exchange repairs it within seconds; else see its links")
        without = serving_without(view)
        if without and not _departed_alone(view, left):
            yield Finding("data", Level.WARN, f"{node.url}: {without}", "start those, or take them from its list")
    if len(digests) > 1:
        groups = " against ".join(worded(urls) for urls in digests.values())
        differ = max((member.differing_buckets or 0 for _, view in _answering(nodes) for member in view.members or ()))
        where = f"; {differ} of 1024 sums differed in the last exchange" if differ else ""
        counts = [f"{counted(node.differs, 'record')} at {node.url}" for node in nodes if node.differs]
        where = f"; {worded(counts)} differ from those of {nodes[0].url}" if counts else where
        text = f"nodes know different things, longer than changes take: {groups}{where}"
        advice = "`artemis cluster diff` says which records, `repair` fetches them"
        yield Finding("data", Level.FAIL, text, _AWAY if any(without_engine(node.seen) for node in nodes) else advice)


def _departed_alone(view: ClusterViewResponse, left: Container[str]) -> bool:
    """Tell whether a node lacks nobody but such as have left for good, as one that was started after that does."""
    missing = [member.url or "" for member in view.members or () if member.presence in _MISSING]
    return bool(missing) and all(url in left for url in missing) and not any(unlisted(view).values())


def preservation(nodes: Sequence[Examined]) -> Iterator[Finding]:
    """Nodes that hold silent leases longer."""
    for node, view in _answering(nodes):
        for name, state in (("", view.leases), (" of legacy leases", view.legacy_leases)):
            if state is not None and state.active:
                text = f"self-preservation{name} at {node.url}: {preservation_text(state)}"
                yield Finding("self-preservation", Level.WARN, text, "see whether clients reach that node")


def foreign(nodes: Sequence[Examined]) -> Iterator[Finding]:
    """Java peers and the engine."""
    seen = [node.seen for node in nodes]
    for sentence in java_troubles(seen):
        yield Finding("java peers", Level.WARN, sentence.rstrip("."))
    for sentence in engine_troubles(seen):
        yield Finding("engine", Level.FAIL, sentence.rstrip("."), "nodes serve meanwhile; see the engine's servers")


def _answering(nodes: Sequence[Examined]) -> Iterator[tuple[Examined, ClusterViewResponse]]:
    for node in nodes:
        if node.seen.view is not None:
            yield node, node.seen.view


def _pairs(nodes: Sequence[Examined]) -> Iterator[tuple[Examined, ClusterMember]]:
    """Yield each node that answers with each other node that it tells of; not those that nobody can reach."""
    silent = {node.url for node in nodes if node.seen.view is None and not untrusted(node.seen.silence)}
    for node, view in _answering(nodes):
        for member in view.members or ():
            if member.url not in silent or member.presence == "unmet":
                yield node, member


def _refused(nodes: Sequence[Examined], why: str) -> Iterator[tuple[Examined, ClusterMember]]:
    """Yield the pairs that refuse each other for a reason, each once, although both tell of it."""
    told: set[frozenset[str | None]] = set()
    for viewer, member in _pairs(nodes):
        pair = frozenset((viewer.url, member.url))
        if member.refusal == why and pair not in told:
            told.add(pair)
            yield viewer, member
