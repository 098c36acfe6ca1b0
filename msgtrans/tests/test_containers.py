"""Containers that threads share (case 27): eight real threads each, switched as often as Python allows."""

from __future__ import annotations

import sys
import time
from collections import Counter as Tally
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msgtrans import ConfigurationError, ResourceError
from msgtrans.containers import ConcurrentCounter, ConcurrentMap, ConcurrentQueue, CounterStats, MapStats, QueueStats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
THREADS = 8
TIMES = 1000


@pytest.fixture(autouse=True)
def _switch_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(work: Callable[[int], T]) -> list[T]:
    """What `work(number)` returns in each of eight threads that begin together."""
    together = Barrier(THREADS)

    def run(number: int) -> T:
        together.wait()
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(THREADS)))


def test_a_counter_loses_no_update() -> None:
    """Every increment and decrement of every thread is in the sum, and each gives a value of its own (case 27)."""
    counter = ConcurrentCounter()
    seen = in_threads(lambda _: [counter.increment() for _ in range(TIMES)])
    assert list(range(1, THREADS * TIMES + 1)) == sorted(value for values in seen for value in values)
    in_threads(lambda _: [counter.decrement(2) for _ in range(TIMES)])
    assert -THREADS * TIMES == counter.get()
    assert CounterStats(THREADS * TIMES, THREADS * TIMES, 1) == counter.stats()


def test_a_counter_falls_below_zero() -> None:
    """Taking away before adding leads to the right sum; the original wraps."""
    counter = ConcurrentCounter()
    assert (-1, 0) == (counter.decrement(), counter.increment())


def test_a_counter_is_read_and_replaced_in_one_step() -> None:
    """What threads swap out adds up to what was put in, whatever their order (case 27)."""
    counter = ConcurrentCounter()

    def collect(_: int) -> int:
        return sum(counter.swap(0) for _ in range(TIMES) if counter.increment())

    assert THREADS * TIMES == sum(in_threads(collect)) + counter.get()
    counter.set(7)
    assert 7 == counter.get()


def test_a_map_loses_no_write() -> None:
    """Threads write the same keys; every value was put in once, and is found once: as previous value or in the map."""
    shared: ConcurrentMap[int, int] = ConcurrentMap()

    def write(thread: int) -> list[int | None]:
        return [shared.insert(number % 10, thread * TIMES + number) for number in range(TIMES)]

    replaced = [value for values in in_threads(write) for value in values if value is not None]
    assert list(range(THREADS * TIMES)) == sorted(replaced + list(shared.snapshot().values()))
    assert MapStats(1, THREADS * TIMES, 10) == shared.stats()


