"""What this client knows about services: for each one in use what was shown last, and how that came to be.

Pure: answers, pushes and the time come in, what looks different goes out. Looking services up is the business of
`artemis.client.discovery.lookups`, following pushes that of `following`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from artemis.client.discovery.changes import Touched
from artemis.client.errors import LimitError
from artemis.client.names import check_text, instance_key, service_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artemis.client.discovery.guard import Guard
    from artemis.client.links.link import Push
    from artemis.client.names import Key
    from artemis.model import Instance, RouteRule, Service

Source = Literal["registry", "disk"]


@dataclass(frozen=True, slots=True)
class ServiceView:
    """A service as the registry last showed it.

    - ``instances``: the live ones, in the registry's order; what came since the last whole answer is at the end.
    - ``age``: the view is what the registry showed at most so many seconds ago.
    - ``missing_nodes``: how many nodes of the registry that leaves out, as the node that answered cannot reach them;
      what such a node accepts on its side of a partition is not in the view, however young that is.
    - ``held``: those of ``instances`` that the registry does not show any more without having told that they went;
      ``doubt`` says why they are kept, empty if there are none. See ``guard_share`` of `ClientOptions`.
    - ``source``: ``registry``, or ``disk`` if the registry has not answered yet and the cache directory had an answer.
    - ``cursor``: the position of the data, as in ``Artemis-Cursor`` (design 6); None where the node does not say.
    - ``route_rules``, ``logic_instances``: as the last whole answer had them (spec 5.3).

    Two views with the same ``instances`` object show the same instances.
    """

    service_id: str
    instances: tuple[Instance, ...]
    age: float
    held: tuple[Instance, ...] = ()
    doubt: str = ""
    source: Source = "registry"
    cursor: str | None = None
    route_rules: tuple[RouteRule, ...] = ()
    logic_instances: tuple[Instance, ...] = ()
    missing_nodes: int = 0


@dataclass(frozen=True, slots=True)
class Applied:
    """What an answer, a push or the time did to a service.

    ``doubted`` are instances that the guard keeps from now on; ``ended`` is None unless it keeps nothing any more, and
    then holds those that the registry never showed again.
    """

    touched: tuple[Touched, ...] = ()
    doubted: tuple[Instance, ...] = ()
    ended: tuple[Instance, ...] | None = None


NOTHING = Applied()


class Followed:
    """One service in use. Written by `artemis.client.discovery.views` alone, but for the marks of its loops."""

    __slots__ = (
        "__weakref__",
        "_doubt",
        "_dropped",
        "_held",
        "_instances",
        "_most",
        "_most_at",
        "_shown",
        "asked",
        "behind",
        "confirmed",
        "cursor",
        "dated",
        "fed",
        "key",
        "logic_instances",
        "missing_nodes",
        "outdated",
        "pushed_by",
        "pushes",
        "route_rules",
        "service_id",
        "source",
        "unsure",
        "used",
        "waiting",
        "watchers",
    )

    def __init__(self, service_id: str, used: float) -> None:
        self.service_id = service_id
        self.key = service_key(service_id)
        self.used = used
        self.watchers = 0
        self.waiting = 0
        """How many wait for the first answer."""
        self.source: Source | None = None
        """None before the first answer."""
        self.route_rules: tuple[RouteRule, ...] = ()
        self.logic_instances: tuple[Instance, ...] = ()
        self.cursor: str | None = None
        """The position up to which everything is known; None if nobody said."""
        self.confirmed = 0.0
        """The second as of which what is shown was right."""
        self.missing_nodes = 0
        """How many nodes of the registry whoever confirmed that lacked."""
        self.asked = float("-inf")
        """When the lookup was sent whose answer is the basis of what is shown."""
        self.pushes = 0
        """Grows with each push that changes something."""
        self.behind = False
        """Something is known to be missing: it has to be looked up."""
        self.outdated: float | None = None
        """Since when nodes show an older state than this one; None while they do not."""
        self.unsure = False
        """A push was left out, so that those that follow it cannot be taken in before a whole answer."""
        self.fed = False
        """A node pushes what changes; there is no need to poll."""
        self.pushed_by = ""
        """The URL of the node whose pushes are taken in, from when it was asked for them; empty if there is none."""
        self.dated = False
        """That node also says as of when its pushes are complete; a lookup does not, as older ones may be under way."""
        self._shown: dict[Key, Instance] = {}
        self._held: dict[Key, float] = {}
        self._most = 0
        """The most instances of the last ``guard_hold`` seconds, without those that were told to have gone."""
        self._most_at = float("-inf")
        self._doubt = ""
        self._dropped: list[Instance] = []
        self._instances: tuple[Instance, ...] | None = None

    @property
    def instances(self) -> tuple[Instance, ...] | None:
        """What is shown, None before the first answer; the same object until something changes."""
        if self._instances is None and self.source is not None:
            self._instances = tuple(self._shown.values())
        return self._instances

    @property
    def held_until(self) -> float | None:
        """When `expire` has something to do next, None while the guard keeps nothing."""
        return min(self._held.values(), default=None)

    def view(self, now: float) -> ServiceView | None:
        """Return what is known at ``now`` (seconds), or None before the first answer."""
        instances = self.instances
        if instances is None or self.source is None:
            return None
        held = tuple(self._shown[key] for key in self._held) if self._held else ()
        return ServiceView(
            self.service_id,
            instances,
            max(0.0, now - self.confirmed),
            held,
            self._doubt,
            self.source,
            self.cursor,
            self.route_rules,
            self.logic_instances,
            self.missing_nodes,
        )

    def restore(self, service: Service, confirmed: float) -> Applied:
        """Take in what the disk has, right as of ``confirmed``; nothing if the registry has answered."""
        if self.source is not None:
            return NOTHING
        self.source = "disk"
        self.confirmed = confirmed
        self._take_rules(service)
        return Applied(self._show(keyed(service.instances or ())))

    def answer(
        self,
        service: Service,
        guard: Guard,
        *,
        asked: float,
        age: float,
        now: float,
        missing: int = 0,
        reported: dict[Key, Instance] | None = None,
    ) -> Applied:
        """Take in a whole answer to a lookup sent at ``asked``, whose data was ``age`` seconds old at most, but for
        ``missing`` nodes.

        ``reported`` are its instances by their identities, for whoever has prepared that (`keyed`).
        Answers have to be taken in in the order of their questions.
        """
        self.asked = asked
        self._take_rules(service)
        applied = self._take_whole(keyed(service.instances or ()) if reported is None else reported, guard, now)
        self.source = "registry"
        if not self.dated:
            self.confirmed = asked - age
            self.missing_nodes = missing
        return applied

    def push(self, push: Push, guard: Guard, now: float) -> Applied:
        """Take in what a node pushes; once more changes nothing. What it cannot say makes the service `behind`."""
        if self.source is None:
            return NOTHING
        if push.changes or push.full_sync:
            self.pushes += 1
        reload = any(change.change_type not in _KINDS for change in push.changes)
        if reload or push.full_sync:
            # A full sync says nothing of route rules.
            self.behind = True
        if push.full_sync and not reload:
            whole = keyed(change.instance for change in push.changes if change.change_type != "delete")
            applied = self._take_whole(whole, guard, now, broken=self.cursor is not None)
        else:
            applied = self._take_changes(push)
        # This holds while it is behind, too: a lookup that is sent after the push shows what the push could not say.
        self.cursor = push.cursor or self.cursor
        if push.age is not None and not self.behind:
            self.confirmed = now - push.age
            self.missing_nodes = push.missing
        return applied

    def expire(self, now: float) -> Applied:
        """Let go of what the guard kept long enough."""
        late = [key for key, until in self._held.items() if until <= now]
        touched: list[Touched] = []
        for key in late:
            del self._held[key]
            self._remove(key, touched)
            self._dropped.append(touched[-1].before)  # type: ignore[arg-type]  # what is held is shown
        return Applied(tuple(touched), (), self._end_of_doubt() if late else None)

    def _take_rules(self, service: Service) -> None:
        self.route_rules = tuple(rule for rule in service.route_rules or () if rule is not None)
        self.logic_instances = tuple(one for one in service.logic_instances or () if one is not None)

    def _take_whole(self, reported: dict[Key, Instance], guard: Guard, now: float, *, broken: bool = False) -> Applied:
        before = self._held
        if len(self._shown) >= self._most or now > self._most_at + guard.hold:
            self._most, self._most_at = len(self._shown), now
        stays = guard.held(self._shown, reported, before, now, most=self._most, broken=broken)
        new = tuple(self._shown[key] for key in stays if key not in before)
        if new:
            kept = sum(key in reported for key in self._shown)
            self._doubt = guard.reason(len(self._shown), kept, now - self.confirmed)
        self._dropped += (self._shown[key] for key in before if key not in stays and key not in reported)
        whole = reported | {key: self._shown[key] for key in stays}
        self._held = stays
        touched = self._show(whole)
        return Applied(touched, new, self._end_of_doubt() if before else None)

    def _take_changes(self, push: Push) -> Applied:
        touched: list[Touched] = []
        doubted = bool(self._held)
        for change in push.changes:
            key = instance_key(change.instance)
            if change.change_type == "delete":
                if self._held.pop(key, None) is not None:
                    self._dropped.append(self._shown[key])
                self._remove(key, touched)
            elif change.change_type in _KINDS:
                self._held.pop(key, None)
                old = self._shown.get(key)
                if old != change.instance:
                    self._shown[key] = change.instance
                    self._instances = None
                    touched.append(Touched(key, old, change.instance))
        return Applied(tuple(touched), (), self._end_of_doubt() if doubted else None)

    def _remove(self, key: Key, touched: list[Touched]) -> None:
        old = self._shown.pop(key, None)
        if old is not None:
            self._most = max(0, self._most - 1)
            self._instances = None
            touched.append(Touched(key, old, None))

    def _show(self, whole: dict[Key, Instance]) -> tuple[Touched, ...]:
        old = self._shown
        touched = [Touched(key, one, None) for key, one in old.items() if key not in whole]
        touched += [Touched(key, old.get(key), one) for key, one in whole.items() if old.get(key) != one]
        if touched or list(old) != list(whole):
            self._shown = whole
            self._instances = None
        return tuple(touched)

    def _end_of_doubt(self) -> tuple[Instance, ...] | None:
        if self._held:
            return None
        dropped, self._dropped, self._doubt = tuple(self._dropped), [], ""
        return dropped


_KINDS = frozenset({"new", "change", "delete"})
"""What a push can say of an instance; anything else, ``reload`` above all, asks for a lookup."""


def keyed(instances: Iterable[Instance | None]) -> dict[Key, Instance]:
    """Return instances by what makes each the same one."""
    return {instance_key(instance): instance for instance in instances if instance is not None}


class ServiceBook:
    """The services in use, at most ``limit``: watched ones stay, of the others the one unused for longest goes."""

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._followed: dict[str, Followed] = {}

    def __len__(self) -> int:
        return len(self._followed)

    def use(self, service_id: str, now: float) -> Followed:
        """Return the entry of a service and mark it used; the letter case of the id does not matter.

        Raises ``ValueError`` for a blank id, ``TypeError`` for one that is no text, and ``LimitError`` if all places
        are taken by watched services.
        """
        name = check_text("service_id", service_id)
        key = service_key(name)
        entry = self._followed.get(key)
        if entry is None:
            self._make_room()
            entry = self._followed[key] = Followed(name, now)
        entry.used = now
        return entry

    def forget(self, entry: Followed) -> None:
        """Let go of a service that was never shown and that nobody follows or waits for."""
        if entry.source is None and not entry.watchers and not entry.waiting and self.get(entry.key) is entry:
            del self._followed[entry.key]

    def get(self, key: str) -> Followed | None:
        """Return the entry of a service in use, by its id in lower case."""
        return self._followed.get(key)

    def entries(self) -> list[Followed]:
        """Return all that are in use."""
        return list(self._followed.values())

    def without_answer(self) -> list[Followed]:
        """Return those that the registry has not shown yet."""
        return [entry for entry in self._followed.values() if entry.source != "registry"]

    def outdated(self, since: float) -> list[Followed]:
        """Return those that no node pushes, and of which nodes have shown an older state from ``since`` on or later."""
        entries = self._followed.values()
        return [entry for entry in entries if entry.outdated is not None and entry.outdated >= since and not entry.fed]

    def to_poll(self) -> list[Followed]:
        """Return those that no node pushes."""
        return [entry for entry in self._followed.values() if not entry.fed]

    def full(self) -> LimitError:
        """Return what to raise where all places are taken by watched services."""
        return LimitError(self._limit, f"a client watches at most max_services={self._limit} services")

    def _make_room(self) -> None:
        if len(self._followed) < self._limit:
            return
        unwatched = [item for item in self._followed.items() if not item[1].watchers]
        if not unwatched:
            raise self.full()
        key, _ = min(unwatched, key=lambda item: item[1].used)
        del self._followed[key]
