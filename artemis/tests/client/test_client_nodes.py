"""Which node the client talks to."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artemis.client.nodes.nodes import MOST_LEARNED, Nodes, Tier, ToldNode

A, B, C, D = "http://a:1", "http://b:1", "http://c:1", "http://d:1"
ALL = (A, B, C, D)


def seeded(seed: int) -> Random:
    """Return a repeatable source of choices."""
    return Random(seed)  # noqa: S311 - it spreads load, it keeps no secret


def test_no_address_is_an_error() -> None:
    """A client without any server says so at once."""
    with pytest.raises(ValueError, match="servers is empty"):
        Nodes([], random=seeded(0), rest=10)


def test_repeated_addresses_count_once() -> None:
    """The same node written twice is one node."""
    assert Nodes([A, A + "/"], random=seeded(0), rest=10).urls == (A,)


def test_the_first_choice_is_random() -> None:
    """Clients spread over the nodes from the start."""
    assert {Nodes([A, B, C], random=seeded(seed), rest=10).current for seed in range(30)} == {A, B, C}


def test_the_choice_stays_until_the_node_fails() -> None:
    """Success changes nothing; failure moves to another node."""
    nodes = Nodes([A, B], random=seeded(0), rest=10)
    first = nodes.current
    nodes.answered(first)
    assert nodes.current == first
    assert nodes.failed(first, 0.0) != first


def test_calls_that_fail_together_move_once() -> None:
    """The failure of a node that the client has left already does not move it again."""
    nodes = Nodes([A, B, C], random=seeded(1), rest=10)
    left = nodes.current
    second = nodes.failed(left, 0.0)
    assert nodes.failed(left, 0.1) == second


def test_a_node_that_failed_rests_while_there_are_others() -> None:
    """Within the rest time only nodes that did not fail are chosen."""
    for seed in range(20):
        nodes = Nodes([A, B, C], random=seeded(seed), rest=10)
        first = nodes.current
        second = nodes.failed(first, 0.0)
        third = nodes.failed(second, 1.0)
        assert {first, second, third} == {A, B, C}


def test_when_all_failed_any_other_one_is_tried() -> None:
    """With nobody rested the client still moves on."""
    nodes = Nodes([A, B], random=seeded(0), rest=10)
    first = nodes.current
    second = nodes.failed(first, 0.0)
    assert nodes.failed(second, 0.1) == first


def test_a_lone_node_stays() -> None:
    """With one address there is nowhere to go."""
    assert Nodes([A], random=seeded(0), rest=10).failed(A, 0.0) == A


def at_home(*urls: str) -> list[ToldNode]:
    """Return nodes of the client's zone, as the registry names them."""
    return [ToldNode(url, "R1", "Z1") for url in urls]


def zoned(*urls: str, seed: int = 0) -> Nodes:
    """Return the nodes of a client in zone r1/z1."""
    return Nodes(urls, random=seeded(seed), rest=10, rest_limit=60, region_id="r1", zone_id="z1")


def test_a_rest_doubles_with_each_failure_in_a_row_up_to_its_limit() -> None:
    """10, 20, 40, then 60 seconds; failures during a rest make it no longer."""
    nodes = zoned(A, B)
    now, rests = 0.0, []
    for _ in range(5):
        nodes.failed(A, now)
        began = now
        while nodes.resting(A, now):
            nodes.failed(A, now)
            now += 1.0
        rests.append(now - began)
    assert rests == [10.0, 20.0, 40.0, 60.0, 60.0]


def test_an_answer_ends_the_rest_and_the_row() -> None:
    """After a success the node counts as if it had never failed."""
    nodes = zoned(A, B)
    nodes.failed(A, 0.0)
    nodes.failed(A, 11.0)
    nodes.answered(A)
    assert not nodes.resting(A, 11.0)
    nodes.failed(A, 12.0)
    assert not nodes.resting(A, 22.0)


def test_when_all_rest_each_has_its_turn() -> None:
    """A registry that is gone is asked for at every address, not at the same two over and over."""
    nodes = Nodes(ALL, random=seeded(3), rest=10)
    assert {nodes.failed(nodes.current, float(now)) for now in range(4)} == set(ALL)
    assert {nodes.failed(nodes.current, float(now)) for now in range(4, 8)} == set(ALL)


