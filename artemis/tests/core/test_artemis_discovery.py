"""The catalog and its answers: spec 2.2, 5.1, 5.2, defects 1, 6 and 8."""

import logging
from collections.abc import Callable

import msgspec
import pytest

from artemis.discovery import Catalog, LookupAnswer, ServiceAnswer, ServiceDraft, ServicesAnswer, Transition
from artemis.model import (
    Instance,
    LookupResponse,
    Service,
    ServiceResponse,
    ServicesResponse,
    decode,
    decode_msgpack,
    encode,
    encode_canonical,
)
from artemis.model.responses import SUCCESS, failure
from artemis.registry import Registry

WALL = 1_700_000_000_000
MakeInstance = Callable[..., Instance]


@pytest.fixture
def registry(make_registry: Callable[..., Registry]) -> Registry:
    """Return an empty registry."""
    return make_registry()


@pytest.fixture
def catalog(registry: Registry) -> Catalog:
    """Return the catalog of that registry."""
    return Catalog(registry, wall=WALL)


def test_an_unknown_service_is_shown_empty(catalog):
    """An unknown service comes back with its id as asked and empty lists, through the same filters (spec 2.2)."""
    expected = b'{"instances":[],"logicInstances":[],"metadata":null,"routeRules":[],"serviceId":"No.Such"}'
    assert expected == catalog.view("No.Such").json
    assert 0 == catalog.cached_views


def test_a_service_is_found_in_any_case_and_encoded_once(registry, catalog, make_instance):
    """A view is found in any letter case, shown in its instances' spelling and kept until it changes (defect 1)."""
    instance = make_instance(service_id="Demo.Orders")
    registry.register(instance, 0)
    view = catalog.view("DEMO.ORDERS")
    assert view is catalog.view("demo.orders")
    assert (1, "Demo.Orders") == (view.instance_count, view.service_id)
    assert b'"instances":[' + encode_canonical(instance) + b'],"logicInstances"' in view.json


def test_instances_come_in_the_order_of_their_ids(registry, catalog, make_instance):
    """Instances are sorted by id in lower case, and the first one's spelling of the service is shown."""
    registry.register(make_instance("b", service_id="demo.orders"), 0)
    registry.register(make_instance("C", service_id="demo.orders"), 0)
    registry.register(make_instance("A", service_id="DEMO.orders"), 0)
    service = catalog.view("demo.orders").service()
    assert ["A", "b", "C"] == [instance.instance_id for instance in service.instances]
    assert "DEMO.orders" == service.service_id


def test_views_change_with_what_callers_see_and_only_then(registry, catalog, make_instance):
    """Each visible change makes a new view and version; renewals and equal content make none (defect 6)."""
    registry.register(make_instance(), 0)
    view, version = catalog.view("demo.orders"), catalog.version
    registry.register(make_instance(), 1)
    registry.heartbeat(make_instance(), 2)
    assert (view, version) == (catalog.view("demo.orders"), catalog.version)
    registry.heartbeat(make_instance(port=1), 3)
    assert (version + 1, True) == (catalog.version, view is not catalog.view("demo.orders"))
    registry.unregister(make_instance(), 4)
    assert (version + 2, 0) == (catalog.version, catalog.view("demo.orders").instance_count)
    registry.unregister(make_instance(), 5)
    assert version + 2 == catalog.version


def test_a_view_is_immutable_while_the_catalog_changes(registry, catalog, make_instance):
    """An answer that was begun before a change shows the state before it."""
    registry.register(make_instance(), 0)
    view = catalog.view("demo.orders")
    before = view.json
    registry.unregister(make_instance(), 1)
    assert before == view.json
    assert 1 == len(view.service().instances)


def test_services_without_live_instances_are_not_listed(registry, catalog, make_instance):
    """Only services with live instances are listed, in the order of their ids in lower case."""
    for service in ("c", "B", "a"):
        registry.register(make_instance(service_id=service), 0)
    registry.unregister(make_instance(service_id="C"), 0)
    assert ["a", "B"] == [view.service_id for view in catalog.views()]


