"""Keeps the instances of this client registered: one message renews them all, and what was lost is registered again.

What is to be sent and what an answer means is decided in `artemis.client.registration.leases`, and when in `beats`;
this only sends and waits. Not here: what a user holds in his hand, see `registration`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from artemis.client.calls.api import REGISTER, UNREGISTER
from artemis.client.errors import ArtemisError, Attempt, RegistrationRefusedError, UnreachableError
from artemis.client.events import HeartbeatFailed, Registered, RegistrationRefused, Unregistered, Withheld
from artemis.client.names import service_key
from artemis.client.registration.cutting import cut, encoded_size
from artemis.client.registration.leases import LeaseState
from artemis.client.telemetry.logs import fields
from artemis.client.trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from artemis.client.background import Background
    from artemis.client.calls.api import RegistryApi
    from artemis.client.events import EventFeed
    from artemis.client.options import ClientOptions
    from artemis.client.registration.beats import Beats
    from artemis.client.registration.drain import Drain
    from artemis.client.registration.filters import Filters
    from artemis.client.registration.leases import Findings, Lease, LeaseBook
    from artemis.model import Instance

SILENT: Final = 2
"""Messages in a row that nobody answers, after which the rest of a heartbeat is left for the next one."""

logger = logging.getLogger("artemis.client")


class Registrar:
    """Owns the leases of one client and the loop that renews them; `clock` gives monotonic seconds.

    May be used concurrently. Whatever is cancelled in the middle of a message leaves a stray at most: an instance that
    a node may have and nobody renews. It is taken out with the next heartbeat.
    """

    def __init__(
        self,
        *,
        api: RegistryApi,
        book: LeaseBook,
        beats: Beats,
        filters: Filters,
        drain: Drain,
        feed: EventFeed,
        background: Background,
        options: ClientOptions,
        clock: Callable[[], float],
        on_need: Callable[[], None],
    ) -> None:
        self._api = api
        self._book = book
        self._beats = beats
        self._filters = filters
        self._drain = drain
        self._feed = feed
        self._background = background
        self._options = options
        self._clock = clock
        self._trouble = Trouble("heartbeat", logger)
        self._earlier = asyncio.Event()
        self._behind: Lease | None = None
        # Writes go out one after another: a registration that an unregister overtakes would bring the instance back.
        self._on_need = on_need
        self._writing = asyncio.Lock()
        self.drains = 0
        """How often everything was taken out at once."""

    def hurry(self) -> None:
        """Beat soon: the client talks to another node than before, which may not know its instances."""
        if self._beats.hurry(self._clock()):
            self._earlier.set()

    async def begin(self, instances: Sequence[Instance], *, unhealthy: str = "") -> list[Lease]:
        """Register all instances and keep their leases from here on; if one is not accepted, none is kept.

        What is ``unhealthy`` for this reason, and what a filter keeps out, is withheld instead.
        """
        leases: list[Lease] = []
        try:
            self._background.ensure("heartbeats", self._beat)
            self._on_need()
            for number, instance in enumerate(instances, 1):
                lease = self._book.add(instance)
                lease.unhealthy = unhealthy
                leases.append(lease)
                if number % self._options.batch_size == 0:
                    await asyncio.sleep(0)
            for part in self._cut(leases):
                async with self._writing:
                    await self._settle(part, strict=True, again=False)
        except BaseException as error:
            # Refused or cancelled: nobody renews any of them, and those that a node may have are taken out again.
            strays = [lease.instance for lease in leases if lease.offered]
            for lease in leases:
                self._book.end(lease, self._clock())
            if strays and isinstance(error, RegistrationRefusedError):
                for some in self._cut_instances(strays):
                    await self._clear(some)
            elif strays:
                self.hurry()
            raise
        return leases

    async def begin_sometime(self, instances: Sequence[Instance], *, unhealthy: str = "") -> list[Lease]:
        """Keep the leases of all instances from here on, whether or not the registry is there and accepts them now.

        One attempt is waited for, ``attempt_timeout`` seconds at most; the heartbeats go on with it.
        """
        self._background.ensure("heartbeats", self._beat)
        self._on_need()
        leases: list[Lease] = []
        try:
            for instance in instances:
                leases.append(self._book.add(instance))
                leases[-1].unhealthy = unhealthy
                leases[-1].state, leases[-1].error = LeaseState.UNCERTAIN, "not registered yet"
            async with asyncio.timeout(self._options.attempt_timeout):
                for part in self._cut(leases):
                    await self._attempt(part)
        except TimeoutError:
            self.hurry()
        except BaseException:
            for lease in leases:
                self._book.end(lease, self._clock())
            self.hurry()
            raise
        return leases

    async def end(self, leases: Sequence[Lease], *, drain: bool = True) -> ArtemisError | None:
        """Take instances out of the registry, within ``close_timeout`` seconds; return why it could not be told.

        Then wait until those who are pushed to have been told, for ``drain_timeout`` seconds more at most.
        """
        error: ArtemisError | None = None
        service_ids: dict[str, str] = {}
        ending = [lease for lease in leases if lease.state is not LeaseState.ENDED]
        # All before the first message: if this is cancelled, none is renewed any more.
        for lease in ending:
            self._book.end(lease, self._clock())
        for batch in self._cut(ending):
            offered = [lease.instance for lease in batch if lease.offered]
            # Nobody waits for a registry that is silent once more; one that refused this message may take the next.
            failure = error if error is not None and error.retriable else None
            if offered and failure is None:
                failure = await self._clear(offered)
            error = error if failure is None or (error is not None and error.retriable) else failure
            for lease in batch:
                self._feed.publish(Unregistered(lease.instance, failure if lease.offered else None))
            service_ids |= {service_key(one.service_id): one.service_id or "" for one in offered}
        if error is not None:
            extra = fields("unregister-failed", service_ids=[*service_ids.values()], error=error, count=len(ending))
            logger.warning("unregister failed; leases that end by themselves: %d; %s", len(ending), error, extra=extra)
        elif drain and service_ids:
            await self._drain.wait(service_ids.values())
        return error

    async def end_all(self) -> ArtemisError | None:
        """Take out whatever is registered, and wait as `end` does."""
        self.drains += 1
        return await self.end(self._book.leases())

    def let_go(self) -> None:
        """End what is left of the leases without a word: the client is closed, and nobody renews them."""
        for lease in self._book.leases():
            self._book.end(lease, self._clock())

    def after_fork(self) -> None:
        """Let every lease go without a word: in the child of a fork they are the parent's."""
        self.hand_over(self._book.leases())

    def retry(self) -> float:
        """Return how many seconds to wait before a registration is begun again that could not be."""
        return self._beats.retry()

    def hand_over(self, leases: Sequence[Lease]) -> None:
        """Renew these no longer, and leave them in the registry: somebody else renews them from here on."""
        for lease in leases:
            lease.offered = False
            self._book.end(lease, self._clock())

    def take_over(self, instances: Sequence[Instance]) -> list[Lease]:
        """Return leases of what another process has registered, to be ended at once: nobody is to renew them."""
        leases = [self._book.add(instance) for instance in instances]
        for lease in leases:
            lease.offered = True
        return leases

    async def close(self) -> None:
        """Take out whatever is still registered, and the strays."""
        if await self.end_all() is None:
            await self._clear_strays()

    async def change(self, changes: Sequence[tuple[Lease, Instance]]) -> None:
        """Register leases with other contents; if one is refused, or anything else goes wrong, all keep what they had.

        Raises ``RefusedError`` (``RegistrationRefusedError`` naming who was refused), or ``UnreachableError`` if no
        node answers: the next heartbeat brings the new contents then, and also after a cancellation.
        """
        before: list[tuple[Lease, Instance]] = []
        try:
            for batch in cut(changes, self._options.batch_size, lambda change: encoded_size(change[1])):
                async with self._writing:
                    for lease, instance in batch:
                        before.append((lease, lease.instance))
                        lease.instance = instance
                    await self._settle([lease for lease, _ in batch], strict=True, again=False)
        except UnreachableError:
            raise
        except Exception:
            for lease, instance in before:
                lease.instance = instance
            for part in self._cut([lease for lease, _ in before]):
                await self._attempt(part)
            raise

    async def found(self, leases: Sequence[Lease], unhealthy: str) -> None:
        """Take in what a health callback found: withhold the leases for this reason, or register them again.

        Trouble with the registry becomes an event; the next heartbeat tries again.
        """
        for lease in leases:
            lease.unhealthy = unhealthy
        for batch in self._cut(leases):
            error = await self._attempt(batch)
            if error is not None and error.retriable:
                return

    async def _beat(self) -> None:
        self._beats.ended(self._clock(), heard=True)
        while True:
            await self._until_due()
            self._beats.begin()
            heard = await self._renew_all()
            self._beats.ended(self._clock(), heard=heard)

    async def _until_due(self) -> None:
        while (delay := self._beats.due - self._clock()) > 0:
            self._earlier.clear()
            try:
                async with asyncio.timeout(delay):
                    await self._earlier.wait()
            except TimeoutError:
                return

    async def _renew_all(self) -> bool:
        """Send what is due about every lease; return whether a node answered."""
        good = silent = 0
        failed = False
        for batch in self._book.batches(self._options.batch_size, self._behind):
            error = await self._attempt(batch)
            failed = failed or error is not None
            if error is None or not error.retriable:
                good, silent = good + (error is None), 0
                continue
            # The next heartbeat begins behind what failed: it may be this very message that does not get through.
            self._behind = batch[-1]
            silent += 1
            if silent == SILENT:
                return False
        if silent:
            return False
        if good and not failed:
            self._trouble.over()
        await self._clear_strays()
        return True

    async def _attempt(self, leases: Sequence[Lease]) -> ArtemisError | None:
        try:
            async with self._writing:
                await self._settle(leases, strict=False, again=True)
        except ArtemisError as error:
            self._book.unheard(leases, str(error))
            self._feed.publish(HeartbeatFailed(error))
            self._trouble.met(error)
            return error
        return None

    async def _settle(self, leases: Sequence[Lease], *, strict: bool, again: bool) -> None:
        """Send what is due about these leases, at most ``batch_size``; with ``strict`` a refusal raises."""
        self._filters.sift(leases)
        for lease in self._book.withhold(leases):
            self._feed.publish(Withheld(lease.instance, lease.withheld))
        plan = self._book.plan(leases)
        unknown: list[Lease] = []
        if plan.renew:
            _, failed = await self._api.heartbeat([lease.instance for lease in plan.renew], self._book.versions)
            findings = self._book.renewed(plan.renew, failed)
            self._tell(findings, again=True)
            unknown = [lease for lease in findings.register_again if not lease.withheld]
        if plan.register or unknown:
            await self._register([*plan.register, *unknown], strict=strict, again=again)
        if plan.take_out:
            await self._api.unregister([lease.instance for lease in plan.take_out], self._book.versions)
            self._book.taken_out(plan.take_out)

    async def _register(self, leases: Sequence[Lease], *, strict: bool, again: bool) -> None:
        self._book.offering(leases)
        node, failed = await self._api.register([lease.instance for lease in leases], self._book.versions)
        findings = self._book.registered(leases, failed)
        if strict and failed:
            raise RegistrationRefusedError(node, REGISTER.path, failed)
        self._tell(findings, again=again)

    async def _clear_strays(self) -> None:
        for batch in self._cut_instances(self._book.strays(self._clock())):
            error = await self._clear(batch)
            if error is not None and error.retriable:
                return

    async def _clear(self, instances: Sequence[Instance]) -> ArtemisError | None:
        """Have those of the instances taken out that are strays when their turn comes."""
        try:
            async with asyncio.timeout(self._options.close_timeout), self._writing:
                strays = [instance for instance in instances if self._book.is_stray(instance)]
                if strays:
                    await self._api.unregister(strays, self._book.versions)
                self._book.cleared(strays)
        except TimeoutError:
            late = Attempt(self._api.server, f"no answer within {self._options.close_timeout:g} s")
            return UnreachableError(UNREGISTER.path, [late])
        except ArtemisError as failure:
            if not failure.retriable:
                self._book.cleared(instances)  # it will refuse the next time as well, and the lease ends by itself
            return failure
        return None

    def _tell(self, findings: Findings, *, again: bool) -> None:
        for lease in findings.accepted:
            self._feed.publish(Registered(lease.instance, again))
        for refusal in findings.refused:
            self._feed.publish(RegistrationRefused(refusal.instance, refusal.error_code, refusal.message))
            extra = fields("registration-refused", instance=refusal.instance, reason=refusal.message)
            extra["error_code"] = refusal.error_code
            logger.warning("registration refused: %s: %s", refusal.error_code, refusal.message, extra=extra)

    def _cut(self, leases: Sequence[Lease]) -> Iterator[Sequence[Lease]]:
        return cut(leases, self._options.batch_size, lambda lease: lease.size)

    def _cut_instances(self, instances: Sequence[Instance]) -> Iterator[Sequence[Instance]]:
        return cut(instances, self._options.batch_size, encoded_size)
