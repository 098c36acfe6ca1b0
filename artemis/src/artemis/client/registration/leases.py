"""The instances that this client keeps registered: what is known of each, and what has to be sent about it.

Pure: wishes and answers come in, decisions go out. Sending them is the business of
`artemis.client.registration.registrar`; when, of `artemis.client.registration.beats`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from artemis.client.errors import LimitError, printable
from artemis.client.names import Key, instance_key
from artemis.client.registration.cutting import cut, encoded_size
from artemis.client.registration.versions import KnownVersions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from artemis.model import FailedInstance, Instance


class LeaseState(Enum):
    """What is known about one registration.

    - ``PENDING``: not registered yet;
    - ``HELD``: the last answer of the registry accepted it;
    - ``UNCERTAIN``: the last message about it did not get through; the lease may still live;
    - ``REFUSED``: the registry refuses it; ``error`` says why;
    - ``WITHHELD``: this client keeps it out of the registry, for its health or a filter; ``error`` says why;
    - ``ENDED``: taken out by this client.
    """

    PENDING = "pending"
    HELD = "held"
    UNCERTAIN = "uncertain"
    REFUSED = "refused"
    WITHHELD = "withheld"
    ENDED = "ended"


@dataclass(slots=True, eq=False)
class Lease:
    """One instance and the state of its registration."""

    instance: Instance
    """As it ought to be in the registry."""
    key: Key
    state: LeaseState = LeaseState.PENDING
    error: str = ""
    """Why it is uncertain, refused or withheld; empty otherwise."""
    unhealthy: str = ""
    """Why its health callback keeps it out; empty: it does not."""
    filtered: str = ""
    """Why a registry filter keeps it out; empty: none does."""
    offered: bool = False
    """Whether a node may hold a lease of it."""
    accepted: Instance | None = None
    """What the registry last accepted, the object itself; None: nothing, or that is not known."""
    _sized: Instance | None = None
    _size: int = 0

    @property
    def size(self) -> int:
        """Bytes that the instance takes of a message; encoded once for each of its contents."""
        if self._sized is not self.instance:
            self._sized, self._size = self.instance, encoded_size(self.instance)
        return self._size

    @property
    def withheld(self) -> str:
        """Why it is to be kept out; empty: it is to be registered."""
        return self.unhealthy or self.filtered


@dataclass(frozen=True, slots=True)
class Refusal:
    """The registry turned an instance down, with the code and the text of its answer."""

    instance: Instance
    error_code: str
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be sent about some leases: three messages at most, each about leases of no other."""

    renew: tuple[Lease, ...]
    register: tuple[Lease, ...]
    take_out: tuple[Lease, ...]


@dataclass(frozen=True, slots=True)
class Findings:
    """What an answer means: leases to register again, refusals and acceptances that are news."""

    register_again: tuple[Lease, ...] = ()
    refused: tuple[Refusal, ...] = ()
    accepted: tuple[Lease, ...] = field(default=())


