"""The instances that this client keeps registered, and what each answer of the registry means for them.

Pure: answers come in, decisions go out. Sending them is the business of `artemis.client.registration.registrar`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from artemis.client.errors import LimitError
from artemis.client.names import Key, instance_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from artemis.model import FailedInstance, Instance


class LeaseState(Enum):
    """What is known about one registration.

    - ``PENDING``: not registered yet;
    - ``HELD``: the last answer of the registry accepted it;
    - ``UNCERTAIN``: the last heartbeat did not get through; the lease may still live;
    - ``REFUSED``: the registry refuses it; ``error`` says why;
    - ``ENDED``: taken out by this client.
    """

    PENDING = "pending"
    HELD = "held"
    UNCERTAIN = "uncertain"
    REFUSED = "refused"
    ENDED = "ended"


@dataclass(slots=True)
class Lease:
    """One instance and the state of its registration."""

    instance: Instance
    state: LeaseState = LeaseState.PENDING
    error: str = ""
    """Why it is uncertain or refused; empty otherwise."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The registry turned an instance down, with the code and the text of its answer."""

    instance: Instance
    error_code: str
    message: str


@dataclass(frozen=True, slots=True)
class Findings:
    """What an answer means: leases to register again, refusals and acceptances that are news."""

    register_again: tuple[Lease, ...] = ()
    refused: tuple[Refusal, ...] = ()
    accepted: tuple[Lease, ...] = field(default=())


class LeaseBook:
    """All leases of one client, at most ``limit``."""

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._leases: dict[Key, Lease] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def add(self, instance: Instance) -> Lease:
        """Take an instance in, to be registered; ``ValueError`` if it is there already, ``LimitError`` if too many."""
        key = instance_key(instance)
        if key in self._leases:
            raise ValueError(f"this client has registered {'/'.join(key)} already")
        if len(self._leases) >= self._limit:
            raise LimitError(self._limit, f"a client registers at most max_instances={self._limit} instances")
        lease = self._leases[key] = Lease(instance)
        return lease

    def end(self, lease: Lease) -> None:
        """Let a lease go: answers that are still under way mean nothing for it any more."""
        self._leases.pop(instance_key(lease.instance), None)
        lease.state = LeaseState.ENDED
        lease.error = ""

    def leases(self) -> list[Lease]:
        """Return every lease, in the order they were taken in."""
        return list(self._leases.values())

    def batches(self, size: int) -> list[list[Lease]]:
        """Cut the leases that take part in heartbeats into messages of at most ``size``."""
        beating = [lease for lease in self._leases.values() if lease.state is not LeaseState.PENDING]
        return [beating[start : start + size] for start in range(0, len(beating), size)]

    def unheard(self, sent: Iterable[Lease], reason: str) -> None:
        """Note that a message about these leases got no answer."""
        for lease in self._current(sent):
            if lease.state is LeaseState.HELD:
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
            failure = refusals.get(instance_key(lease.instance))
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
            failure = refusals.get(instance_key(lease.instance))
            if failure is None:
                lease.state = LeaseState.HELD
                lease.error = ""
                accepted.append(lease)
            else:
                self._refuse(lease, failure, refused)
        return Findings(refused=tuple(refused), accepted=tuple(accepted))

    def _current(self, sent: Iterable[Lease]) -> list[Lease]:
        return [lease for lease in sent if self._leases.get(instance_key(lease.instance)) is lease]

    @staticmethod
    def _accept(lease: Lease, news: list[Lease]) -> None:
        if lease.state is LeaseState.REFUSED:
            news.append(lease)
        lease.state = LeaseState.HELD
        lease.error = ""

    @staticmethod
    def _refuse(lease: Lease, failure: FailedInstance, news: list[Refusal]) -> None:
        code, message = failure.error_code or "unknown", failure.error_message or ""
        text = f"{code}: {message}"
        if lease.state is not LeaseState.REFUSED or lease.error != text:
            news.append(Refusal(lease.instance, code, message))
        lease.state = LeaseState.REFUSED
        lease.error = text


def _by_key(failed: Sequence[FailedInstance]) -> dict[Key, FailedInstance]:
    return {instance_key(failure.instance): failure for failure in failed if failure.instance is not None}