def test_the_clients_of_a_lost_node_spread_evenly_over_the_rest() -> None:
    """Of 3 000 clients of one node each of the three others gets about a third."""
    went: Counter[str] = Counter()
    for seed in range(3000):
        nodes = Nodes([A], random=seeded(seed), rest=10, region_id="r1", zone_id="z1")
        nodes.learn(at_home(*ALL))
        went[nodes.failed(A, 0.0)] += 1
    assert set(went) == {B, C, D}
    assert all(900 < count < 1100 for count in went.values())


def test_named_nodes_are_known_beside_the_configured_ones() -> None:
    """What the registry names comes first; the configured addresses stay for good; no news is no change."""
    nodes = zoned(A)
    assert nodes.learn(at_home(B, A + "/"))
    assert nodes.urls == (B, A)
    assert not nodes.learn(at_home(B, A))
    assert nodes.learn(at_home(C))
    assert nodes.urls == (C, A)
    assert nodes.current == A


def test_an_empty_list_means_nothing() -> None:
    """A registry that names nobody is not believed (spec 9.1)."""
    nodes = zoned(A)
    nodes.learn(at_home(B))
    assert not nodes.learn([])
    assert nodes.urls == (B, A)


def test_one_node_in_two_spellings_is_one_node() -> None:
    """Letter case of the host, a written default port and a final slash make no other node."""
    nodes = zoned("http://Node-1")
    assert not nodes.learn(at_home("http://node-1:80/"))
    assert nodes.urls == ("http://Node-1",)
    assert nodes.tier("http://Node-1") is Tier.OWN_ZONE


def test_the_list_is_bounded() -> None:
    """A registry that names thousands fills no memory."""
    nodes = zoned(A)
    nodes.learn(at_home(*(f"http://n{number}:1" for number in range(MOST_LEARNED + 500))))
    assert len(nodes.urls) == MOST_LEARNED + 1


def test_the_own_zone_comes_first_then_the_named_then_the_configured() -> None:
    """The order of preference when a node is lost."""
    nodes = zoned(A)
    nodes.learn([ToldNode(B, "r1", "z2"), ToldNode(C, "r1", "z1"), ToldNode(D, "r2", "z1")])
    assert [nodes.tier(url) for url in ALL] == [Tier.BOOTSTRAP, Tier.NAMED, Tier.OWN_ZONE, Tier.NAMED]
    assert nodes.failed(A, 0.0) == C
    assert nodes.failed(C, 0.0) in {B, D}


def test_a_client_without_a_zone_prefers_none() -> None:
    """Nodes without a zone are not at home with a client without one."""
    nodes = Nodes([A], random=seeded(0), rest=10)
    nodes.learn([ToldNode(A), ToldNode(B)])
    assert nodes.tier(A) is Tier.NAMED


def test_a_named_node_that_was_never_reached_does_not_beat_a_configured_one() -> None:
    """An address that only the registry believes in is the last choice once it has failed, and until it answers."""
    nodes = zoned(A, B)
    first = nodes.current
    nodes.learn(at_home(C))
    assert nodes.failed(first, 0.0) == C
    assert nodes.tier(C) is Tier.OWN_ZONE
    second = nodes.failed(C, 0.0)
    assert nodes.tier(C) is Tier.UNREACHED
    assert second in {A, B}
    assert nodes.failed(second, 200.0) in {A, B}
    nodes.answered(C)
    assert nodes.tier(C) is Tier.OWN_ZONE


def test_success_elsewhere_never_moves_the_client() -> None:
    """When the node that was left answers again, the client stays where it is."""
    nodes = zoned(A)
    nodes.learn([*at_home(A), ToldNode(B, "r1", "z2")])
    assert nodes.failed(A, 0.0) == B
    nodes.answered(A)
    assert nodes.current == B


def test_home_is_better_once_its_rest_is_over() -> None:
    """Away from home the own zone is offered; resting nodes and the same tier are not."""
    nodes = zoned(A)
    nodes.learn([*at_home(A), ToldNode(B, "r1", "z2"), ToldNode(C, "r1", "z2")])
    assert nodes.better(0.0) is None
    nodes.failed(A, 0.0)
    assert nodes.better(9.0) is None
    assert nodes.better(10.0) == A
    nodes.move(A)
    assert nodes.better(10.0) is None


def test_a_node_that_is_not_named_any_more_is_left_for_one_that_is() -> None:
    """It may be about to stop; without any other it stays."""
    nodes = zoned(A)
    nodes.learn(at_home(A, B))
    nodes.move(B)
    nodes.learn(at_home(A))
    assert nodes.tier(B) is Tier.GONE
    assert nodes.better(0.0) == A


