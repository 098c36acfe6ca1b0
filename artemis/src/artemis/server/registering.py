"""Judging what clients register, renew and remove (spec 2.1): a node's half that writes.

Synchronous and pure: requests and milliseconds come in, responses go out. Not here: what is shown (`node`), what is
served at all (`condition`), and the records (`artemis.registry`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from msgspec import structs

from artemis.model import FailedInstance, Instance, RegistryRequest, RegistryResponse, ResponseStatus, encode_canonical
from artemis.model.responses import BAD_REQUEST, DATA_NOT_FOUND, NO_PERMISSION, failure
from artemis.registry import Lease, Registry, RegistryError, RenewalPlan, Stamp, WrongRegion
from artemis.server.condition import Condition
from artemis.server.outcomes import NOT_EXISTING, REGISTRY_SUCCESS, failed_instance, outcome, refused
from artemis.server.versions import AHEAD, Versions


class Asked(Protocol):
    """Hears what clients of this node asked, and were granted: to register, renew, remove. It must not wait."""

    def registered(self, lease: Lease, now: int) -> None:
        """An instance was registered."""
        ...

    def renewed(self, lease: Lease, now: int) -> None:
        """A lease was renewed, maybe with other content."""
        ...

    def renewed_by_plan(self, plan: RenewalPlan) -> None:
        """The leases of a plan were renewed."""
        ...

    def removed(self, lease: Lease, content: bytes, now: int) -> None:
        """An instance was removed; `content` is what the client said of it, or what was known, as canonical JSON."""
        ...


Write = Callable[[Instance, int, Stamp | None], Lease]
"""What changes one instance: the instance, now, and the version of the client's last answer."""

_Tell = Callable[[Asked, Instance, Lease, int], None]


