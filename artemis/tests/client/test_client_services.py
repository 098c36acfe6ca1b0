"""What a client knows about services, and what answers and pushes make of it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artemis.client.discovery.guard import Guard
from artemis.client.discovery.services import Followed, ServiceBook, ServiceView
from artemis.client.errors import LimitError
from artemis.client.links.link import Change, Push
from artemis.client.names import instance_key
from artemis.model import Instance, RouteRule, Service

OFF = Guard(share=0.0, hold=30.0)


def instance(name: str, url: str = "http://x") -> Instance:
    """Build an instance."""
    return Instance(region_id="r", service_id="s", instance_id=name, url=url)


def entry_with(*names: str) -> Followed:
    """Return a service as an answer showed it."""
    entry = Followed("s", 0.0)
    answer(entry, *names)
    return entry


def answer(entry: Followed, *names: str, guard: Guard = OFF, now: float = 0.0) -> list[tuple[str, bool, bool]]:
    """Take in an answer; return which instances were touched, and whether they were and are there."""
    service = Service(service_id="s", instances=[instance(name) for name in names])
    applied = entry.answer(service, guard, asked=now, age=0.0, now=now)
    return [(key[2], before is not None, after is not None) for key, before, after in applied.touched]


def push(entry: Followed, *changes: tuple[str, str], cursor: str = "c", full_sync: bool = False) -> list[str]:
    """Take in a push; return which instances were touched."""
    made = tuple(Change(kind, instance(name), 0) for kind, name in changes)
    return [touched.key[2] for touched in entry.push(Push("s", made, cursor, full_sync), OFF, 0.0).touched]


def names(entry: Followed) -> list[str | None]:
    """Return what is shown."""
    return [one.instance_id for one in entry.instances or ()]


def test_an_entry_is_one_for_all_spellings() -> None:
    """The letter case of a service id does not matter."""
    book = ServiceBook(limit=10)
    assert book.use("Orders", 0.0) is book.use(" orders", 1.0)
    assert book.get("orders") is book.use("ORDERS", 2.0)
    assert len(book) == 1


def test_a_blank_name_is_an_error() -> None:
    """There is no such service."""
    with pytest.raises(ValueError, match="must not be blank"):
        ServiceBook(limit=10).use("  ", 0.0)


def test_an_answer_is_the_basis_of_a_view() -> None:
    """Its age counts from when it was asked for, and what the node says of its data."""
    entry = Followed("Orders", 0.0)
    assert entry.view(0.0) is None
    rule = RouteRule(route_id="r")
    service = Service(service_id="orders", instances=[instance("a"), None], route_rules=[rule, None])
    entry.answer(service, OFF, asked=1.0, age=0.5, now=2.0)
    assert entry.view(3.0) == ServiceView("Orders", (instance("a"),), 2.5, route_rules=(rule,))


def test_an_answer_tells_what_went_came_and_changed() -> None:
    """An instance that stayed as it was is not mentioned, and the same answer again mentions nothing."""
    entry = entry_with("a", "b")
    assert answer(entry, "b", "c") == [("a", True, False), ("c", False, True)]
    before = entry.instances
    assert answer(entry, "b", "c") == []
    assert entry.instances is before


def test_another_order_shows_as_such_and_is_no_change() -> None:
    """The registry's order is kept."""
    entry = entry_with("a", "b")
    assert answer(entry, "b", "a") == []
    assert names(entry) == ["b", "a"]


def test_content_is_compared_whole() -> None:
    """Metadata alone is a change too."""
    entry = entry_with("a")
    other = msgspec.structs.replace(instance("a"), metadata={"k": "v"})
    applied = entry.answer(Service(service_id="s", instances=[other]), OFF, asked=1.0, age=0.0, now=1.0)
    assert [(touched.before, touched.after) for touched in applied.touched] == [(instance("a"), other)]


def test_pushed_changes_are_applied_by_identity() -> None:
    """What is new comes at the end, what is other stays where it is, and the letter case of ids does not matter."""
    entry = entry_with("a", "b", "c")
    changes = (
        Change("change", instance("A", "http://y"), 0),
        Change("delete", instance("B"), 0),
        Change("new", instance("d"), 0),
    )
    applied = entry.push(Push("s", changes, "c1"), OFF, 0.0)
    assert [touched.key[2] for touched in applied.touched] == ["a", "b", "d"]
    assert entry.instances == (instance("A", "http://y"), instance("c"), instance("d"))
    assert entry.cursor == "c1"


