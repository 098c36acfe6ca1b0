"""Pull-outs and pull-ins: decisions as they take effect on what callers see and are told (spec 8.2 to 8.4, design 4.1).

Those of operators here, and those that other nodes bring. A decision takes one number of its origin; what it changes
for callers of an instance is told as that very change, on every node. One about a server is brought into effect by each
node by itself, with changes of its own.
Not here: the state itself (`operations`), the judging of requests (`artemis.server.handlers.management`), and how
decisions travel (`artemis.cluster.operations`).
"""

from collections.abc import Callable, Iterable, Mapping

from artemis.discovery import Catalog
from artemis.management.decisions import (
    Decision,
    DecisionKey,
    InstanceTarget,
    OperationRecord,
    ServerTarget,
    Target,
    merge,
    same,
)
from artemis.management.dump import OperationsDump, decisions_of
from artemis.management.filter import OperationFilter
from artemis.management.operations import Operations
from artemis.management.sweep import STEP_COST, Sweep, ip_of
from artemis.model.cursors import Cursor
from artemis.registry import Dot, Origin, Reach, Registry
from artemis.registry.records import covered

#: Steps of a sweep that an operation makes itself, the rest being left to the node's ticks.
_STEPS_AT_ONCE = 2

#: Operations that have ended and are forgotten with one tick.
_FORGOTTEN_AT_ONCE = 500

DecisionListener = Callable[[int, Decision], None]
"""Called with a decision made here, and the number that it took."""


