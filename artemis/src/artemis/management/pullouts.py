"""Pull-outs and pull-ins: operations as they take effect on what callers see and are told (spec 8.2 to 8.4).

Not here: the state itself (`operations`) and the judging of requests (`artemis.server.handlers.management`).
"""

from collections.abc import Callable

from artemis.discovery import Catalog
from artemis.management.filter import OperationFilter
from artemis.management.operations import (
    InstanceTarget,
    OperationRecord,
    Operations,
    OperationsDump,
    ServerTarget,
    Target,
)
from artemis.management.sweep import Sweep
from artemis.registry import Registry

#: Steps of a sweep that an operation makes itself, the rest being left to the node's ticks.
_STEPS_AT_ONCE = 2


class PullOuts:
    """Carries out operations on a node's operator state. Owned by the node; nothing here waits.

    A pull-out that hides an instance is a `delete` for subscribers, a pull-in that shows it a `new`; both are sequenced
    changes, so cursors move. An operation on an instance is in effect at once. One on a server is in effect at once
    where the registry holds a few hundred instances; a larger one is gone through in steps, one with each `tick`.
    `operation_filter` is one of the catalog's filters and reads `operations`.
    """

    def __init__(
        self, operations: Operations, operation_filter: OperationFilter, registry: Registry, catalog: Catalog
    ) -> None:
        self.operations = operations
        self.filter = operation_filter
        self._registry = registry
        self._catalog = catalog
        #: Servers whose state is to come into effect with the next sweep.
        self._waiting: dict[str, None] = {}

    @property
    def settled(self) -> bool:
        """Tell whether every recorded operation is in effect."""
        return self.filter.servers.sweep is None and not self._waiting

    def operate(self, target: Target, record: OperationRecord) -> None:
        """Record an operation (spec 8.2). Raises TooManyOperations."""
        self._change(target, lambda: self.operations.record(target, record))

    def complete(self, target: Target, operation: str) -> None:
        """End the operation of that name (spec 8.2); one that is not recorded is fine."""
        self._change(target, lambda: self.operations.complete(target, operation))

    def load(self, dump: OperationsDump) -> None:
        """Take operator state back from a dump; for a node that does not serve yet: nothing is told."""
        self.operations.load(dump)
        self.filter.servers.servers = set(self.operations.of_servers(self._registry.region))

    def tick(self) -> bool:
        """Bring operations on servers further into effect; return whether more is to be done."""
        hidden = self.filter.servers
        if hidden.sweep is None:
            if not self._waiting:
                return False
            down = self.operations.of_servers(self._registry.region)
            hidden.sweep = Sweep({server: server in down for server in self._waiting}, self._registry, self._catalog)
            self._waiting.clear()
        sweep = hidden.sweep
        if sweep.step():
            return True
        # All instances have been passed, so putting the result in the sweep's place makes no difference to callers.
        for server, is_down in sweep.targets.items():
            (hidden.servers.add if is_down else hidden.servers.discard)(server)
        hidden.sweep = None
        return bool(self._waiting)

    def _change(self, target: Target, change: Callable[[], bool]) -> None:
        region = self._registry.region
        if target.region.lower() != region:
            change()
        elif isinstance(target, InstanceTarget):
            self._catalog.alter([(target.service.lower(), target.instance.lower())], change)
        elif change():
            self._await(target)
            for _ in range(_STEPS_AT_ONCE):
                if not self.tick():
                    break

    def _await(self, target: ServerTarget) -> None:
        server = target.server.lower()
        sweep = self.filter.servers.sweep
        in_effect = server in self.filter.servers.servers
        if sweep is not None:
            in_effect = sweep.targets.get(server, in_effect)
        if in_effect == (server in self.operations.of_servers(self._registry.region)):
            self._waiting.pop(server, None)
        else:
            self._waiting[server] = None
