"""The messages that nodes exchange: what is written is read, and nothing else gets through."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artemis.cluster.messages import (
    BadMessage,
    Changes,
    Digest,
    Farewell,
    InstanceRow,
    Message,
    More,
    OperationRow,
    Reached,
    Renewals,
    Repair,
    Switched,
    decode_message,
    encode_message,
    instance_row,
)
from artemis.cluster.reading import Records
from artemis.registry import Dot, Origin, Record

INSTANCE = InstanceRow("s", "i", (1, "a"), False, b"{}", (1, "a"), (0, ""), (1, "a"), 3, [("a", 1, 5)])
OPERATION = OperationRow("r", "s", "i", "pull-out", (1, "b"), (2, "a"), False, "me", None, [("a", 1, 6)])


@pytest.mark.parametrize(
    "message",
    [
        Changes("a", 1, 5, [None, INSTANCE, OPERATION]),
        Renewals("a", 1, (1, "a"), 5, 6, 1, [(1, "s", "i")], b"\1\0\0\0"),
        Digest(1, b"x" * 8),
        Repair(1, 0, True, [INSTANCE, OPERATION], [3], [("a", 1, 5)], [("a", 1)], [("b", 1, 2)]),
        More(1, 2),
        Farewell("a", 1, False),
        Reached(1, 2),
        Switched("registry", 1, "a", "down", "alice", 1),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_message_is_read_as_it_was_written(message: Message) -> None:
    """Every kind of message survives the way over the wire."""
    assert decode_message(encode_message(message)) == message


@given(st.binary(max_size=200))
def test_anything_else_is_a_bad_message(data: bytes) -> None:
    """Whatever bytes come, they are a message or `BadMessage`."""
    try:
        message = decode_message(data)
    except BadMessage:
        return
    assert decode_message(encode_message(message)) == message


def test_a_record_survives_as_a_row() -> None:
    """A record and its row say the same."""
    dots = (Dot(Origin("a", 1), 5), Dot(Origin("b", 2), 1))
    content = b'{"serviceId":"s","instanceId":"i"}'
    record = Record(("r", "s", "i"), (4, "a"), False, content, (5, "b"), (3, "a"), (4, "a"), dots)
    row = instance_row(record, 7, with_dots=True)
    again = Records("r", 10_000).of(row)
    names = Record.__struct_fields__
    assert [getattr(again, name) for name in names] == [getattr(record, name) for name in names]
    assert (row.age, instance_row(record, 7, with_dots=False).dots) == (7, [])