def test_a_service_that_vanishes_while_the_list_is_made_is_left_out(registry, catalog, make_instance):
    """Listing goes on when a service disappears between two of its steps."""
    for service in ("a", "b", "c"):
        registry.register(make_instance(service_id=service), 0)
    views = catalog.views()
    first = next(views).service_id
    registry.unregister(make_instance(service_id="b"), 1)
    assert ["a", "c"] == [first, *(view.service_id for view in views)]


class Step:
    """A filter made of a function."""

    def __init__(self, apply: Callable[[ServiceDraft], ServiceDraft]) -> None:
        self.name = apply.__name__
        self.apply = apply

    def explain(self, draft: ServiceDraft) -> str:
        """Say what is the same for every draft."""
        return f"{self.name} looked at {draft.key}"


def test_filters_run_in_order_over_known_and_unknown_services(registry, make_instance):
    """Each filter gets the draft of the one before, for every service (spec 5.1, defect 8)."""

    def drop_first(draft: ServiceDraft) -> ServiceDraft:
        return msgspec.structs.replace(draft, instances=draft.instances[1:])

    def add_rule(draft: ServiceDraft) -> ServiceDraft:
        rule = b'{"groups":null,"routeId":"left-%d","strategy":null}' % len(draft.instances)
        logic = encode(make_instance("logic"))
        return msgspec.structs.replace(draft, route_rules=(rule,), logic_instances=(logic,))

    catalog = Catalog(registry, filters=[Step(drop_first), Step(add_rule)], wall=WALL)
    registry.register(make_instance("a"), 0)
    registry.register(make_instance("b"), 0)
    known, unknown = catalog.view("demo.orders").service(), catalog.view("x").service()
    assert ["b"] == [instance.instance_id for instance in known.instances]
    assert ["left-1", "left-0"] == [service.route_rules[0].route_id for service in (known, unknown)]
    assert [make_instance("logic")] == unknown.logic_instances


def test_a_filter_that_fails_is_skipped(registry, make_instance, caplog):
    """A filter that raises is logged, counted and skipped (spec 5.1)."""

    def fail(draft: ServiceDraft) -> ServiceDraft:
        raise RuntimeError("no")

    catalog = Catalog(registry, filters=[Step(fail)], wall=WALL)
    registry.register(make_instance(), 0)
    with caplog.at_level(logging.ERROR):
        assert 1 == catalog.view("demo.orders").instance_count
    assert catalog.filter_failures
    assert "filter=fail service=demo.orders" in caplog.text


def test_transitions_tell_what_callers_see_differently(registry, catalog, make_instance):
    """A transition per visible change, with what was seen before and is seen now; none when nothing looks different."""
    seen: list[Transition] = []
    catalog.on_transition(seen.append)
    registry.register(make_instance("A", service_id="S"), 0)
    registry.register(make_instance("A", service_id="S"), 1)
    registry.register(make_instance("A", service_id="S", port=1), 2)
    registry.unregister(make_instance("a", service_id="s"), 3)
    first, second = encode(make_instance("A", service_id="S")), encode(make_instance("A", service_id="S", port=1))
    assert [(None, first), (first, second), (second, None)] == [(each.before, each.after) for each in seen]
    assert {("s", "a")} == {(each.service, each.instance) for each in seen}
    assert [1, 3, 4] == [each.seq for each in seen]
    assert [WALL + 1, WALL + 2, WALL + 3] == [each.version for each in seen]


