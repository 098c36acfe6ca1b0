"""Keeps the instances of this client registered: one message renews them all, and what was lost is registered again.

What an answer means is decided in `artemis.client.registration.leases`; this only sends and waits.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Self

from artemis.client.calls.api import REGISTER, UNREGISTER
from artemis.client.errors import ArtemisError, Attempt, RegistrationRefusedError, UnreachableError
from artemis.client.events import HeartbeatFailed, Registered, RegistrationRefused, Unregistered
from artemis.client.registration.leases import LeaseState
from artemis.client.trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random
    from types import TracebackType

    from artemis.client.background import Background
    from artemis.client.calls.api import RegistryApi
    from artemis.client.events import EventFeed
    from artemis.client.options import ClientOptions
    from artemis.client.registration.leases import Findings, Lease, LeaseBook
    from artemis.model import Instance

logger = logging.getLogger("artemis.client")


class Registration:
    """One instance of this client in the registry, from entering the context until leaving it.

    Entering registers at once and raises if that fails (``UnreachableError``, ``RegistrationRefusedError``,
    ``LimitError``; ``ValueError`` if this client has registered the same instance already). From then on the client
    renews the lease; trouble shows in ``state`` and ``error`` and as events of the client. Leaving unregisters.
    Can be entered once.
    """

    def __init__(self, registrar: Registrar, instance: Instance) -> None:
        self._registrar = registrar
        self._lease: Lease | None = None
        self.instance = instance
        """The instance as registered, with everything derived filled in."""

    @property
    def state(self) -> LeaseState:
        """What is known about the registration."""
        return LeaseState.PENDING if self._lease is None else self._lease.state

    @property
    def error(self) -> str:
        """Why the state is uncertain or refused; empty otherwise."""
        return "" if self._lease is None else self._lease.error

    async def __aenter__(self) -> Self:
        if self._lease is not None:
            raise RuntimeError("a registration can be entered once; call client.registered(...) again")
        self._lease = await self._registrar.begin(self.instance)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.unregister()

    async def unregister(self) -> None:
        """Take the instance out now; repeating it does nothing.

        Never raises for a registry that does not answer (within ``close_timeout``): the lease ends by itself then, and
        the client's event ``Unregistered`` carries the error.
        """
        if self._lease is not None:
            await self._registrar.end([self._lease])


class Registrar:
    """Owns the leases of one client and the loop that renews them."""

    def __init__(
        self,
        *,
        api: RegistryApi,
        book: LeaseBook,
        feed: EventFeed,
        background: Background,
        options: ClientOptions,
        random: Random,
    ) -> None:
        self._api = api
        self._book = book
        self._feed = feed
        self._background = background
        self._options = options
        self._random = random
        self._trouble = Trouble("heartbeat", logger)
        # Writes go out one after another: a registration that an unregister overtakes would bring the instance back.
        self._writing = asyncio.Lock()

    async def begin(self, instance: Instance) -> Lease:
        """Register the instance and keep its lease from here on."""
        lease = self._book.add(instance)
        try:
            self._background.ensure("heartbeats", self._beat)
            await self._register_first(lease)
        except BaseException:
            # Cancelled or refused: whatever the node made of it, nobody renews it, and a lease ends by itself.
            self._book.end(lease)
            raise
        return lease

    async def end(self, leases: Sequence[Lease]) -> None:
        """Take instances out of the registry, for at most ``close_timeout`` seconds; never raises for its silence."""
        ending = [lease for lease in leases if lease.state is not LeaseState.ENDED]
        for lease in ending:
            self._book.end(lease)
        error: ArtemisError | None = None
        for start in range(0, len(ending), self._options.batch_size):
            batch = ending[start : start + self._options.batch_size]
            instances = [lease.instance for lease in batch]
            if error is None:
                error = await self._take_out(instances)
            for instance in instances:
                self._feed.publish(Unregistered(instance, error))
        if error is not None:
            logger.warning("unregister failed; %d leases end by themselves: %s", len(ending), error)

    def after_fork(self) -> None:
        """Let every lease go without a word: they are the parent's."""
        for lease in self._book.leases():
            self._book.end(lease)

    async def close(self) -> None:
        """Take out whatever is still registered."""
        await self.end(self._book.leases())

    async def _register_first(self, lease: Lease) -> None:
        async with self._writing:
            node, failed = await self._api.register([lease.instance])
        findings = self._book.registered([lease], failed)
        if findings.refused:
            raise RegistrationRefusedError(node, REGISTER.path, failed)
        self._tell(findings, again=False)

    async def _take_out(self, instances: list[Instance]) -> ArtemisError | None:
        try:
            async with asyncio.timeout(self._options.close_timeout), self._writing:
                await self._api.unregister(instances)
        except TimeoutError:
            late = Attempt(self._api.server, f"no answer within {self._options.close_timeout:g} s")
            return UnreachableError(UNREGISTER.path, [late])
        except ArtemisError as failure:
            return failure
        return None

    async def _beat(self) -> None:
        """Renew everything once an interval, a little early at random so that clients do not beat in step."""
        interval = self._options.heartbeat_interval
        retry = min(interval, self._options.backoff_limit)
        heard = True
        while True:
            # After a failure the next one comes early, so that nobody is late once the registry is back; the full
            # jitter keeps the clients of a dead registry apart.
            early = self._random.uniform(0.0, retry)
            await asyncio.sleep(interval * self._random.uniform(0.8, 1.0) if heard else early)
            heard = await self._renew_all()

    async def _renew_all(self) -> bool:
        batches = self._book.batches(self._options.batch_size)
        for batch in batches:
            try:
                await self._renew(batch)
            except ArtemisError as error:
                self._book.unheard(batch, str(error))
                self._feed.publish(HeartbeatFailed(error))
                self._trouble.met(error)
                return not error.retriable
        if batches:
            self._trouble.over()
        return True

    async def _renew(self, batch: list[Lease]) -> None:
        async with self._writing:
            _, failed = await self._api.heartbeat([lease.instance for lease in batch])
            findings = self._book.renewed(batch, failed)
            self._tell(findings, again=True)
            if findings.register_again:
                lost = list(findings.register_again)
                _, failed = await self._api.register([lease.instance for lease in lost])
                self._tell(self._book.registered(lost, failed), again=True)

    def _tell(self, findings: Findings, *, again: bool) -> None:
        for lease in findings.accepted:
            self._feed.publish(Registered(lease.instance, again))
        for refusal in findings.refused:
            self._feed.publish(RegistrationRefused(refusal.instance, refusal.error_code, refusal.message))
            logger.warning("registration refused: %s: %s", refusal.error_code, refusal.message)
