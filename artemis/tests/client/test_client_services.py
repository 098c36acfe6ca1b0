"""What a client knows about services, and how two answers differ."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artemis.client.discovery.services import InstanceChange, ServiceBook, ServiceView, differences
from artemis.client.errors import LimitError
from artemis.client.names import instance_key
from artemis.model import Instance, Service


def instance(name: str, url: str = "http://x") -> Instance:
    """Build an instance."""
    return Instance(region_id="r", service_id="s", instance_id=name, url=url)


def test_differences_name_what_went_came_and_changed() -> None:
    """Deletes come first; an instance that stayed as it was is not mentioned."""
    old = [instance("a"), instance("b"), instance("c")]
    new = [instance("C", "http://y"), instance("b"), instance("d")]
    assert differences(old, new, 7) == [
        InstanceChange("delete", old[0], 7),
        InstanceChange("change", new[0], 7),
        InstanceChange("new", new[2], 7),
    ]


instances = st.lists(
    st.builds(instance, st.sampled_from("abcde"), st.sampled_from(["http://x", "http://y"])), unique_by=instance_key
)


@given(instances, instances)
def test_applying_the_differences_gives_the_new_picture(old: list[Instance], new: list[Instance]) -> None:
    """Who follows the changes has the whole picture."""
    picture = {instance_key(one): one for one in old}
    for change in differences(old, new, 0):
        if change.change_type == "delete":
            del picture[instance_key(change.instance)]
        else:
            assert (change.change_type == "change") == (instance_key(change.instance) in picture)
            picture[instance_key(change.instance)] = change.instance
    assert picture == {instance_key(one): one for one in new}


def test_an_entry_is_one_for_all_spellings() -> None:
    """The letter case of a service id does not matter."""
    book = ServiceBook(limit=10)
    assert book.use("Orders", 0.0) is book.use(" orders", 1.0)
    assert len(book) == 1


def test_a_blank_name_is_an_error() -> None:
    """There is no such service."""
    with pytest.raises(ValueError, match="must not be blank"):
        ServiceBook(limit=10).use("  ", 0.0)


def test_an_answer_changes_the_entries_that_look_different() -> None:
    """Each by its own name; a repeated answer changes nothing but the age."""
    book = ServiceBook(limit=10)
    orders, prices = book.use("orders", 0.0), book.use("prices", 0.0)
    answer = [Service(service_id="Orders", instances=[instance("a"), None]), Service(service_id="prices")]
    assert book.take([orders, prices], answer, 1.0) == [orders, prices]
    assert orders.view(3.0) == ServiceView("orders", (instance("a"),), 2.0)
    assert prices.view(3.0) == ServiceView("prices", (), 2.0)
    assert book.take([orders, prices], answer, 2.0) == []
    assert orders.view(3.0) == ServiceView("orders", (instance("a"),), 1.0)


def test_what_an_answer_leaves_out_keeps_and_gets_older() -> None:
    """So does what nobody asked for."""
    book = ServiceBook(limit=10)
    orders = book.use("orders", 0.0)
    book.take([orders], [Service(service_id="orders", instances=[instance("a")])], 1.0)
    assert book.take([orders], [None, Service(), Service(service_id="other", instances=[instance("z")])], 5.0) == []
    assert orders.view(5.0) == ServiceView("orders", (instance("a"),), 4.0)


def test_content_is_compared_whole() -> None:
    """Metadata alone is a change too."""
    book = ServiceBook(limit=10)
    orders = book.use("orders", 0.0)
    book.take([orders], [Service(service_id="orders", instances=[instance("a")])], 1.0)
    other = msgspec.structs.replace(instance("a"), metadata={"k": "v"})
    assert book.take([orders], [Service(service_id="orders", instances=[other])], 2.0) == [orders]


def test_batches_are_bounded_and_can_be_those_without_an_answer() -> None:
    """All services, or the ones that nobody has seen yet."""
    book = ServiceBook(limit=10)
    entries = [book.use(name, 0.0) for name in "abc"]
    book.take(entries[:1], [Service(service_id="a")], 0.0)
    assert book.batches(2, missing=False) == [entries[:2], entries[2:]]
    assert book.batches(2, missing=True) == [entries[1:]]


def test_the_service_unused_for_longest_makes_room() -> None:
    """Watched ones stay."""
    book = ServiceBook(limit=2)
    watched = book.use("a", 0.0)
    watched.watchers = 1
    book.use("b", 1.0)
    book.use("c", 2.0)
    assert [entry.service_id for batch in book.batches(9, missing=False) for entry in batch] == ["a", "c"]


def test_too_many_watched_services_are_an_error() -> None:
    """The error names the option."""
    book = ServiceBook(limit=1)
    book.use("a", 0.0).watchers = 1
    with pytest.raises(LimitError, match="max_services=1"):
        book.use("b", 1.0)