@settings(deadline=None, max_examples=40)
@given(
    silent=st.sampled_from([1, 2, 3, 30, 100]),
    outage=st.floats(0, 100),
    took=st.floats(0.5, 5),
    named=st.booleans(),
    fresh=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_nodes_that_nobody_reaches_do_not_lock_the_client_out(
    silent: int, outage: float, took: float, named: bool, fresh: bool, seed: int
) -> None:
    """However many are named: a node that answered once, is back and has rested gets at least every second attempt."""
    nodes = zoned(A, seed=seed)
    nodes.answered(A)
    holes = [f"http://hole{number}:1" for number in range(silent)]
    nodes.learn(at_home(*holes, *([A] if named else [])))
    now, attempts = 0.0, 0
    nodes.failed(A, now)
    failed_at = now
    while nodes.current != A or now < outage:
        if nodes.current == A:
            failed_at = now
        now += took
        if now >= max(outage, failed_at + 10):
            attempts += 1
        nodes.failed(nodes.current, now)
        if fresh:
            nodes.learn(at_home(*(f"http://hole{now}-{number}:1" for number in range(silent))))
        assert attempts <= 2
    nodes.answered(A)
    assert nodes.current == A


def test_while_all_rest_the_one_that_answered_once_has_every_second_turn() -> None:
    """Also before its rest is over: those that never answered need not be there at all."""
    nodes = zoned(A)
    nodes.answered(A)
    nodes.learn(at_home(B, C, D))
    nodes.failed(A, 0.0)
    asked = [nodes.failed(nodes.current, 0.1 * number) for number in range(1, 9)]
    assert asked[2::2] == [A] * 3
    assert {B, C, D} >= set(asked[3::2])


URLS = st.sampled_from([*ALL, "http://e:1", "http://f:1"])
NAMED = st.lists(st.builds(ToldNode, URLS, st.just("r1"), st.sampled_from(["z1", "z2"])), max_size=6)
STEPS = st.one_of(
    st.tuples(st.just("learn"), NAMED),
    st.tuples(st.just("failed"), st.none()),
    st.tuples(st.just("failed"), URLS),
    st.tuples(st.just("answered"), URLS),
    st.tuples(st.just("answered"), st.none()),
    st.tuples(st.just("better"), st.none()),
    st.tuples(st.just("later"), st.floats(0, 100)),
)


@given(
    bootstrap=st.lists(URLS, min_size=1, max_size=3),
    steps=st.lists(STEPS, max_size=40),
    seed=st.integers(0, 1000),
)
def test_whatever_happens_the_choice_is_sound(bootstrap: list[str], steps: list[tuple[str, object]], seed: int) -> None:
    """The configured nodes stay known; a move goes to a known node, and to none that rests while one is awake."""
    nodes = Nodes(bootstrap, random=seeded(seed), rest=10, rest_limit=60, region_id="r1", zone_id="z1")
    now = 0.0
    reached: set[str] = set()
    for step, value in steps:
        before = nodes.current
        match step, value:
            case "learn", list():
                nodes.learn(value)
                reached &= {*nodes.urls, before}
                assert nodes.current == before
            case "failed", _:
                awake = [url for url in nodes.urls if url != before and not nodes.resting(url, now)]
                nodes.failed(value if isinstance(value, str) else before, now)
                if nodes.current != before:
                    assert value in {None, before}
                    assert nodes.current in nodes.urls
                    if before in reached:
                        assert not awake or nodes.current in awake
                        assert all(nodes.tier(nodes.current) <= nodes.tier(url) for url in awake)
                    else:
                        again = [url for url in awake if url in reached]
                        assert nodes.current in reached or (nodes.current in awake and not again) or not awake
                elif value in {None, before}:
                    assert set(nodes.urls) <= {before}
            case "answered", _:
                nodes.answered(value if isinstance(value, str) else before)
                reached |= {value if isinstance(value, str) else before} & {*nodes.urls, before}
                assert nodes.current == before
            case "better", _:
                url = nodes.better(now)
                if url is not None:
                    assert nodes.tier(url) < nodes.tier(before)
                    assert not nodes.resting(url, now)
                    nodes.move(url)
            case "later", float():
                now += value
        assert set(nodes.bootstrap) <= set(nodes.urls)
