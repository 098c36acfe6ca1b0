"""Cursors: what they look like, what they compare to, and what is not one (design 4.1)."""

import base64
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artemis.push import MAX_CURSOR, BadCursor, Cursor, Positions, decode_cursor, encode_cursor
from artemis.registry import Origin

ONE, TWO = Origin("n1", 1), Origin("n2", 7)

cursors = st.builds(
    Cursor,
    kind=st.text(max_size=8),
    name=st.text(max_size=20),
    vector=st.dictionaries(
        st.builds(Origin, st.text(max_size=20), st.integers(0, 2**63 - 1)), st.integers(0, 2**63 - 1), max_size=5
    ),
)


@given(cursors)
def test_a_cursor_survives_its_text(cursor):
    """Reading what was written gives the same cursor, in letters that no URL and no header has to quote."""
    text = encode_cursor(cursor)
    assert cursor == decode_cursor(text)
    assert re.fullmatch("[A-Za-z0-9_-]+", text)


@given(
    st.text(max_size=100) | st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=", max_size=80)
)
def test_other_texts_are_bad_cursors(text):
    """Whatever is handed in, it is a cursor that would be written so, or BadCursor."""
    try:
        cursor = decode_cursor(text)
    except BadCursor:
        return
    assert text == encode_cursor(cursor)


@pytest.mark.parametrize(
    "content",
    [
        (2, "mesh", "r1", [("n1", 1, 1)]),
        (1, "mesh", "r1", [("n1", 1, 1), ("n1", 1, 2)]),
        (1, "mesh", "r1", [("n2", 1, 1), ("n1", 1, 1)]),
        (1, "mesh", "r1", [("n1", 1, "1")]),
        (1, "mesh", "r1"),
        {"a": 1},
        [[[[[[]]]]]],
    ],
    ids=["another format", "origin twice", "out of order", "text for a number", "too short", "a map", "nested"],
)
def test_what_looks_like_a_cursor_and_is_none(content):
    """Another format, or another way to write the same, is refused: equal positions are equal texts."""
    text = base64.urlsafe_b64encode(msgspec.msgpack.encode(content)).rstrip(b"=").decode()
    with pytest.raises(BadCursor):
        decode_cursor(text)


def test_the_length_of_a_cursor_is_bounded():
    """What is longer than 4 KiB is not looked at."""
    with pytest.raises(BadCursor, match=f"1 to {MAX_CURSOR} characters, not 4097"):
        decode_cursor("A" * (MAX_CURSOR + 1))


def test_cursors_compare_by_what_they_cover():
    """A cursor covers the changes up to its numbers, and dominates those that cover no more of the same cluster."""
    older = Cursor(kind="mesh", name="r1", vector={ONE: 3})
    newer = Cursor(kind="mesh", name="r1", vector={ONE: 3, TWO: 1})
    assert (True, True, False, False) == (
        older.covers(ONE, 2),
        older.covers(ONE, 3),
        older.covers(ONE, 4),
        older.covers(TWO, 1),
    )
    assert (True, False, True) == (newer.dominates(older), older.dominates(newer), older.dominates(older))
    assert not newer.dominates(Cursor(kind="mesh", name="r2", vector={ONE: 1}))


def test_the_position_of_a_node_is_kept_until_it_moves():
    """The same vector gives the same text object; another one the text of that."""
    positions, vector = Positions("R1"), {ONE: 3}
    text = positions.text(vector)
    assert Cursor(kind="mesh", name="r1", vector={ONE: 3}) == decode_cursor(text)
    assert text is positions.text(dict(vector))
    vector[ONE] = 4
    assert {ONE: 4} == decode_cursor(positions.text(vector)).vector
    assert len(text) < 40
