"""What a user holds in his hand: one or several instances in the registry, for as long as a block lasts.

Not here: keeping them there, see `artemis.client.registration.registrar`.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from typing import TYPE_CHECKING, Final, Self, TypeVar

import msgspec

from artemis.client.errors import ArtemisError, UnreachableError
from artemis.client.events import HealthChanged, HeartbeatFailed, RegistrationRefused
from artemis.client.names import check_text, instance_key
from artemis.client.registration.instances import check_metadata
from artemis.client.registration.leases import LeaseState
from artemis.client.registration.origin import SLICE
from artemis.client.trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from types import TracebackType

    from artemis.client.background import Background
    from artemis.client.events import EventFeed
    from artemis.client.registration.health import HealthProbe
    from artemis.client.registration.leases import Lease
    from artemis.client.registration.origin import Origin
    from artemis.client.registration.registrar import Registrar
    from artemis.model import Instance

T = TypeVar("T")

logger = logging.getLogger("artemis.client")

WORST_FIRST: Final = (
    LeaseState.REFUSED,
    LeaseState.WITHHELD,
    LeaseState.UNCERTAIN,
    LeaseState.PENDING,
    LeaseState.HELD,
    LeaseState.ENDED,
)


class Registration:
    """Instances of this client in the registry, from entering the block until leaving it; `client.registered` makes it.

    Entering registers at once and raises if that fails (``UnreachableError``, ``RegistrationRefusedError`` naming who
    was refused, ``LimitError``; ``ValueError`` if this client has registered the same instance already): then none of
    the instances stays. From then on the client renews the leases; trouble shows in ``state`` and ``error`` and as
    events of the client. Leaving unregisters, and waits until the callers that the node pushes to have been told, at
    most ``drain_timeout`` seconds. Can be entered once; one that is dropped before that warns (``ResourceWarning``).
    Methods may be called concurrently, and cancelled.

    One that is not ``required`` raises neither ``UnreachableError`` nor ``RegistrationRefusedError``: entering waits
    ``attempt_timeout`` seconds at most, ``state`` and events tell, and each heartbeat tries again. So does one whose
    address cannot be found yet, as with a registry whose name nobody knows; finding it takes as long again at most.

    With a health callback, entering asks it first, for ``attempt_timeout`` seconds at most. What is not healthy then is
    not registered and entering succeeds all the same, with the state ``WITHHELD``: it is registered as soon as it is.
    """

    def __init__(
        self,
        registrar: Registrar,
        instances: Sequence[Instance],
        *,
        origin: Origin,
        feed: EventFeed,
        background: Background,
        probe: HealthProbe | None,
        health_interval: float,
        required: bool,
    ) -> None:
        self._registrar = registrar
        self._origin = origin
        self._feed = feed
        self._background = background
        self._probe = probe
        self._health_interval = health_interval
        self._required = required
        self._given: tuple[Instance, ...] = tuple(instances)
        self._leases: list[Lease] | None = None
        self._entered = False
        self._expected = True
        self._left = asyncio.Event()
        self._handed_over = False
        self._lacking: tuple[LeaseState, Exception | None] | None = None
        """What is known while there are no leases yet, as the own address is not known."""

    def __del__(self) -> None:
        if self._expected:
            said = f"{self!r} was never entered; use `async with client.registered(...)`, or `with` of artemis.sync"
            warnings.warn(said, ResourceWarning, stacklevel=2, source=self)

    def __repr__(self) -> str:
        first, others = self.instance, len(self._given) - 1
        name = f"{first.service_id}/{first.instance_id or f'port {first.port}'}"
        return f"<Registration of {name}{f' and {others} more' if others else ''}: {self.state.value}>"

    @property
    def instance(self) -> Instance:
        """The instance, or the first of several, as registered; before entering, what takes an address is missing."""
        return self._given[0] if self._leases is None else self._leases[0].instance

    @property
    def instances(self) -> tuple[Instance, ...]:
        """All instances, as ``instance``, in the order given."""
        return self._given if self._leases is None else tuple(lease.instance for lease in self._leases)

    @property
    def state(self) -> LeaseState:
        """What is known about the registration; of several instances, the worst."""
        lease = self._worst()
        if lease is not None:
            return lease.state
        return LeaseState.PENDING if self._lacking is None else self._lacking[0]

    @property
    def error(self) -> str:
        """Why the state is uncertain, refused or withheld; empty otherwise."""
        lease = self._worst()
        if lease is not None:
            return lease.error
        error = None if self._lacking is None else self._lacking[1]
        return "" if error is None else str(error)

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("a registration can be entered once; call client.registered(...) again")
        self._entered = True
        self._expected = False
        try:
            await self._begin()
        except UnreachableError as error:
            if self._required:
                raise
            # Without an address there is nothing to register yet, and nothing that heartbeats could try again.
            self._lack(error)
            drains = self._registrar.drains
            self._background.ensure(f"address of {id(self)}", lambda: self._begin_later(drains))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.unregister()

    async def unregister(self) -> None:
        """Take the instances out now, and wait for the callers to have been told; repeating it does nothing.

        Never raises for a registry that does not answer (within ``close_timeout``): the leases end by themselves then,
        and the client's events ``Unregistered`` carry the error.
        """
        self._expected = False
        self._end_lack()
        if self._leases is not None:
            self._left.set()
            await self._registrar.end(self._leases)

    def hand_over(self) -> None:
        """Renew the instances no longer, and leave them in the registry: another process renews them from here on."""
        self._expected = False
        self._handed_over = True
        self._end_lack()
        if self._leases is not None:
            self._left.set()
            self._registrar.hand_over(self._leases)

    async def take_out(self) -> None:
        """Do what `unregister` does, also if this was never entered: with what another process has left to this one.

        Nothing is registered for that, and what is not there counts as taken out. Raises ``UnreachableError`` if an
        address is missing and cannot be found, ``ValueError`` if this client has registered the same instance.
        """
        self._entered, self._expected = True, False
        self._end_lack()
        if self._leases is None:
            self._given = tuple(await self._origin.whole(self._given))
            self._leases = self._registrar.take_over(self._given)
        await self.unregister()

    async def update(self, *instances: Instance) -> None:
        """Register with other contents: each of ``instances`` replaces the one with the same identity.

        Missing values are completed as by ``client.registered``. Raises ``ValueError`` if there is none of the same
        identity, ``RegistrationRefusedError`` (all stay as they were), ``UnreachableError`` (the next heartbeat brings
        the new contents), and ``RuntimeError`` outside of the block. What is withheld changes for when it is back.
        """
        held = {lease.key: lease for lease in self._held()}
        changes: list[tuple[Lease, Instance]] = []
        async for instance in _in_slices(await self._origin.whole(instances)):
            lease = held.get(instance_key(instance))
            if lease is None:
                key = "/".join(instance_key(instance))
                raise ValueError(f"{key} is not registered here, and an identity cannot change")
            changes.append((lease, instance))
        await self._registrar.change(changes)

    async def set_status(self, status: str) -> None:
        """Give all instances another ``status``, free text as ``up``; raises what `update` raises."""
        status = check_text("status", status)
        await self._replace(lambda instance: msgspec.structs.replace(instance, status=status))

    async def set_metadata(self, metadata: Mapping[str, str | None] | None) -> None:
        """Give all instances other ``metadata``, in place of what they had; raises what `update` raises."""
        fresh = None if metadata is None else dict(metadata)
        check_metadata(fresh)
        await self._replace(lambda instance: msgspec.structs.replace(instance, metadata=fresh))

    async def _replace(self, replaced: Callable[[Instance], Instance]) -> None:
        leases = self._held()
        await self._registrar.change([(lease, replaced(lease.instance)) async for lease in _in_slices(leases)])

    async def _begin(self) -> None:
        self._given = tuple(await self._origin.whole(self._given))
        if self._left.is_set():
            return
        unhealthy = "" if self._probe is None else await self._ask(self._probe, "")
        begin = self._registrar.begin if self._required else self._registrar.begin_sometime
        self._leases = await begin(self._given, unhealthy=unhealthy)
        if self._probe is not None:
            self._background.ensure(f"health of {id(self)}", self._watch_health)

    async def _begin_later(self, drains: int) -> None:
        """Begin as soon as there is an address, unless this is left before, or drained with everything else."""
        trouble = Trouble("finding the own address", logger)
        while not await self._left_within(self._registrar.retry()) and self._registrar.drains == drains:
            try:
                await self._begin()
            except UnreachableError as error:
                self._lack(error)
                trouble.met(error)
            except (ArtemisError, ValueError) as error:
                self._lacking = LeaseState.REFUSED, error
                self._feed.publish(RegistrationRefused(self.instance, type(error).__name__, str(error)))
                logger.warning("%r is not registered: %s", self, error)
                return
            else:
                trouble.over()
                break
        if self._left.is_set() and self._leases is not None:
            # It was left meanwhile.
            if self._handed_over:
                self._registrar.hand_over(self._leases)
            else:
                await self._registrar.end(self._leases)

    def _lack(self, error: UnreachableError) -> None:
        if not self._left.is_set():
            self._lacking = LeaseState.UNCERTAIN, error
            self._feed.publish(HeartbeatFailed(error))

    def _end_lack(self) -> None:
        if self._lacking is not None:
            self._lacking = LeaseState.ENDED, None
            self._left.set()

    def _held(self) -> list[Lease]:
        if self._leases is None and self._lacking is not None and self._lacking[1] is not None:
            raise self._lacking[1]
        if self._leases is None or self._left.is_set():
            raise RuntimeError("this registration is not entered, or has ended")
        return self._leases

    def _worst(self) -> Lease | None:
        return min(self._leases, key=lambda lease: WORST_FIRST.index(lease.state)) if self._leases else None

    async def _watch_health(self) -> None:
        probe, leases = self._probe, self._leases
        if probe is None or leases is None:
            return
        try:
            while not await self._rested():
                before = leases[0].unhealthy
                unhealthy = await self._ask(probe, before)
                if not self._left.is_set() and unhealthy != before:
                    await self._registrar.found(leases, unhealthy)
        finally:
            probe.close()

    async def _rested(self) -> bool:
        """Wait for the time of the next question; return whether there is none any more."""
        left = await self._left_within(self._health_interval)
        return left or all(lease.state is LeaseState.ENDED for lease in self._leases or ())

    async def _left_within(self, seconds: float) -> bool:
        """Wait for the end of this, or so many seconds; return whether it is the end."""
        try:
            async with asyncio.timeout(seconds):
                await self._left.wait()
        except TimeoutError:
            return False
        return True

    async def _ask(self, probe: HealthProbe, before: str) -> str:
        unhealthy = await probe.ask()
        if bool(unhealthy) != bool(before) and not self._left.is_set():
            for instance in self.instances:
                self._feed.publish(HealthChanged(instance, healthy=not unhealthy, reason=unhealthy))
        return unhealthy


async def _in_slices(things: Sequence[T]) -> AsyncIterator[T]:
    """Go through things without holding the loop up for long."""
    for number, thing in enumerate(things, 1):
        yield thing
        if number % SLICE == 0:
            await asyncio.sleep(0)
