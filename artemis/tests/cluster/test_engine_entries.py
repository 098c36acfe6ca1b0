"""Keys and values of a bucket: every name has its key, every row its value, and nothing else is taken for one."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artemis.cluster.engine.entries import MAX_VALUE, BadEntry, MemberRow, decode_entry, encode_entry, key_of
from artemis.cluster.engine.keys import MOST_CHARACTERS, BadKey, instance_key, member_key, operation_key, read_key
from artemis.cluster.messages import InstanceRow, OperationRow
from artemis.registry import Origin

NAME = st.text(min_size=1, max_size=1_024)
NUMBER = st.integers(0, 2**62)
STAMP = st.tuples(NUMBER, st.text(max_size=20))
PARTS = st.lists(st.tuples(NAME, NUMBER, NUMBER), max_size=4)
INSTANCES = st.builds(
    InstanceRow, NAME, NAME, STAMP, st.booleans(), st.binary(max_size=50), STAMP, STAMP, STAMP, NUMBER, PARTS
)
TEXT = st.text(max_size=1_024)
OPERATIONS = st.builds(OperationRow, NAME, TEXT, NAME, NAME, STAMP, STAMP, st.booleans(), TEXT, st.none() | TEXT, PARTS)
EPOCHS = st.lists(st.tuples(NAME, NUMBER), max_size=3)
MEMBERS = st.builds(
    MemberRow,
    NAME,
    NUMBER,
    TEXT,
    TEXT,
    st.lists(st.tuples(NUMBER, NUMBER), max_size=3),
    EPOCHS,
    EPOCHS,
    PARTS,
    st.booleans(),
    PARTS,
)
VALUES = INSTANCES | OPERATIONS | MEMBERS


@given(NAME, NAME)
def test_the_key_of_an_instance_says_its_names(service: str, instance: str) -> None:
    """A key has no more characters than a subject may have, and its names are read back; of long ones only a hash."""
    key = instance_key(service, instance)
    assert len(key) <= MOST_CHARACTERS
    assert set(key) <= set("i.01abcdefghjklmnopqrstuvwxyz234567")
    found = read_key(key)
    assert found.kind == "i"
    expected = tuple(None if len(name.encode()) > 384 else name for name in (service, instance))
    assert expected == found.names


@given(st.tuples(TEXT, TEXT, TEXT, TEXT), st.tuples(TEXT, TEXT, TEXT, TEXT))
def test_different_decisions_have_different_keys(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    """Two decisions share a key if their names are the same in lower case, and only then."""
    same = [name.lower() for name in one] == [name.lower() for name in other]
    assert same == (operation_key(*one) == operation_key(*other))
    assert len(operation_key(*one)) <= MOST_CHARACTERS


@pytest.mark.parametrize(
    "key",
    [
        "",
        "i",
        "i.me",
        "i.me.me.me",
        "x.me",
        "m.ME",
        "m.*",
        "m.>",
        "m.",
        "m.m",
        "m.mf",
        "m.1me",
        "m.0a",
        "m." + "a" * MOST_CHARACTERS,
        "m.77777777",
    ],
)
def test_what_no_node_makes_is_no_key(key: str) -> None:
    """Wildcards, empty parts, other alphabets, spare bits, and names that are no text are refused."""
    with pytest.raises(BadKey):
        read_key(key)


@given(st.text(max_size=60))
def test_any_text_is_a_key_or_refused(key: str) -> None:
    """Reading a key raises nothing but BadKey."""
    try:
        names = read_key(key)
    except BadKey:
        return
    if names.kind == "m" and names.names[0] is not None:
        assert key == member_key(names.names[0])


@given(VALUES)
def test_values_are_read_as_they_were_put(value: InstanceRow | OperationRow | MemberRow) -> None:
    """What a node puts is what all others read."""
    assert value == decode_entry(key_of(value), encode_entry(value))


@given(VALUES, VALUES)
def test_a_value_under_another_key_is_refused(
    one: InstanceRow | OperationRow | MemberRow, other: InstanceRow | OperationRow | MemberRow
) -> None:
    """A value counts under its own key only."""
    if key_of(one) != key_of(other):
        with pytest.raises(BadEntry, match="another key"):
            decode_entry(key_of(one), encode_entry(other))


@given(st.binary(max_size=200), VALUES, st.integers(0, 400), st.integers(0, 255))
def test_strange_bytes_are_refused(
    data: bytes, value: InstanceRow | OperationRow | MemberRow, at: int, byte: int
) -> None:
    """Bytes of others and damaged ones raise BadEntry and nothing else."""
    damaged = bytearray(encode_entry(value))
    damaged[at % len(damaged)] = byte
    for each in (data, bytes(damaged), encode_entry(value)[:at]):
        try:
            decode_entry(key_of(value), each)
        except BadEntry:
            continue


def test_a_value_is_bounded() -> None:
    """More bytes than an engine takes in one message are not looked at, and rows with too many changes neither."""
    with pytest.raises(BadEntry, match="bytes at most"):
        decode_entry("m.me", bytes(MAX_VALUE + 1))
    row = InstanceRow("s", "i", (1, "a"), True, b"", (1, "a"), (0, ""), (0, ""), 0, [("a", 1, 1)] * 10_001)
    with pytest.raises(BadEntry):
        decode_entry(key_of(row), msgspec.msgpack.encode(row))


def test_a_node_says_what_of_it_is_in_the_bucket() -> None:
    """The row of a node is a reach: the numbers of its lives, and below which epochs its rows name nothing."""
    row = MemberRow("n", 7, "http://n", "z", [(5, 3), (7, 9)], [("x", 2)], [("y", 4)])
    reach = row.reach
    assert {Origin("n", 5): 3, Origin("n", 7): 9} == reach.vector
    assert {"x": 2, "y": 4} == reach.forgotten