class LeaseBook:
    """All leases of one client, at most ``limit``, and the strays: ended ones that a node may still hold.

    A stray is remembered until it is known to be taken out, or until its lease must have ended by itself, ``ttl``
    seconds later; at most ``limit`` of them, the oldest make room. Times are monotonic seconds. ``versions`` are those
    that nodes have told of its instances.
    """

    def __init__(self, *, limit: int, ttl: float) -> None:
        self._limit = limit
        self._ttl = ttl
        self._leases: dict[Key, Lease] = {}
        self.versions = KnownVersions(self._leases, limit)
        self._strays: dict[Key, tuple[Instance, float]] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def add(self, instance: Instance) -> Lease:
        """Take an instance in, to be registered; ``ValueError`` if it is there already, ``LimitError`` if too many."""
        key = instance_key(instance)
        if key in self._leases:
            raise ValueError(f"this client has registered {'/'.join(key)} already")
        if len(self._leases) >= self._limit:
            raise LimitError(self._limit, f"a client registers at most max_instances={self._limit} instances")
        self._strays.pop(key, None)
        lease = self._leases[key] = Lease(instance, key)
        return lease

    def end(self, lease: Lease, now: float) -> None:
        """Let a lease go: answers that are still under way mean nothing for it any more.

        It is a stray from here on if a node may hold it.
        """
        if self._leases.get(lease.key) is not lease:
            return
        del self._leases[lease.key]
        lease.state = LeaseState.ENDED
        lease.error = ""
        if lease.offered:
            if len(self._strays) >= self._limit:
                del self._strays[next(iter(self._strays))]
            self._strays[lease.key] = (lease.instance, now + self._ttl)

    def strays(self, now: float) -> list[Instance]:
        """Return what a node may still hold and nobody wants."""
        for key in [key for key, (_, until) in self._strays.items() if until <= now]:
            del self._strays[key]
        return [instance for instance, _ in self._strays.values()]

    def is_stray(self, instance: Instance) -> bool:
        """Whether a node may hold it and nobody wants it, as of the last `strays`."""
        return instance_key(instance) in self._strays

    def cleared(self, instances: Iterable[Instance]) -> None:
        """Note that no node holds these strays any more, or none will let go of them."""
        for instance in instances:
            self._strays.pop(instance_key(instance), None)

    def leases(self) -> list[Lease]:
        """Return every lease, in the order they were taken in."""
        return list(self._leases.values())

    def batches(self, count: int, after: Lease | None = None) -> Iterator[Sequence[Lease]]:
        """Cut the leases that take part in heartbeats into messages of at most ``count``, see `cut`.

        Those that come ``after`` this one go first, so that a message that fails each time holds up no others.
        """
        beating = [lease for lease in self._leases.values() if lease.state is not LeaseState.PENDING]
        if after is not None:
            at = next((number for number, lease in enumerate(beating, 1) if lease is after), 0)
            beating = beating[at:] + beating[:at]
        return cut(beating, count, _size_of)

    def plan(self, leases: Iterable[Lease]) -> Plan:
        """Decide what to send about leases, those that have ended apart: nothing at all for what is kept out already.

        What the registry has accepted as it is now is renewed. Whatever else is to be seen is registered.
        """
        renew: list[Lease] = []
        register: list[Lease] = []
        take_out: list[Lease] = []
        for lease in self._current(leases):
            if lease.withheld:
                if lease.offered:
                    take_out.append(lease)
            elif lease.accepted is lease.instance:
                renew.append(lease)
            else:
                register.append(lease)
        return Plan(tuple(renew), tuple(register), tuple(take_out))

    def withhold(self, leases: Iterable[Lease]) -> list[Lease]:
        """Bring the states in line with what is to be kept out; return those for which this is news."""
        news: list[Lease] = []
        for lease in self._current(leases):
            if lease.withheld:
                if lease.state is not LeaseState.WITHHELD:
                    lease.state = LeaseState.WITHHELD
                    news.append(lease)
                lease.error = lease.withheld
        return news

    def offering(self, leases: Iterable[Lease]) -> None:
        """Note that a registration is about to be sent: from here on a node may hold these leases."""
        for lease in leases:
            lease.offered = True
            lease.accepted = None

    def taken_out(self, leases: Iterable[Lease]) -> None:
        """Note that the registry took withheld leases out."""
        for lease in leases:
            lease.offered = False
            lease.accepted = None

    def unheard(self, sent: Iterable[Lease], reason: str) -> None:
        """Note that a message about these leases got no answer."""
        for lease in self._current(sent):
            if lease.state in {LeaseState.HELD, LeaseState.WITHHELD} and not lease.withheld:
                lease.state = LeaseState.UNCERTAIN
                lease.error = reason

    def renewed(self, sent: Sequence[Lease], failed: Sequence[FailedInstance]) -> Findings:
        """Take in the answer to a heartbeat: leases the registry does not know are to be registered again.

        ``data-not-found`` and ``unknown`` mean that (spec 9.4); any other code is a refusal.
        """
        refusals = _by_key(failed)
        lost: list[Lease] = []
        refused: list[Refusal] = []
        accepted: list[Lease] = []
        for lease in self._current(sent):
            failure = refusals.get(lease.key)
            if failure is None:
                self._accept(lease, accepted)
            elif failure.error_code in {"data-not-found", "unknown"}:
                lost.append(lease)
            else:
                self._refuse(lease, failure, refused)
        return Findings(tuple(lost), tuple(refused), tuple(accepted))

    def registered(self, sent: Sequence[Lease], failed: Sequence[FailedInstance]) -> Findings:
        """Take in the answer to a registration: whatever it lists is refused, the rest is held."""
        refusals = _by_key(failed)
        refused: list[Refusal] = []
        accepted: list[Lease] = []
        for lease in self._current(sent):
            failure = refusals.get(lease.key)
            if failure is not None:
                lease.offered = lease.state is not LeaseState.PENDING
                self._refuse(lease, failure, refused)
                continue
            lease.state = LeaseState.HELD
            lease.error = ""
            lease.offered = True
            lease.accepted = lease.instance
            accepted.append(lease)
        return Findings(refused=tuple(refused), accepted=tuple(accepted))

    def _current(self, sent: Iterable[Lease]) -> list[Lease]:
        return [lease for lease in sent if self._leases.get(lease.key) is lease]

    @staticmethod
    def _accept(lease: Lease, news: list[Lease]) -> None:
        if lease.state is LeaseState.REFUSED:
            news.append(lease)
        lease.state = LeaseState.HELD
        lease.error = ""

    @staticmethod
    def _refuse(lease: Lease, failure: FailedInstance, news: list[Refusal]) -> None:
        code, message = printable(failure.error_code or "unknown"), printable(failure.error_message or "")
        text = f"{code}: {message}"
        if lease.state is not LeaseState.REFUSED or lease.error != text:
            news.append(Refusal(lease.instance, code, message))
        lease.state = LeaseState.REFUSED
        lease.error = text


def _size_of(lease: Lease) -> int:
    return lease.size


def _by_key(failed: Sequence[FailedInstance]) -> dict[Key, FailedInstance]:
    return {instance_key(failure.instance): failure for failure in failed if failure.instance is not None}
