"""Cursors: what they look like, what they compare to, and what is not one (design 4.1)."""

import base64
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artemis.model import Instance
from artemis.model.cursors import (
    MAX_CURSOR,
    NOTHING,
    BadCursor,
    Cursor,
    decode_cursor,
    encode_cursor,
    later_of_same_life,
    read_cursor,
)
from artemis.push import Positions
from artemis.registry import Origin

ONE, TWO = Origin("n1", 1), Origin("n2", 7)

origins = st.builds(Origin, st.text(max_size=20), st.integers(0, 2**63 - 1))
numbers = st.dictionaries(origins, st.integers(1, 2**63 - 1), max_size=5)
cursors = st.builds(
    Cursor,
    kind=st.text(max_size=8),
    name=st.text(max_size=20),
    vector=numbers,
    base=st.dictionaries(st.text(max_size=20), st.integers(1, 2**63 - 1), max_size=3),
    ahead=numbers,
    issuer=st.none() | origins,
    version=st.integers(0, 2**63 - 1),
)


def mesh(vector, **fields):
    """A cursor of the region r1."""
    return Cursor(kind="mesh", name="r1", vector=vector, **fields)


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
        (1, "mesh", "r1", [("n1", 1, 1)]),
        (3, "mesh", "r1", 0, 0, [("n1", 0, (1, 1))]),
        (2, "mesh", "r1", 0, 0, [("n1", 0, (1, 1)), ("n1", 0, (2, 1))]),
        (2, "mesh", "r1", 0, 0, [("n1", 0, (1, 1, 0, 2))]),
        (2, "mesh", "r1", 0, 0, [("n2", 0, (1, 1)), ("n1", 0, (1, 1))]),
        (2, "mesh", "r1", 0, 0, [("n1", 0, (1, "1"))]),
        (2, "mesh", "r1", 0, 0, [("n1", 0, (1,))]),
        (2, "mesh", "r1", 2, 0, [("n1", 0, (1, 1))]),
        (2, "mesh", "r1", 0, 0, [("n1", 0, (1, 1))], [2, 5]),
        (2, "mesh", "r1", 0, 0, [("n1", 0, (1, 0))]),
        (2, "mesh", "r1"),
        {"a": 1},
        [[[[[[]]]]]],
    ],
    ids=[
        "the former format",
        "another format",
        "node twice",
        "life twice",
        "out of order",
        "text for a number",
        "life without a number",
        "issuer that is not there",
        "ahead of what is not there",
        "number that says nothing",
        "too short",
        "a map",
        "nested",
    ],
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


def test_what_is_no_cursor_is_read_as_nothing():
    """Whoever hands in something else knows nothing; the same text is the same object."""
    text = encode_cursor(mesh({ONE: 3}))
    assert NOTHING is read_cursor("no cursor")
    assert NOTHING == read_cursor(encode_cursor(NOTHING))
    assert read_cursor(text) is read_cursor(text)


def test_cursors_compare_by_what_they_cover():
    """A cursor covers the changes up to its numbers, and dominates those that cover no more of the same cluster."""
    older = mesh({ONE: 3})
    newer = mesh({ONE: 3, TWO: 1})
    assert (True, True, False, False) == (
        older.covers(ONE, 2),
        older.covers(ONE, 3),
        older.covers(ONE, 4),
        older.covers(TWO, 1),
    )
    assert (True, False, True) == (newer.dominates(older), older.dominates(newer), older.dominates(older))
    assert not newer.dominates(Cursor(kind="mesh", name="r2", vector={ONE: 1}))


@pytest.mark.parametrize(
    ("one", "other", "dominates"),
    [
        (mesh({}, base={"n1": 2}), mesh({ONE: 9}), True),
        (mesh({ONE: 9}), mesh({}, base={"n1": 2}), False),
        (mesh({ONE: 3}), mesh({ONE: 3}, ahead={TWO: 1}), False),
        (mesh({ONE: 3, TWO: 1}), mesh({ONE: 3}, ahead={TWO: 1}), True),
        (mesh({ONE: 3}, ahead={TWO: 1}), mesh({ONE: 3, TWO: 1}), False),
        (mesh({ONE: 1}, issuer=ONE, version=8), mesh({ONE: 2}, ahead={TWO: 1}, issuer=ONE, version=8), True),
        (mesh({ONE: 2}, issuer=ONE, version=7), mesh({ONE: 3}, issuer=ONE, version=8), False),
    ],
    ids=[
        "a closed epoch",
        "a closed epoch that the other has whole",
        "what the other may have seen",
        "what the other may have seen, and is known",
        "what was only seen is no knowledge",
        "later of the same node",
        "earlier of the same node",
    ],
)
def test_what_dominates(one, other, dominates):
    """To dominate is to have everything that the other may have seen; a node itself never goes back."""
    assert dominates == one.dominates(other)
    assert later_of_same_life(encode_cursor(one), encode_cursor(other)) <= dominates


def test_two_cursors_of_one_node_are_compared_at_a_glance():
    """Which is later shows without reading what they cover; of others, and of no cursors, nothing is said."""
    vector = {ONE: 3, TWO: 4, Origin("n2", 8): 1}
    text = encode_cursor(mesh(vector, issuer=TWO, version=7))
    assert later_of_same_life(encode_cursor(mesh(vector, issuer=TWO, version=8)), text)
    assert not later_of_same_life(text, encode_cursor(mesh(vector, issuer=TWO, version=8)))
    others = [mesh(vector, issuer=Origin("n2", 8), version=8), mesh(vector, issuer=ONE, version=8), mesh(vector)]
    assert not any(later_of_same_life(encode_cursor(other), text) for other in others)
    assert not later_of_same_life("no cursor", text)
    assert not later_of_same_life(text, "")


def test_cursors_fit_into_headers():
    """Seven nodes, each with three lives and the address of its machine as its id, take less than 700 characters."""
    born = 1_700_000_000_000
    nodes = [f"http://10.0.0.{number}:8080" for number in range(7)]
    vector = {Origin(node, born + life * 3_600_000): 1_000_000 for node in nodes for life in range(3)}
    cursor = mesh(vector, base=dict.fromkeys(nodes, born), issuer=next(iter(vector)), version=born)
    assert len(encode_cursor(cursor)) < 700


def test_a_cursor_that_would_be_too_long_is_of_use_to_its_issuer_alone():
    """It names its place in one history and knows nothing of others; without an issuer it is nothing."""
    vector = {Origin(f"node-{number:04}", 1): 1 for number in range(1_000)}
    origin = next(iter(vector))
    long = mesh(vector, issuer=origin, version=5)
    short = decode_cursor(encode_cursor(long))
    assert Cursor(kind="", name="r1", vector={}, issuer=origin, version=5) == short
    assert NOTHING == decode_cursor(encode_cursor(mesh(vector)))


def test_the_position_of_a_node_is_kept_until_it_moves(make_registry):
    """The same position gives the same text object; another one the text of that."""
    registry = make_registry()
    positions = Positions(registry)
    text = positions.text(5)
    assert mesh({}, issuer=ONE, version=5) == decode_cursor(text)
    assert text is positions.text(5)
    assert len(text) < 50
    registry.register(Instance(region_id="r1", service_id="s", instance_id="i", url="u"), 0)
    registry.base["n2"] = 7
    registry.ahead[TWO] = 3
    assert mesh({ONE: 1}, base={"n2": 7}, ahead={TWO: 3}, issuer=ONE, version=6) == decode_cursor(positions.text(6))