def test_what_a_filter_decides_by_may_change_and_callers_are_told(registry, make_instance):
    """An alteration is a sequenced change of the instances that look different after it, and of no others."""
    hidden: set[str] = set()

    def hide(draft: ServiceDraft) -> ServiceDraft:
        kept = tuple(pair for pair in draft.instances if pair[0] not in hidden)
        return msgspec.structs.replace(draft, instances=kept)

    catalog = Catalog(registry, filters=[Step(hide)], wall=WALL)
    seen: list[Transition] = []
    catalog.on_transition(seen.append)
    registry.register(make_instance("a"), 0)
    registry.register(make_instance("b"), 0)
    catalog.alter([("demo.orders", "a"), ("demo.orders", "b"), ("demo.orders", "c")], lambda: hidden.add("a"))
    registry.register(make_instance("a", port=1), 1)
    assert ["b"] == [instance.instance_id for instance in catalog.view("demo.orders").service().instances]
    catalog.alter([("demo.orders", "a")], hidden.clear)
    old, new = encode(make_instance("a")), encode(make_instance("a", port=1))
    assert [("a", old, None), ("a", None, new)] == [(each.instance, each.before, each.after) for each in seen[2:]]
    assert [3, 5] == [each.seq for each in seen[2:]]
    catalog.reload("demo.orders")
    assert ("demo.orders", "", None, None) == (seen[-1].service, seen[-1].instance, seen[-1].before, seen[-1].after)


def test_a_transition_listener_that_fails_harms_nobody(registry, catalog, make_instance, caplog):
    """A listener that raises is logged and counted; the change has happened and others are told."""

    def fail(transition: Transition) -> None:
        raise RuntimeError("no")

    seen: list[Transition] = []
    catalog.on_transition(fail)
    catalog.on_transition(seen.append)
    with caplog.at_level(logging.ERROR):
        registry.register(make_instance(), 0)
    assert 1 == len(seen) == catalog.listener_failures


def test_answers_say_the_same_in_every_form(registry, catalog, make_instance):
    """JSON, MessagePack and structs of every answer are equal, whether it succeeded or failed."""
    registry.register(make_instance("a", metadata={"k": None}), 0)
    registry.register(make_instance("ü", service_id="x"), 0)
    views = [catalog.view("demo.orders"), catalog.view("x"), catalog.view("unknown")]
    refused = failure("bad-request", "no")
    answers = [
        (LookupAnswer(SUCCESS, []), LookupResponse),
        (LookupAnswer(SUCCESS, views[:1]), LookupResponse),
        (LookupAnswer(SUCCESS, views), LookupResponse),
        (LookupAnswer(refused), LookupResponse),
        (ServiceAnswer(SUCCESS, views[1]), ServiceResponse),
        (ServiceAnswer(refused), ServiceResponse),
        (ServicesAnswer(SUCCESS, catalog), ServicesResponse),
        (ServicesAnswer(refused), ServicesResponse),
    ]
    for answer, struct in answers:
        response = answer.response()
        assert isinstance(response, struct)
        assert encode(response) == answer.json()
        assert response == decode(struct, answer.json()) == decode_msgpack(struct, answer.msgpack())


def test_the_services_answer_comes_in_pieces(registry, catalog, make_instance):
    """The pieces of a large answer join to the whole, and each but the last is at least as long as asked for."""
    for number in range(50):
        registry.register(make_instance(service_id=f"s{number:02}"), 0)
    answer = ServicesAnswer(SUCCESS, catalog)
    pieces = list(answer.json_pieces(1_000))
    assert answer.json() == b"".join(pieces)
    assert len(pieces) > 10
    assert all(len(piece) >= 1_000 for piece in pieces[:-1])
    assert 50 == len(answer.response().services)


def test_a_change_while_the_pieces_are_made_belongs_to_a_later_version(registry, catalog, make_instance):
    """The version of an answer is that of its beginning."""
    registry.register(make_instance(), 0)
    answer = ServicesAnswer(SUCCESS, catalog)
    version = catalog.version
    registry.register(make_instance("2"), 0)
    assert (version, version + 1) == (answer.response().version, catalog.version)


def test_a_service_of_ten_thousand_instances(registry, catalog, make_instance):
    """A service of 10 000 instances is one view with all of them."""
    for number in range(10_000):
        registry.register(make_instance(str(number)), 0)
    view = catalog.view("demo.orders")
    service = decode(Service, view.json)
    assert service is not None
    assert (10_000, 10_000) == (view.instance_count, len(service.instances or []))