def test_a_map_changes_values_in_one_step() -> None:
    """`update` sees the value of the update before (case 27)."""
    shared: ConcurrentMap[str, int] = ConcurrentMap()

    def one_more(value: int | None) -> int:
        time.sleep(0)  # lets other threads run, in the middle of it
        return (value or 0) + 1

    in_threads(lambda thread: [shared.update(f"of {thread % 2}", one_more) for _ in range(TIMES // 10)])
    half = THREADS * TIMES // 20
    assert {"of 0": half, "of 1": half} == shared.snapshot()


def test_a_map_is_read_while_others_write() -> None:
    """A snapshot is the map of one moment: of two values that are written in turn, none is more than one ahead."""
    shared: ConcurrentMap[str, int] = ConcurrentMap()

    def work(thread: int) -> list[int]:
        if thread % 2:
            for number in range(TIMES):
                shared.insert(f"{thread} first", number)
                shared.insert(f"{thread} second", number)
            return []
        apart = []
        for _ in range(TIMES // 10):
            found = shared.snapshot()
            for name, value in found.items():
                if name.endswith("first"):
                    apart.append(value - found.get(name.replace("first", "second"), -1))
        return apart

    assert {0, 1} >= {distance for distances in in_threads(work) for distance in distances}


def test_a_map_is_walked_while_it_changes() -> None:
    """`for_each` visits what was there when it began, and may change the map (case 27)."""
    shared: ConcurrentMap[int, int] = ConcurrentMap()
    for number in range(100):
        shared.insert(number, number)
    seen: list[int] = []

    def visit(key: int, _: int) -> None:
        seen.append(key)
        shared.remove(key)
        shared.insert(key + 1000, key)

    shared.for_each(visit)
    assert (list(range(100)), list(range(1000, 1100))) == (seen, shared.keys())


@given(st.lists(st.tuples(st.sampled_from(["insert", "remove", "get"]), st.integers(0, 5), st.integers()), max_size=50))
def test_a_map_is_a_dictionary(steps: list[tuple[str, int, int]]) -> None:
    """Each operation answers what a dict would have held before it."""
    shared: ConcurrentMap[int, int] = ConcurrentMap()
    model: dict[int, int] = {}
    for operation, key, value in steps:
        before = model.get(key)
        match operation:
            case "insert":
                assert before == shared.insert(key, value)
                model[key] = value
            case "remove":
                assert before == shared.remove(key)
                model.pop(key, None)
            case _:
                assert before == shared.get(key)
        assert (len(model), not model, model) == (len(shared), shared.is_empty, shared.snapshot())


def test_a_queue_gives_every_item_to_one_consumer_in_order() -> None:
    """Four producers and four consumers: each item comes out once, those of a producer in its order (case 27)."""
    queue: ConcurrentQueue[tuple[int, int]] = ConcurrentQueue()
    left = ConcurrentCounter(THREADS // 2 * TIMES)

    def work(thread: int) -> list[tuple[int, int]]:
        if thread % 2:
            for number in range(TIMES):
                queue.push((thread, number))
            return []
        taken = []
        while left.get() > 0:
            items = queue.pop_many(3) if thread % 4 else [item for item in (queue.pop(),) if item]
            left.decrement(len(items))
            taken += items
        return taken

    found = in_threads(work)
    for taken in found:
        for producer in range(1, THREADS, 2):
            mine = [number for thread, number in taken if thread == producer]
            assert sorted(mine) == mine
    everything = Tally(item for taken in found for item in taken)
    assert Tally((thread, number) for thread in range(1, THREADS, 2) for number in range(TIMES)) == everything
    assert QueueStats(4 * TIMES, 4 * TIMES, 0, 0, 0) == queue.stats()
    assert queue.is_empty


def test_a_queue_tells_one_producer_that_it_was_empty() -> None:
    """`push` answers with the length, so exactly one thread finds an empty queue (case 27)."""
    queue: ConcurrentQueue[int] = ConcurrentQueue()
    lengths = in_threads(lambda thread: [queue.push(thread) for _ in range(TIMES)])
    assert list(range(1, THREADS * TIMES + 1)) == sorted(length for each in lengths for length in each)
    assert THREADS * TIMES == len(queue)


def test_a_full_queue_refuses() -> None:
    """At its capacity a queue refuses and counts; what was taken out makes room again."""
    queue: ConcurrentQueue[str] = ConcurrentQueue(10)
    assert [1, 2] == [queue.push("a", 4), queue.push("b", 9)]
    with pytest.raises(ResourceError, match=": 13, and the limit is 10"):
        queue.push("c")
    assert QueueStats(2, 0, 1, 2, 13) == queue.stats()
    assert "a" == queue.pop()
    assert 2 == queue.push("c")
    assert ["b", "c"] == queue.pop_many(5)
    assert (None, []) == (queue.pop(), queue.pop_many(5))


@pytest.mark.parametrize("capacity", [0, -1, 1.5, True])
def test_a_queue_without_room_is_refused(capacity: int) -> None:
    """A capacity is a whole number from 1 up."""
    with pytest.raises(ConfigurationError, match="capacity"):
        ConcurrentQueue(capacity)


NO_COUNTS = [None, True, -1, 1.5, float("nan"), float("inf"), "5", b"x", []]


@pytest.mark.parametrize("wrong", NO_COUNTS)
def test_weights_and_counts_are_whole(wrong: int) -> None:
    """A weight or a number of items that is none is refused, and the queue stays as it is."""
    queue: ConcurrentQueue[str] = ConcurrentQueue(5)
    queue.push("item", 0)
    with pytest.raises(ConfigurationError, match=r"^weight: .*; use a whole number from 0 up"):
        queue.push("item", wrong)
    with pytest.raises(ConfigurationError, match=r"^most: .*; use a whole number from 0 up"):
        queue.pop_many(wrong)
    if wrong is not None:
        with pytest.raises(ConfigurationError, match=r"^capacity: .*; use a whole number from 1 up"):
            ConcurrentQueue(wrong)
    assert (QueueStats(1, 0, 0, 1, 0), []) == (queue.stats(), queue.pop_many(0))


@pytest.mark.parametrize("wrong", [wrong for wrong in NO_COUNTS if wrong != -1])
def test_counters_count_whole_numbers(wrong: int) -> None:
    """What is no whole number is refused wherever a counter takes one, and the counter stays as it is."""
    with pytest.raises(ConfigurationError, match=r"^value: .*; use a whole number"):
        ConcurrentCounter(wrong)
    counter = ConcurrentCounter(-7)
    for change in (counter.increment, counter.decrement, counter.set, counter.swap):
        with pytest.raises(ConfigurationError, match=r"; use a whole number"):
            change(wrong)
    assert (-7, CounterStats(0, 0, 1)) == (counter.get(), counter.stats())
