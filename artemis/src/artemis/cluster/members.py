"""Who is in the cluster, and what is known of each: configured nodes, and nodes that announced themselves (design 4.1).

Members are known by node id as soon as they were met; until then a configured address is all there is of one. What is
thought of a member decides whom clients are sent to and how old answers are; it never decides what is replicated, and
not who expires an instance.
Pure: milliseconds of the own monotonic clock and of the own wall clock come in. Not here: where the list of addresses
comes from (`sources`), what is thought of one node (`member`), connections (`mesh`), and the own start (`joining`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

import msgspec

from artemis.cluster.addresses import PeerUrl
from artemis.cluster.configured import ENGINE, MAX_MEMBERS, Address, Configured, Place
from artemis.cluster.machines import machine_of, together
from artemis.cluster.member import Announced, Member
from artemis.cluster.member_view import MemberView, nobody_at, view_of
from artemis.cluster.reasons import MOST_NAMED, seen_from, shared
from artemis.cluster.skew import Clocks
from artemis.cluster.standing import Standing
from artemis.cluster.suspicion import Patience, Presence
from artemis.model.nodes import DOWN, UNKNOWN

__all__ = ["Announced", "MemberTimings", "Members"]


class MemberTimings(msgspec.Struct, frozen=True, kw_only=True):
    """Durations in milliseconds. `patience` with silent nodes; `forget`: silence after which a member that is not
    configured is none any more, as long as records remember it; `skew`: by how much clocks may differ."""

    patience: Patience = Patience()
    forget: int = 600_000
    skew: int = 2_500


class Members:
    """The other nodes of the cluster. Owned by the assembly, used from one event loop.

    Tell it of what happens on links, call `tick` several times a second. `generation` grows whenever what `ids` or the
    views say may have changed, apart from times. It knows `most` others.
    `siblings` are where the other processes of this machine are dialled, which are no nodes to the outside.
    """

    def __init__(
        self, me: Announced, timings: MemberTimings, most: int = MAX_MEMBERS, siblings: Collection[PeerUrl] = ()
    ) -> None:
        self.me = me
        self._siblings = frozenset(siblings)
        self._machine = me.url, machine_of(me.node)
        self._most = most
        self.clocks = Clocks(timings.skew, me.node)
        self.generation = 0
        self._timings = timings
        self._configured = Configured(me.url)
        self._members: dict[str, Member] = {}
        self._wall = 0
        self._deaf = (0, 0)

    # -- who is a member

    def configure(self, urls: Iterable[PeerUrl], now: int) -> list[str]:
        """Let these be the configured members from now on, none if there are none (defect 11).

        The own address is left out. Returns sentences on addresses that cannot be members.
        """
        refused = self._configured.configure(urls, self._announcing, now)
        self.generation += 1
        return refused

    def retime(self, timings: MemberTimings) -> None:
        """Let other times hold from now on."""
        self._timings = timings
        self.clocks.limit = timings.skew
        for member in self._members.values():
            member.suspicion.patience = timings.patience

    @property
    def addresses(self) -> list[PeerUrl]:
        """The configured addresses, without those that turned out to be this node's own."""
        return [address.url for address in self._configured]

    @property
    def unlisted(self) -> dict[str, str]:
        """What is wrong with the sources of the list of nodes, by what they are called; empty where nothing is."""
        return self._configured.unlisted

    @property
    def ids(self) -> frozenset[str]:
        """The ids of all members and the own one: who takes turns in expiring instances, whatever is thought of it."""
        return frozenset([self.me.node, *self._members])

    def is_me(self, url: PeerUrl) -> None:
        """Take note that an address leads to this node itself: it is no peer (defect 12)."""
        if self._configured.is_own(url.place):
            self.generation += 1

    def same(self, url: PeerUrl, node: str) -> None:
        """Take note that a configured address is another name of a member."""
        address = self._configured.at(url.place)
        if address is not None and node in self._members and node not in address.nodes:
            address.meet(node)
            self.generation += 1

    def sent_on(self, url: PeerUrl, urls: Collection[PeerUrl], now: int) -> None:
        """Take note of where links with the processes of a machine are made that is configured: those that were met
        elsewhere it has no more."""
        address = self._configured.is_machine(url.place, urls, now)
        if address is None:
            return
        for node, member in self._members.items():
            # Who was met before it was known that a process is there: it dialled us, or was told of by others.
            process = self._configured.at(member.announced.dialled_at.place)
            if process is not None and process.front is address and node not in process.nodes:
                process.meet(node)
                self.generation += 1
        there = {node for node in address.nodes if self._members[node].announced.dialled_at in urls}
        if there and there != address.nodes:
            address.nodes = there
            self.generation += 1

    # -- what happens on links

    def met(self, announced: Announced, now: int, dialled: PeerUrl | None = None) -> str:
        """Take note of a handshake that went well, over a link that was `dialled` or, None, accepted.

        Returns why this node cannot be a member, empty when it is one.
        """
        member = self._members.get(announced.node)
        if member is None:
            if len(self._members) >= self._most and not self._make_room():
                return f"a node knows {self._most} others at most, and has met as many"
            member = self._members[announced.node] = Member(announced, self._timings.patience, now)
        elif announced.epoch != member.announced.epoch:
            # Also an earlier one: of two that are there at once the mesh keeps the later, so that one is gone. The node
            # was put back, or its clock, and takes a later epoch as soon as an exchange tells it of that (`replica`).
            if member.left:
                member.suspicion.renew(now)
            member.left = False
            member.standing = Standing()
        member.announced = announced
        member.suspicion.hear(now)
        if dialled is None:
            member.ended = ""
        else:
            member.unreached, member.dialled = "", dialled
        for url in {announced.url, announced.dialled_at} if dialled is None else {dialled}:
            address = self._configured.at(url.place)
            if address is not None:
                address.meet(announced.node)
        self.generation += 1
        return ""

    def heard(self, node: str, at: int) -> None:
        """Take note of a sign of life. Cheap."""
        member = self._members.get(node)
        if member is not None and not member.left:
            member.suspicion.hear(at)

    def told(self, node: str, standing: Standing, now: int) -> None:
        """Take note of what a node says of itself, which is a sign of life as well."""
        member = self._members.get(node)
        if member is None or member.left:
            return
        member.suspicion.hear(now)
        if standing != member.standing:
            member.standing = standing
            self.generation += 1

    def farewell(self, node: str, epoch: int, now: int, *, leaving: bool) -> None:
        """A node ends in this life of it: it is down at once, and none of its members when it is `leaving` for good."""
        member = self._members.get(node)
        if member is None or epoch < member.announced.epoch:
            return
        if leaving:
            self._configured.depart(node, now)
            self._drop(node)
        else:
            member.left = True
            member.suspicion.since = now
        self.generation += 1

    def lost(self, node: str, now: int, why: str = "") -> None:
        """A link of a node ended without a farewell: it is suspected at once."""
        member = self._members.get(node)
        if member is not None and not member.left:
            member.suspicion.lose(now)
            member.ended = why
            self.generation += 1

    def trouble(
        self, url: PeerUrl, why: str, *, clock: bool = False, nobody: bool = False, origin: PeerUrl | None = None
    ) -> None:
        """No node could be met at an address that was dialled, and why; `nobody` says that none is there, `clock` that
        one is there whose clock differs.

        `origin` is the configured address of a machine that named this one for one of its processes.
        """
        why = seen_from(self.me.node, why)
        address, front = self._configured.at(url.place), None if origin is None else self._configured.at(origin.place)
        for each in (address, front):
            if each is not None and (each is address or not each.nodes):
                each.trouble, each.clock = why, clock
                if not nobody:
                    each.left = None
        for node, member in self._members.items():
            announced, dialled = member.announced, member.dialled
            there = url in (announced.dialled_at, dialled) or url.place == announced.dialled_at.place
            # What befalls a machine's own address says nothing of links with its processes.
            if there or (address is not None and node in address.nodes and announced.link is None):
                member.unreached = why
        self.generation += 1

    def resume(self, now: int, pause: int) -> None:
        """This node itself stood still for `pause` until now: nobody is judged for the time in which it heard nobody.

        Who was not there before may have come meanwhile, so the pause counts as absence from such nodes for as long as
        the silence of others is borne.
        """
        self._deaf = (now - pause, now + self._timings.patience.down)
        for member in self._members.values():
            member.suspicion.resume(now, pause)
        self.generation += 1

    def hold(self, now: int, wall: int) -> None:
        """Let time pass in which nobody can be heard, for a reason that is not theirs: nobody is judged for it."""
        self._wall = wall - now

    def tick(self, now: int, wall: int) -> list[str]:
        """Let time pass: suspect who is silent, forget announced members that were silent for too long.

        Returns the nodes of which something else is thought now.
        """
        changed = []
        self._wall = wall - now
        configured = self._configured.nodes
        for node, member in list(self._members.items()):
            if member.suspicion.judge(now) and not member.left:
                self.generation += 1
                changed.append(node)
            if node not in configured and member.suspicion.silent(now) > self._timings.forget:
                self._drop(node)
                self.generation += 1
        return [node for node in changed if node in self._members]

    # -- what is thought of them

    def oldest_contact(self, current: Mapping[str, int], now: int) -> int | None:
        """Return until when all is known here that other nodes have accepted; None when there is none that counts.

        Those count that are up or suspected and have not said that they take no registrations, those that are refused
        for their clock while nobody can tell whose is wrong, and for as long as a silent one would, addresses where
        nobody was met yet. `current` says when nodes were heard last with all known here that they had accepted. Of one
        with which that was never so, all that it has accepted in its life may be missing; its epoch tells when that
        began, unless it is still to come.
        """
        found = [
            current[node] if node in current else self._begun(member.announced.epoch, now)
            for node, member in self._members.items()
            if member.serves_registry and not member.left and self._counts(node, member, now)
        ]
        lately = now - self._timings.patience.down
        unmet = [*self._configured.unmet, *self._configured.unmet_processes]
        missed = (each.since for each in unmet if each.since > lately or (each.clock and not self.clocks.agreed))
        paused, until = self._deaf
        if now < until and (unmet or self._away(now)):
            found.append(paused)
        return min([*found, *missed], default=None)

    def views(self, now: int) -> Iterator[MemberView]:
        """Show all members: those that were met, then configured addresses where nobody was."""
        for node in self._members:
            yield self.view(node, now)
        for address in self._configured.unmet:
            why = address.trouble or "it was not reached yet"
            yield nobody_at(address, presence="unmet", status=UNKNOWN, since=now - address.since, why=why)
        for address, left in self._configured.departed:
            yield nobody_at(address, presence="departed", status=DOWN, since=now - left, why="it left for good")

    def nodes(self, now: int) -> Iterator[MemberView]:
        """Show all other nodes as clients and operators know them: those of the processes of a machine with several
        that serves best, and none of the siblings of this one."""
        found: dict[tuple[PeerUrl, str], list[MemberView]] = {}
        for view in self.views(now):
            if view.url in self._siblings:
                continue
            found.setdefault((view.url, machine_of(view.node)), []).append(view)
        found.pop(self._machine, None)
        unmet = self._configured.unmet_processes
        for views in found.values():
            known = {view.node for view in views}
            lost = [each for each in unmet if each.front is not None and not known.isdisjoint(each.front.nodes)]
            yield together(views, _troubles(lost))

    def others(self, now: int) -> Iterator[MemberView]:
        """Show all processes of other nodes that were met."""
        for view in self.views(now):
            if view.node and (view.url, machine_of(view.node)) != self._machine:
                yield view

    def view(self, node: str, now: int) -> MemberView:
        """Show one member. Raises KeyError for an unknown one."""
        return view_of(
            node,
            self._members[node],
            configured=node in self._configured.nodes,
            skew=self.clocks.skew(node, now, now + self._wall),
            now=now,
        )

    @property
    def unmet(self) -> list[str]:
        """The configured addresses where nobody was met, with why in parentheses if that is known: one entry for all
        that share a reason, which names the first few."""
        return shared(_troubles([*self._configured.unmet, *self._configured.unmet_processes]), MOST_NAMED)

    def missing(self, now: int) -> list[str]:
        """Return without whom this node serves, with why in parentheses: nodes that ought to be there and were not met
        or are down without a farewell, those that share a reason together, and nodes that a source cannot name, or the
        engine itself."""
        gone = ((str(view.url), view.why) for view in self.nodes(now) if view.presence == Presence.GONE.value)
        sources = (
            f"{'' if source.startswith(ENGINE) else 'nodes of '}{source} ({why})"
            for source, why in self.unlisted.items()
            if why
        )
        return [*shared([*self._unmet, *gone]), *sources]

    def lacking(self) -> int:
        """Count the nodes that ought to be there and were not met or are down without a farewell; where it knows nobody
        because no source can say who there is, that is one."""
        gone, there = set[tuple[PeerUrl, str]](), {self._machine}
        for node, member in self._members.items():
            lost = member.suspicion.presence is Presence.GONE and not member.left
            (gone if lost else there).add((member.announced.url, machine_of(node)))
        unknown = not self._members and not len(self._configured) and any(self.unlisted.values())
        return len(gone - there) + len(self._unmet) + unknown

    def present(self) -> Iterator[tuple[str, str, str]]:
        """Yield node id, zone and status of those that are there, believed or not yet."""
        for node, member in self._members.items():
            if not member.left and member.suspicion.presence in {Presence.STEADY, Presence.RETURNING}:
                yield node, member.announced.zone, member.standing.status

    @property
    def _unmet(self) -> list[tuple[str, str]]:
        return _troubles(each for each in self._configured.unmet if each.url not in self._siblings)

    def _make_room(self) -> bool:
        """Forget the announced member that has been gone for longest; False when none is."""
        configured = self._configured.nodes
        gone = [
            (member.suspicion.heard, node)
            for node, member in self._members.items()
            if (member.left or member.suspicion.presence is Presence.GONE) and node not in configured
        ]
        if gone:
            self._drop(min(gone)[1])
        return bool(gone)

    def _begun(self, epoch: int, now: int) -> int:
        """Return since when a node may have accepted something, by its epoch; that of a clock that was ahead tells
        nothing, so it is since ever."""
        begun = epoch - self._wall
        return begun if begun <= now else -self._wall

    def _counts(self, node: str, member: Member, now: int) -> bool:
        gone = member.suspicion.presence is Presence.GONE
        return not gone or self.clocks.doubtful(node, now, now + self._wall)

    def _away(self, now: int) -> bool:
        """Tell whether a node that was met is taken for down."""
        return any(member.left or not self._counts(node, member, now) for node, member in self._members.items())

    def _announcing(self, place: Place) -> set[str]:
        """Return the members that announce a place."""
        return {node for node, member in self._members.items() if member.announced.url.place == place}

    def _drop(self, node: str) -> None:
        self._members.pop(node, None)
        self.clocks.forget(node)
        self._configured.forget(node)


def _troubles(addresses: Iterable[Address]) -> list[tuple[str, str]]:
    return [(str(each.url), each.trouble) for each in addresses]