class Registering(Condition):
    """The operations on registrations. A part of `Node`, which makes the `registry`."""

    registry: Registry
    _refused_zone: int
    #: Who hears what clients asked, None for nobody.
    asked: Asked | None = None

    def register(self, request: RegistryRequest | None, now: int) -> RegistryResponse:
        """Register instances or replace their content (spec 2.1)."""
        return self._write(request, now, self.registry.register, self._tell_registered)

    def heartbeat(self, request: RegistryRequest | None, now: int) -> RegistryResponse:
        """Renew leases; what must be registered comes back whole with `data-not-found` (spec 2.1, 0.4)."""
        return self._heartbeat(request, now, None)

    def heartbeat_plan(self, request: RegistryRequest | None, now: int) -> tuple[RegistryResponse, RenewalPlan | None]:
        """Do what `heartbeat` does and say how to repeat it: the plan is for `renew`, None unless all succeeded."""
        leases: list[Lease] = []
        response = self._heartbeat(request, now, leases)
        return response, self.registry.plan(leases, self.generation) if response is REGISTRY_SUCCESS else None

    def renew(self, plan: RenewalPlan, now: int) -> bool:
        """Repeat a heartbeat without its message; False, and nothing happened, when something changed meanwhile."""
        renewed = plan.generation == self.generation and self.registry.renew(plan, now)
        if renewed and self.asked is not None:
            self.asked.renewed_by_plan(plan)
        return renewed

    def unregister(self, request: RegistryRequest | None, now: int) -> RegistryResponse:
        """Remove instances; unknown ones are a success (spec 2.1)."""
        return self._write(request, now, self.registry.unregister, self._tell_removed, leaving=True)

    # -- judging

    def _write(
        self, request: RegistryRequest | None, now: int, write: Write, tell: _Tell, *, leaving: bool = False
    ) -> RegistryResponse:
        """Register each instance of a request, or remove it, as it is `leaving`."""
        instances = self._asked(request, now, leaving=leaving)
        if isinstance(instances, ResponseStatus):
            return RegistryResponse(response_status=instances)
        failed: list[FailedInstance | None] = []
        versions = self._versions(request, now)
        for number, instance in enumerate(instances):
            if instance is None:
                continue
            try:
                if not self._allow_registry and not self._in_zone(instance):
                    failed.append(self._refuse_zone(instance))
                    continue
                lease = write(instance, now, None if versions is None else versions.known(number))
            except RegistryError as error:
                failed.append(self._refused(instance, error))
                continue
            if self.asked is not None:
                tell(self.asked, instance, lease, now)
            if versions is not None:
                versions.tell(number, lease)
        return outcome(failed, versions)

    def _tell_registered(self, asked: Asked, _: Instance, lease: Lease, now: int) -> None:
        asked.registered(lease, now)

    def _tell_removed(self, asked: Asked, instance: Instance, lease: Lease, now: int) -> None:
        asked.removed(lease, encode_canonical(instance), now)

    def _heartbeat(self, request: RegistryRequest | None, now: int, leases: list[Lease] | None) -> RegistryResponse:
        instances = self._asked(request, now)
        if isinstance(instances, ResponseStatus):
            return RegistryResponse(response_status=instances)
        failed: list[FailedInstance | None] = []
        heartbeat, versions = self.registry.heartbeat, self._versions(request, now)
        for number, instance in enumerate(instances):
            if instance is None:
                continue
            try:
                if not self._allow_registry and not self._in_zone(instance):
                    failed.append(self._refuse_zone(instance))
                    continue
                lease = heartbeat(instance, now, None if versions is None else versions.known(number))
            except RegistryError as error:
                failed.append(self._refused(instance, error))
                continue
            if lease is None:
                failed.append(failed_instance(instance, DATA_NOT_FOUND, NOT_EXISTING))
                continue
            if self.asked is not None:
                self.asked.renewed(lease, now)
            if versions is not None:
                versions.tell(number, lease)
            if leases is not None:
                leases.append(lease)
        return outcome(failed, versions)

    def _versions(self, request: RegistryRequest | None, now: int) -> Versions | None:
        """Return the versions that a client names, None for one that does not."""
        if request is None or not request.versions:
            return None
        # A clock that is right again after it was years ahead: the nodes have passed its stamps, and so have clients.
        latest = max((self.registry.wall(now) + AHEAD) * 1000, self.registry.clock)
        return Versions(request.versions, len(request.instances or ()), latest)

    def _asked(
        self, request: RegistryRequest | None, now: int, *, leaving: bool = False
    ) -> list[Instance | None] | ResponseStatus:
        """Return the instances of a registry request, or why it is not served at all (spec 2.1 steps 2 and 3).

        Who is leaving is not sent elsewhere for that.
        """
        if request is None:
            return failure(BAD_REQUEST, "request is null")
        if not request.instances:
            return failure(BAD_REQUEST, "request.instances is null or empty.")
        if not self.serves_registry:
            return self.unavailable("registry")
        if self.retiring is not None and not leaving and self.sends_away(request.instances):
            self._hear(request.instances, now)
            return self.unavailable("registry")
        return request.instances

    def _hear(self, instances: list[Instance | None], now: int) -> None:
        """Keep what is registered for those who are sent away: they live, and may have nowhere else to go yet."""
        for instance in instances:
            if instance is None or not (self._allow_registry or self._in_zone(instance)):
                continue
            lease = self.registry.find(instance.service_id or "", instance.instance_id or "")
            if lease is None or lease.record.removed or (instance.region_id or "").lower() != self._region:
                continue
            with suppress(RegistryError):  # the registry is full, and counts that
                self.registry.revive(lease, now)
                if self.asked is not None:
                    self.asked.renewed(lease, now)

    def _refused(self, instance: Instance, error: RegistryError) -> FailedInstance:
        """Answer an instance that the registry refused; of a region that is shown here, also where to write to it."""
        failed = refused(instance, error)
        hint = self.regions.hint(instance.region_id) if isinstance(error, WrongRegion) else ""
        return structs.replace(failed, error_message=f"{failed.error_message}{hint}") if hint else failed

    def _refuse_zone(self, instance: Instance) -> FailedInstance:
        """Answer an instance of another zone; a wrong region is named first, as it is nobody's choice."""
        if instance.region_id is None or instance.region_id.lower() != self._region:
            self.registry.counters.refused_region += 1
            return self._refused(instance, WrongRegion(instance.region_id or "", self._region))
        self._refused_zone += 1
        text = f"zone {instance.zone_id or ''!r} is not the zone {self._zone!r} of this node"
        return failed_instance(instance, NO_PERMISSION, text)
