"""Why callers see an instance or do not, step by step (design 6): registration, lease, filters, operations, rules.

Each step is judged by itself, also after one that fails, from the same state that answers are made of.
Not here: whether the node serves and the caller may ask, which `artemis.server.handlers.explain` puts before these.
"""

import msgspec

from artemis.discovery import Catalog, DiscoveryFilter, ServiceDraft
from artemis.management.filter import OperationFilter, describe
from artemis.registry import Lease, Registry
from artemis.registry.rewrites import REMEMBERED


class Step(msgspec.Struct, frozen=True, gc=False):
    """One step: its name, whether it lets the instance be seen, and why, in a sentence."""

    step: str
    ok: bool
    why: str


def explain(registry: Registry, catalog: Catalog, service_id: str, instance_id: str, now: int) -> list[Step]:
    """Return the steps from the registry to a caller, in order; the instance is visible when all are ok."""
    service, name = service_id.lower(), instance_id.lower()
    lease = registry.find(service, name)
    steps = [_registration(registry, lease, service, now), _lease(registry, lease, now)]
    content = lease.record.content if lease is not None else b""
    draft = ServiceDraft(key=service, service_id=service_id, instances=((name, content),) if content else ())
    rules: list[str] = []
    for each in catalog.filters:
        passed, step = _filter(each, draft, name)
        steps.append(step)
        rules += [_rule_id(rule) for rule in passed.route_rules[len(draft.route_rules) :]]
        # What one filter hides is still shown to the next, so that every reason is named.
        draft = passed if passed.instances else msgspec.structs.replace(passed, instances=draft.instances)
    why = f"rules of the service: {', '.join(rules)}" if rules else "no route rule of this service"
    steps.append(Step("rule", ok=True, why=why))
    return steps


def _registration(registry: Registry, lease: Lease | None, service: str, now: int) -> Step:
    if lease is None:
        known = service in registry.services
        why = "never registered, or forgotten since" if known else "nothing of this service is known"
        return Step("registration", ok=False, why=f"not registered: {why}")
    if not lease.record.removed:
        replaced = registry.rewrites.of(lease.record.key[1:], now)
        count = f"{replaced} times" if replaced < REMEMBERED else f"{replaced} times or more"
        doubt = f"; heartbeats replaced its content {count} in the last minute: two owners?"
        return Step("registration", ok=True, why="registered" + (doubt if replaced > 1 else ""))
    died = registry.died(lease)
    when = "" if died is None else f" {_span(now - died)} ago"
    return Step("registration", ok=False, why=f"not registered: it was removed{when}")


def _lease(registry: Registry, lease: Lease | None, now: int) -> Step:
    if lease is None or lease.record.removed:
        return Step("lease", ok=False, why="no lease without a registration")
    state = registry.lease_state(lease)
    heard = f"last heard {_span(now - lease.heard)} ago"
    if not lease.live:
        died = registry.died(lease)
        when = "" if died is None else f" {_span(now - died)} ago"
        return Step("lease", ok=False, why=f"expired{when}: {heard}, longer than the TTL of {_span(state.ttl)}")
    left = state.due - now
    until = f"live for {_span(left)} more" if left > 0 else "due to expire now"
    why = f"{heard}; {until} (TTL {_span(state.ttl)})"
    if state.kept:
        why += "; kept while no other node is heard, as another one heard it last"
    elif state.held:
        why += f"; held up to {_span(state.hold)} longer by self-preservation"
    elif state.silent:
        why += f"; silent for longer than {_span(state.window)}"
    return Step("lease", ok=True, why=why)


def _filter(each: DiscoveryFilter, draft: ServiceDraft, name: str) -> tuple[ServiceDraft, Step]:
    """Run one filter over the one instance, as the catalog would, and let it explain itself."""
    if isinstance(each, OperationFilter):
        return _operation(each, draft, name)
    try:
        passed = each.apply(draft)
    except Exception as error:  # noqa: BLE001 - the catalog skips a filter that fails, logs and counts it
        return draft, Step("filter", ok=True, why=f"{each.name}: fails and is skipped: {error!r}")
    if not draft.instances:
        return passed, Step("filter", ok=True, why=f"{each.name}: nothing is registered that it could hide")
    ok = bool(passed.instances)
    try:
        why = each.explain(draft)
    except Exception as error:  # noqa: BLE001 - an explanation that fails must not hide the others
        why = f"{'shows' if ok else 'hides'} it and cannot say why: {error!r}"
    return passed, Step("filter", ok=ok, why=f"{each.name}: {why}")


def _operation(each: OperationFilter, draft: ServiceDraft, name: str) -> tuple[ServiceDraft, Step]:
    """Name what is recorded, also against an instance of which nothing is known."""
    entries = each.entries(draft.key, name, draft.instances[0][1] if draft.instances else b"")
    passed = each.apply(draft)
    hidden = bool(draft.instances) and not passed.instances
    why = describe(entries)
    if draft.instances and hidden != bool(entries):
        why += "; a change of this server is coming into effect now"
    return passed, Step("operation", ok=not (hidden or (entries and not draft.instances)), why=why)


class _Rule(msgspec.Struct, rename="camel", gc=False):
    route_id: str | None = None


def _rule_id(rule: bytes) -> str:
    return msgspec.json.decode(rule, type=_Rule).route_id or "without id"


def _span(ms: int) -> str:
    """Write milliseconds as seconds."""
    return f"{ms / 1000:.1f} s"
