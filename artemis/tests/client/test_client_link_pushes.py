"""What is read as a push, and what is not; and the numbers of operations, held to those of the node."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artemis.client.links.link import Change
from artemis.client.links.operations import CODES, CONFIRM, PUSH, SUBSCRIBE, UNSUBSCRIBE, position
from artemis.client.links.pushes import MAX_CHANGES, MAX_PUSH, GarbledPush, read_instance_change, read_push
from artemis.model import Instance
from artemis.server.binary import subscriptions
from artemis.server.operations import OPERATIONS

INSTANCE = {"instanceId": "i1", "serviceId": "orders", "url": "http://x"}


def push(**fields: object) -> bytes:
    """Return a push of one new instance, with other fields."""
    whole: dict[str, object] = {
        "type": "service_change",
        "service_id": "orders",
        "serviceId": "orders",
        "cursor": "abc",
        "fullSync": False,
        "changes": [{"changeTime": 5, "changeType": "new", "instance": INSTANCE}],
    }
    return json.dumps({**whole, **fields}).encode()


def test_a_push_is_read_as_the_node_writes_it() -> None:
    """With service, changes in order, cursor, and whether it is everything."""
    read = read_push(push(fullSync=True))
    assert ("orders", "abc", True, None) == (read.service, read.cursor, read.full_sync, read.age)
    assert (Change("new", Instance(instance_id="i1", service_id="orders", url="http://x"), 5),) == read.changes


def test_a_later_node_may_say_more() -> None:
    """Fields that are not known here are left out, of instances too."""
    change = {"changeTime": 5, "changeType": "new", "instance": {**INSTANCE, "colour": "red"}, "why": 1}
    assert read_push(push(mood="good", changes=[change])).changes[0].instance.instance_id == "i1"


@pytest.mark.parametrize(
    "change",
    [{"changeType": "moved", "instance": INSTANCE}, {"changeType": "new"}, {"instance": INSTANCE}, None],
)
def test_a_change_that_means_nothing_here_is_a_reload(change: object) -> None:
    """Something happened, and looking the service up again tells what."""
    read = read_push(push(changes=[change]))
    assert ["reload"] == [one.change_type for one in read.changes]


@pytest.mark.parametrize(
    ("item", "count"), [(b"{}", MAX_CHANGES + 1), (b"null", 800_000), (b"{}", 1_300_000), (b"{}", 5)]
)
def test_a_push_that_says_nothing_at_length_is_one_reload(item: bytes, count: int) -> None:
    """However long: reading it must not hold up the loop."""
    raw = b'{"serviceId":"Orders","cursor":"c","changes":[' + b",".join([item] * count) + b"]}"
    read = read_push(raw)
    assert ("orders", "c", False, ["reload"]) == (
        read.service,
        read.cursor,
        read.full_sync,
        [one.change_type for one in read.changes],
    )
    assert "orders" == read.changes[0].instance.service_id


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\x00\x01", "cannot be read"),
        (b"null", "is null"),
        (b"[]", "cannot be read"),
        (b"{}", "names no service"),
        (push(serviceId=" ", service_id=""), "names no service"),
        (push(changes=None), "without a list of changes"),
        (push(changes=5), "cannot be read"),
        (push(cursor=None), "without a cursor"),
        (b" " * (MAX_PUSH + 1), "are the most"),
        (b"[" * 100_000, "cannot be read"),
    ],
)
def test_what_is_no_push_is_told_apart_with_a_reason(raw: bytes, reason: str) -> None:
    """And it is never read in part."""
    with pytest.raises(GarbledPush, match=reason):
        read_push(raw)


@given(st.one_of(st.binary(max_size=200), st.text(max_size=100).map(lambda text: json.dumps({text: text}).encode())))
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    """Neither as a push nor as one of a Java node."""
    for read in (read_push, read_instance_change):
        with contextlib.suppress(GarbledPush):
            assert read(raw).service


def test_a_java_push_has_no_cursor_and_names_its_service_in_any_letter_case() -> None:
    """`reload` of it asks for a lookup (spec 3.3, 9.5)."""
    raw = {"changeTime": 7, "changeType": "delete", "instance": {**INSTANCE, "serviceId": "Orders"}}
    read = read_instance_change(json.dumps(raw))
    assert ("orders", None, "delete", 7) == (
        read.service,
        read.cursor,
        read.changes[0].change_type,
        read.changes[0].change_time,
    )
    with pytest.raises(GarbledPush, match="names no service"):
        read_instance_change('{"changeType": "reload"}')


def test_the_numbers_of_operations_are_those_of_the_node() -> None:
    """Each path of the client is an operation there, with that number."""
    there = {operation.path: operation.code for operation in OPERATIONS}
    assert {path: there.get(path) for path in CODES} == CODES
    names = (subscriptions.SUBSCRIBE, subscriptions.UNSUBSCRIBE, subscriptions.PUSH, subscriptions.CONFIRM)
    assert (SUBSCRIBE, UNSUBSCRIBE, PUSH, CONFIRM) == names


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"", (None, 0.0, 0)),
        (b"cursor=abc;age=1500", ("abc", 1.5, 0)),
        (b"format=json; cursor=abc ; more", ("abc", 0.0, 0)),
        (b"cursor=;age=-1", (None, 0.0, 0)),
        (b"cursor=" + b"x" * 4097, (None, 0.0, 0)),
        (b"age=" + b"9" * 30, (None, 0.0, 0)),
        (b"cursor=a;age=2000;missing=2", ("a", 2.0, 2)),
        (b"missing=-1", (None, 0.0, 0)),
        (b"missing=" + b"9" * 30, (None, 0.0, 0)),
        (b"cursor=\xff", (None, 0.0, 0)),
    ],
)
def test_an_ext_header_says_which_data_an_answer_shows(header: bytes, expected: tuple[str | None, float, int]) -> None:
    """What is no cursor, no age and no count is none."""
    assert expected == position(header)[:3]
