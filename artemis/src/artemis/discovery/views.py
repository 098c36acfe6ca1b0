"""How a service is shown: the draft that filters work on and the encoded view that answers are made of (spec 5.1).

Not here: which services exist and when a view is out of date; see `catalog`.
"""

from typing import Protocol

import msgspec

from artemis.model import Service, decode, encode, encode_msgpack


class ServiceDraft(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A service on its way through the filters.

    `key` is its id in lower case, `service_id` the spelling shown. `instances` are pairs of instance id in lower case
    and the instance's JSON, in the order of the ids. `logic_instances` and `route_rules` are JSON values.
    """

    key: str
    service_id: str
    instances: tuple[tuple[str, bytes], ...] = ()
    logic_instances: tuple[bytes, ...] = ()
    route_rules: tuple[bytes, ...] = ()


class DiscoveryFilter(Protocol):
    """A step between the registry and the caller (spec 5.1). One that raises is skipped, counted and logged.

    A filter judges each instance by itself: whether it stays in a draft may not depend on the other instances there,
    because pushes and explanations ask about one instance alone. What it decides by may change only inside
    `Catalog.alter` or before `Catalog.reload`, which tell the subscribers.
    """

    name: str
    """What `explain`, the log and the configuration call it."""

    def apply(self, draft: ServiceDraft) -> ServiceDraft:
        """Return the draft as callers are to see it: pure, keeps both ids."""
        ...

    def explain(self, draft: ServiceDraft) -> str:
        """Say in a sentence what `apply` does with the one instance of `draft`, and why."""
        ...


class IdleFilter(DiscoveryFilter, Protocol):
    """A filter that says itself when it changes nothing, so that changes of instances need not ask it one by one."""

    @property
    def idle(self) -> bool:
        """Tell whether `apply` returns every draft as it came, now."""
        ...


class ServiceView:
    """A service as it is shown until it changes: encoded once, shared by all answers. Immutable for its readers."""

    __slots__ = ("_msgpack", "instance_count", "json", "service_id")

    def __init__(self, draft: ServiceDraft) -> None:
        self.service_id = draft.service_id
        self.instance_count = len(draft.instances)
        self.json = b"".join(
            (
                b'{"instances":[',
                b",".join([content for _, content in draft.instances]),
                b'],"logicInstances":[',
                b",".join(draft.logic_instances),
                b'],"metadata":null,"routeRules":[',
                b",".join(draft.route_rules),
                b'],"serviceId":',
                encode(draft.service_id),
                b"}",
            )
        )
        self._msgpack: bytes | None = None

    @property
    def msgpack(self) -> bytes:
        """Return the same as MessagePack, encoded at the first use."""
        if self._msgpack is None:
            self._msgpack = encode_msgpack(self.service())
        return self._msgpack

    def service(self) -> Service:
        """Return the same as a struct of the caller's own."""
        service = decode(Service, self.json)
        assert service is not None  # noqa: S101 - the JSON is ours and an object
        return service
