"""How an instance is chosen within a group, and whose turn it is among groups."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artemis.client.balancing.members import Lot, Member
from artemis.client.balancing.rendezvous import Lanes, halves, score, slot_of
from artemis.client.balancing.strategies import (
    PICKS,
    Strategy,
    learn_latency,
    smooth_turn,
)
from artemis.client.names import instance_key
from artemis.model import Instance


def member(name: str) -> Member:
    """Build a member of the service orders."""
    one = Instance(region_id="r1", service_id="orders", instance_id=name)
    return Member(one, instance_key(one))


def lot(*members: Member, weight: int = 5) -> Lot:
    """Build a group."""
    made = Lot("group", weight, 0)
    made.members = members
    made.narrow(members)
    return made


def chooser(strategy: Strategy, group: Lot, now: Callable[[], float] = time.monotonic) -> Callable[[str], Member]:
    """Return a function that chooses for a key."""
    source = Random(7)  # noqa: S311 - choices to be repeated, no secret
    return lambda key: PICKS[strategy](group, group.able, source, now, key.encode())


def owners(names: Sequence[str]) -> dict[int, str]:
    """Return who of the named has which of the first slots."""
    seeds = {name: member(name).seed for name in names}
    return {slot: max(names, key=lambda name: score(seeds[name], slot)) for slot in range(300)}


@given(weights=st.lists(st.integers(1, 40), min_size=1, max_size=6), steps=st.integers(0, 100))
def test_groups_get_exactly_their_weights(weights: list[int], steps: int) -> None:
    """In every run of as many choices as the weights add up to, wherever it begins; credits stay bounded."""
    lots = [Lot(str(number), weight, 0) for number, weight in enumerate(weights)]
    for _ in range(steps):
        smooth_turn(lots)
    counted = Counter(smooth_turn(lots).key for _ in range(sum(weights)))
    assert {str(number): weight for number, weight in enumerate(weights)} == counted
    assert max(abs(one.credit) for one in lots) <= sum(weights)


def test_the_turns_of_groups_are_evenly_spread() -> None:
    """The known sequence of the weights 5, 1 and 1: never all turns of the heavy one in a row."""
    lots = [Lot("a", 5, 0), Lot("b", 1, 0), Lot("c", 1, 0)]
    assert "aabacaa" == "".join(smooth_turn(lots).key for _ in range(7))


def test_round_robin_takes_each_once_a_round() -> None:
    """In order, from wherever the turn stands."""
    a, b, c = member("a"), member("b"), member("c")
    group = lot(a, b, c)
    choose = chooser("round-robin", group)
    assert [b, c, a, b] == [choose("") for _ in range(4)]


def test_random_gives_each_the_same_chance() -> None:
    """Within what chance allows for this seed."""
    choose = chooser("random", lot(*map(member, "abcd")))
    counted = Counter(choose("").key[2] for _ in range(4000))
    assert all(900 < counted[name] < 1100 for name in "abcd")


def test_least_requests_takes_the_idlest_and_of_several_any() -> None:
    """However few they are."""
    a, b, c = member("a"), member("b"), member("c")
    a.outstanding = 1
    choose = chooser("least-requests", lot(a, b, c))
    counted = Counter(choose("").key[2] for _ in range(1000))
    assert {"b", "c"} == set(counted)
    assert all(400 < count < 600 for count in counted.values())
    b.outstanding = 2
    assert {c} == {choose("") for _ in range(20)}


def test_least_requests_looks_at_a_part_of_many() -> None:
    """Every one of a hundred has its chance, and a busy one has none."""
    many = [member(str(number)) for number in range(100)]
    many[0].outstanding = 9
    choose = chooser("least-requests", lot(*many))
    assert {*many[1:]} == {choose("") for _ in range(5000)}


def test_power_of_two_takes_the_one_with_the_shorter_wait() -> None:
    """By latency and requests under way; of two instances the slow one comes to its turn when the other is busy."""
    slow, quick = member("slow"), member("quick")
    learn_latency(slow, 0.3, 0.0)
    learn_latency(quick, 0.1, 0.0)
    choose = chooser("power-of-two", lot(slow, quick), now=lambda: 0.0)
    assert {quick} == {choose("") for _ in range(20)}
    quick.outstanding = 3
    assert {slow} == {choose("") for _ in range(20)}


def test_power_of_two_goes_by_requests_under_way_while_latencies_are_unknown() -> None:
    """Nobody is flooded for being new."""
    old, new = member("old"), member("new")
    learn_latency(old, 0.001, 0.0)
    new.outstanding = 1
    choose = chooser("power-of-two", lot(old, new), now=lambda: 0.0)
    assert {old} == {choose("") for _ in range(20)}
    old.outstanding = 1
    assert {old, new} == {choose("") for _ in range(50)}


def test_power_of_two_forgets_an_old_latency_and_avoids_quick_failures() -> None:
    """What was slow a minute ago is tried again; an instance that fails at once does not look quick."""
    slow, quick = member("slow"), member("quick")
    learn_latency(slow, 1.0, 0.0)
    learn_latency(quick, 0.1, 60.0)
    choose = chooser("power-of-two", lot(slow, quick), now=lambda: 60.0)
    assert {slow} == {choose("") for _ in range(20)}
    learn_latency(slow, 0.1, 60.0)
    slow.latency, quick.failures = 0.1, 1
    assert {slow} == {choose("") for _ in range(20)}


def test_the_latency_is_a_moving_average() -> None:
    """The last answer counts for a quarter."""
    one = member("a")
    learn_latency(one, 0.4, 1.0)
    learn_latency(one, 0.8, 2.0)
    assert (pytest.approx(0.5), 2.0) == (one.latency, one.sampled)


def test_power_of_two_of_one_is_that_one() -> None:
    """There is no second."""
    only = member("a")
    assert only is chooser("power-of-two", lot(only))("")


def test_a_key_belongs_to_one_instance_whatever_their_order() -> None:
    """Different keys to all of them, about evenly."""
    members = [member(name) for name in "abcde"]
    one, other = chooser("consistent-hash", lot(*members)), chooser("consistent-hash", lot(*reversed(members)))
    keys = [f"customer-{number}" for number in range(5000)]
    assert [one(key) for key in keys] == [other(key) for key in keys] == [one(key) for key in keys]
    counted = Counter(one(key).key[2] for key in keys)
    assert all(850 < counted[name] < 1150 for name in "abcde")


def test_a_key_belongs_to_the_same_instance_in_every_process_and_version() -> None:
    """These are fixed points: changing them moves every key of every caller."""
    choose = chooser("consistent-hash", lot(*map(member, "abcde")))
    assert "cbedcceccbddacdaecdc" == "".join(choose(f"customer-{number}").key[2] for number in range(20))


def test_keys_do_not_depend_on_the_hash_seed_of_the_process() -> None:
    """As Python's own hash of a text does."""
    program = "from artemis.client.balancing.rendezvous import slot_of; print(slot_of(b'customer-1'))"
    run = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONHASHSEED": "1"}, capture_output=True, text=True, check=True
    )
    assert slot_of(b"customer-1") == int(run.stdout)