def test_a_push_once_more_changes_nothing() -> None:
    """Nor does the end of an instance that is not known."""
    entry = entry_with("a")
    changes = [("new", "b"), ("delete", "z")]
    assert push(entry, *changes) == ["b"]
    before = entry.instances
    assert push(entry, *changes) == []
    assert entry.instances is before


def test_a_full_sync_is_everything_but_the_rules() -> None:
    """So the service has to be looked up all the same."""
    entry = entry_with("a", "b")
    assert push(entry, ("new", "b"), ("new", "c"), full_sync=True) == ["a", "c"]
    assert names(entry) == ["b", "c"]
    assert entry.behind


@pytest.mark.parametrize("kind", ["reload", "nonsense"])
@pytest.mark.parametrize("full_sync", [False, True])
def test_what_a_push_cannot_say_has_to_be_looked_up(kind: str, full_sync: bool) -> None:
    """What is shown stays until then; the position counts with the lookup that comes after."""
    entry = entry_with("a")
    assert push(entry, (kind, "*"), cursor="c2", full_sync=full_sync) == []
    assert (names(entry), entry.behind, entry.cursor) == (["a"], True, "c2")


def test_a_push_before_the_first_answer_is_nothing() -> None:
    """There is nothing to apply it to."""
    entry = Followed("s", 0.0)
    assert push(entry, ("new", "a")) == []
    assert entry.view(0.0) is None


def test_a_push_that_says_its_age_confirms() -> None:
    """A long poll's answer does, unless there is something to look up."""
    entry = entry_with("a")
    entry.push(Push("s", (), "c", age=0.25), OFF, 8.0)
    assert entry.confirmed == 7.75
    entry.behind = True
    entry.push(Push("s", (), "c", age=0.25), OFF, 9.0)
    assert entry.confirmed == 7.75


operations = st.lists(
    st.tuples(
        st.sampled_from(["answer", "push", "full"]),
        st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from(["http://x", "http://y", ""])), max_size=4),
    ),
    max_size=8,
)


@given(operations)
def test_what_is_told_is_what_changed(steps: list[tuple[str, list[tuple[str, str]]]]) -> None:
    """Whoever applies all that was touched has the picture that is shown, whatever came in which order."""
    entry = Followed("s", 0.0)
    picture: dict[object, Instance] = {}
    for kind, parts in steps:
        present = [instance(name, url) for name, url in dict(parts).items() if url]
        if kind == "answer":
            applied = entry.answer(Service(service_id="s", instances=list(present)), OFF, asked=0.0, age=0.0, now=0.0)
        else:
            changes = tuple(Change("new" if url else "delete", instance(name, url), 0) for name, url in parts)
            applied = entry.push(Push("s", changes, "c", full_sync=kind == "full"), OFF, 0.0)
        for key, before, after in applied.touched:
            assert picture.get(key) == before
            assert before != after
            if after is None:
                del picture[key]
            else:
                picture[key] = after
        assert picture == {instance_key(one): one for one in entry.instances or ()}


def test_the_disk_serves_until_the_registry_answers() -> None:
    """Never the other way round."""
    entry = Followed("s", 0.0)
    stored = Service(service_id="s", instances=[instance("a")])
    assert [touched.key[2] for touched in entry.restore(stored, 3.0).touched] == ["a"]
    assert entry.view(5.0) == ServiceView("s", (instance("a"),), 2.0, source="disk")
    assert answer(entry, "b") == [("a", True, False), ("b", False, True)]
    assert entry.restore(stored, 3.0).touched == ()
    assert (names(entry), entry.source) == (["b"], "registry")


def test_services_are_found_by_what_they_lack() -> None:
    """An answer of the registry, or a node that pushes."""
    book = ServiceBook(limit=10)
    entries = [book.use(name, 0.0) for name in "abc"]
    answer(entries[0])
    entries[0].fed = True
    entries[1].restore(Service(service_id="b"), 0.0)
    assert book.without_answer() == entries[1:]
    assert book.to_poll() == entries[1:]
    assert book.entries() == entries


def test_the_service_unused_for_longest_makes_room() -> None:
    """Watched ones stay."""
    book = ServiceBook(limit=2)
    watched = book.use("a", 0.0)
    watched.watchers = 1
    book.use("b", 1.0)
    book.use("c", 2.0)
    assert [entry.service_id for entry in book.entries()] == ["a", "c"]


def test_too_many_watched_services_are_an_error() -> None:
    """The error names the option."""
    book = ServiceBook(limit=1)
    book.use("a", 0.0).watchers = 1
    with pytest.raises(LimitError, match="max_services=1"):
        book.use("b", 1.0)