class PullOuts:
    """Carries out operations on a node's operator state. Owned by the node; nothing here waits.

    A pull-out that hides an instance is a `delete` for subscribers, a pull-in that shows it a `new`; both are sequenced
    changes, so cursors move. An operation on an instance is in effect at once. One on a server is in effect at once
    where the registry holds a few hundred instances; a larger one is gone through in steps, one with each `tick`.
    `operation_filter` is one of the catalog's filters and reads `operations`. `step_cost` is the work of one step.
    Until it is in effect everywhere, it is `pending` in the registry.
    `now` is milliseconds of the registry's clock.
    """

    def __init__(
        self, operations: Operations, operation_filter: OperationFilter, registry: Registry, catalog: Catalog
    ) -> None:
        self.operations = operations
        self.filter = operation_filter
        self.step_cost = STEP_COST
        self._registry = registry
        self._catalog = catalog
        self._listeners: list[DecisionListener] = []
        self._base: dict[str, int] = {}
        self._since: tuple[Cursor | None, int, set[str]] = (None, 0, set())
        #: Servers whose state is to come into effect with the next sweep.
        self._waiting: dict[str, None] = {}

    @property
    def settled(self) -> bool:
        """Tell whether every recorded operation is in effect."""
        return self.filter.servers.sweep is None and not self._waiting

    def on_decision(self, listener: DecisionListener) -> None:
        """Call `listener` with every decision made here from now on, while it is made; it must not raise."""
        self._listeners.append(listener)

    # -- what operators ask

    def operate(self, target: Target, record: OperationRecord, now: int) -> None:
        """Record an operation (spec 8.2). Raises TooManyOperations."""
        self._decide(self.operations.recorded(target, record, self._registry.stamp(now)), now)

    def complete(self, target: Target, operation: str, now: int) -> None:
        """End the operation of that name (spec 8.2), also where it is not recorded: another node may know it."""
        self._decide(self.operations.completed(target, operation, self._registry.stamp(now)), now)

    # -- what other nodes bring

    def apply(self, origin: Origin, seq: int, decision: Decision, now: int) -> None:
        """Merge the decision of another origin's change, whose number the registry has just noted."""
        self._registry.observe(decision.version)
        decision = decision.with_dots((Dot(origin, seq),))
        known = self.operations.decision(decision.key)
        self._put(decision if known is None else merge(known, decision), (origin, seq), now)

    def absorb(self, decision: Decision, theirs: Reach, before: Mapping[str, int], now: int) -> None:
        """Merge a decision that a repair brings, as its sender had it when it was at `theirs`.

        `before` is the base of this node when the answer began to come. What this node knew and forgot stays away
        [covered]. A difference for callers is told as one of the decision's dots beyond the vector. If there is none,
        or if the merge makes something else than the sender's out of what the sender knew, it becomes a decision of
        this node's own [own_dot].
        """
        registry = self._registry
        known = self.operations.decision(decision.key)
        if known is None and (
            covered(decision.dots, theirs.forgotten, registry.vector, before)
            or (decision.ended and covered(decision.dots, {}, registry.floor, registry.base))
        ):
            return
        decision = decision.without_forgotten(registry.base)
        registry.observe(decision.version)
        merged = decision if known is None else merge(known, decision)
        beyond = decision.news(registry.vector)
        news_here = not beyond and merged.ended != (known is None or known.ended)
        news_there = (
            known is not None
            and merged.ended != decision.ended
            and covered(known.dots, registry.forgotten, theirs.vector, theirs.base)
        )
        if news_here or news_there:
            self._decide(merged, now)
        elif known is None or not same(known, merged) or known.dots != merged.dots:
            for dot in beyond:
                registry.ahead[dot.origin] = max(dot.seq, registry.ahead.get(dot.origin, 0))
            # Without a dot beyond the vector nothing changes for callers, so nothing is told.
            self._put(merged, (beyond[0].origin, beyond[0].seq) if beyond else None, now)

    def lacking(self, decisions: Iterable[Decision], theirs: Reach, now: int) -> None:
        """End those of some decisions, which a node at `theirs` does not have, that it knew: they ended there, and it
        has forgotten them since [covered].
        """
        forgotten = self._registry.forgotten
        for decision in list(decisions):
            if not decision.ended and covered(decision.dots, forgotten, theirs.vector, theirs.base):
                self.end(decision, now)

    def end(self, decision: Decision, now: int) -> None:
        """End a decision that this node knew to have ended, and has forgotten since, by one of its own."""
        self._decide(self.operations.completed(decision.target, decision.operation, decision.version), now)

    def restate(self, key: DecisionKey, now: int) -> None:
        """Make what is known of a decision one of this node's own, if there is anything."""
        known = self.operations.decision(key)
        if known is not None:
            self._decide(known, now)

    # -- what others need

    def touched_since(self, service: str, cursor: Cursor) -> list[str]:
        """Return the instances of a service that may look different to the holder of a cursor, because a decision about
        them or their server has a dot beyond it. Ids in lower case; of those on servers leases only, dead ones too.
        """
        decided = self.operations.decided(self._registry.region, service)
        names = {each.key[0][-1] for each in decided if each.beyond(cursor)}
        servers = self._servers_since(cursor)
        entry = self._registry.services.get(service)
        if servers and entry is not None:
            contents = ((name, lease.record.content) for name, lease in entry.leases.items())
            names.update(name for name, content in contents if content and ip_of(content) in servers)
        return sorted(names)

    def services_since(self, cursor: Cursor) -> list[str]:
        """Return the services, in lower case, for which `touched_since` may name an instance."""
        region, operations = self._registry.region, self.operations
        if self._servers_since(cursor):
            return list(self._registry.services)
        ours = [service for of_region, service in operations.places() if service and of_region == region]
        return [each for each in ours if any(one.beyond(cursor) for one in operations.decided(region, each))]

    def _servers_since(self, cursor: Cursor) -> set[str]:
        """Return the servers with a decision beyond a cursor; asked for service by service with the same one."""
        known, revision, servers = self._since
        if known is not cursor or revision != self.operations.revision:
            decided = self.operations.decided(self._registry.region, "")
            servers = {each.key[0][-1] for each in decided if each.beyond(cursor)}
            self._since = cursor, self.operations.revision, servers
        return servers

    # -- time

    def load(self, dump: OperationsDump, now: int) -> None:
        """Take operator state back from a dump; for a node that does not serve yet: nothing is told.

        More than are recorded at most are taken too: a lowered limit is no reason to show what was pulled out.
        """
        for decision, ended_for in decisions_of(dump):
            self.operations.put(decision, now - max(0, ended_for))
        self.filter.servers.servers = set(self.operations.of_servers(self._registry.region))

    def tick(self, now: int) -> bool:
        """Forget operations that ended a lifetime ago, and bring those on servers further into effect; return whether
        more is to be done.
        """
        operations, registry = self.operations, self._registry
        if registry.base != self._base:
            self._base = dict(registry.base)
            operations.trim(self._base)
        for _ in range(_FORGOTTEN_AT_ONCE):
            ended = operations.oldest_ended(now - registry.timings.lifetime)
            if ended is None:
                break
            operations.forget(ended)
            registry.raise_floor(ended.dots)
        return self.settle()

    def settle(self) -> bool:
        """Make one step to bring operations on servers into effect; return whether more is to be done."""
        hidden = self.filter.servers
        if hidden.sweep is None:
            if not self._waiting:
                return False
            down = self.operations.of_servers(self._registry.region)
            targets = {server: server in down for server in self._waiting}
            hidden.sweep = Sweep(targets, self._registry, self._catalog, self.step_cost)
            self._waiting.clear()
        sweep = hidden.sweep
        if sweep.step():
            return True
        # All instances have been passed, so putting the result in the sweep's place makes no difference to callers.
        for server, is_down in sweep.targets.items():
            (hidden.servers.add if is_down else hidden.servers.discard)(server)
        hidden.sweep = None
        if not self._waiting:
            self._registry.pending.clear()
        return bool(self._waiting)

    # -- decisions

    def _decide(self, decision: Decision, now: int) -> None:
        """Make a decision one of our own: it takes the next number, and has its dot as the only one."""
        registry = self._registry
        origin, seq = registry.origin, registry.sequence()
        decision = decision.with_dots((Dot(origin, seq),))
        for listener in self._listeners:
            listener(seq, decision)
        self._put(decision, (origin, seq), now)

    def _put(self, decision: Decision, told_as: tuple[Origin, int] | None, now: int) -> None:
        target, operations = decision.target.lowered(), self.operations
        if target.region != self._registry.region:
            operations.put(decision, now)
        elif isinstance(target, InstanceTarget):
            self._catalog.alter([(target.service, target.instance)], lambda: operations.put(decision, now), told_as)
        elif operations.put(decision, now):
            self._await(target, told_as)

    def _await(self, target: ServerTarget, told_as: tuple[Origin, int] | None) -> None:
        """Bring a server's new state into effect, at once if that is little work."""
        server = target.server
        sweep = self.filter.servers.sweep
        in_effect = server in self.filter.servers.servers
        if sweep is not None:
            in_effect = sweep.targets.get(server, in_effect)
        if in_effect == (server in self.operations.of_servers(self._registry.region)):
            self._waiting.pop(server, None)
        else:
            self._waiting[server] = None
        if self.settled:
            self._registry.pending.clear()
            return
        if told_as is not None:
            origin, seq = told_as
            pending = self._registry.pending
            pending[origin] = min(seq, pending.get(origin, seq))
        for _ in range(_STEPS_AT_ONCE):
            if not self.settle():
                break