@settings(max_examples=25, deadline=None)
@given(names=st.lists(st.text("abcdefgh0123.-", min_size=1, max_size=12), min_size=2, max_size=12, unique=True))
def test_only_the_keys_of_an_instance_that_goes_move(names: list[str]) -> None:
    """And so when it comes: to it, and from nobody to anybody else; about one in n of all."""
    before, after = owners(names), owners(names[1:])
    moved = [slot for slot in before if before[slot] != after[slot]]
    assert {names[0]} >= {before[slot] for slot in moved}
    assert len(moved) == sum(owner == names[0] for owner in before.values())
    assert len(moved) <= 300 / len(names) + 75


@given(seeds=st.lists(st.integers(0, (1 << 64) - 1), min_size=1, max_size=40), slot=st.integers(0, 65535))
def test_instances_compared_together_are_scored_as_each_alone(seeds: list[int], slot: int) -> None:
    """No lane of the large numbers reaches into the next one."""
    assert max(score(seed, slot) for seed in seeds) == score(seeds[Lanes(map(halves, seeds)).owner(slot)], slot)


def test_many_instances_are_compared_without_asking_each() -> None:
    """Ten thousand are read once; a key that is new after that costs no step of Python for each of them."""
    members = [member(str(number)) for number in range(10_000)]
    group = lot(*members)
    choose = chooser("consistent-hash", group)
    choose("first")
    for one in members:
        del one._halves
    chosen = choose("second")
    assert chosen is group.owners[slot_of(b"second")]
