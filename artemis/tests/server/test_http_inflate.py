"""Unpacking within a budget, packing once."""

import gzip
import os
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artemis.server.http.inflate import STEP, GzipError, TooLargeError, inflate_steps
from artemis.server.http.packing import PackedAnswers


def inflate(packed: bytes, budget: int) -> bytes:
    """All steps at once."""
    steps = inflate_steps(packed, budget)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            whole: bytes = stop.value
            return whole


def test_countless_empty_members_are_refused():
    """Members that add nothing cost time; a few are allowed."""
    empty = gzip.compress(b"", mtime=0)
    assert b"x" == inflate(empty * 15 + gzip.compress(b"x"), 10)
    with pytest.raises(GzipError):
        inflate(empty * 100_000, 10)


def test_large_members_in_a_row():
    """Members of any size may follow each other, wherever their ends fall in the windows that are read."""
    bodies = [bytes([n]) * 1000 + os.urandom(n * 40_000) for n in range(1, 6)]
    assert b"".join(bodies) == inflate(b"".join(map(gzip.compress, bodies)), 1_000_000)


@given(st.lists(st.binary(max_size=500), min_size=1, max_size=3))
def test_members_in_a_row_are_one_body(bodies):
    """A gzip file is any number of members; their contents follow each other."""
    assert b"".join(bodies) == inflate(b"".join(map(gzip.compress, bodies)), 10_000)


def test_the_budget_is_exact():
    """A body of exactly the budget passes, one byte more does not."""
    packed = gzip.compress(b"x" * 1000)
    assert b"x" * 1000 == inflate(packed, 1000)
    with pytest.raises(TooLargeError):
        inflate(packed, 999)


def test_a_bomb_is_stopped_at_the_budget():
    """100 MiB of zeros are not unpacked to find out that they are too many."""
    bomb = gzip.compress(b"\0" * (100 * 1024 * 1024))
    steps = inflate_steps(bomb, 3 * STEP)
    for _ in range(3):
        next(steps)
    with pytest.raises(TooLargeError):
        next(steps)


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"{}",
        gzip.compress(b"hello", mtime=0)[:-4],
        gzip.compress(b"hello", mtime=0) + b"x",
        zlib.compress(b"hello"),
        b"\x1f\x8b",
    ],
)
def test_what_is_not_whole_gzip_is_refused(packed):
    """Cut, extended or foreign streams are an error, not a shorter body."""
    with pytest.raises(GzipError):
        inflate(packed, 1000)


def test_large_answers_are_packed_once_and_forgotten_in_turn():
    """The cache answers by content and stays within its bytes."""
    cache = PackedAnswers(budget=25_000, from_size=100)
    bodies = [bytes([n]) * 10_000 for n in range(4)]
    first = cache.pack(bodies[0])
    assert bodies[0] == gzip.decompress(first[0])
    assert first[0] is cache.pack(bodies[0])[0]
    for body in bodies[1:]:
        cache.pack(body)
    assert first[0] is not cache.pack(bodies[0])[0]
    assert (b"x" * 99, b"") == cache.pack(b"x" * 99)
