"""Which kind of link comes next, and how long to wait before it; by example and by property."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artemis import LinkKind
from artemis.client.links.ladder import MAX_NODES, RUNGS, Ladder, Pace, is_better, rungs

NODE = "http://127.0.0.1:8080"
SECURE = "https://127.0.0.1:8080"
PLAIN = RUNGS[1:]


def seeded(seed: int) -> Random:
    """Return a source of choices that repeat."""
    return Random(seed)  # noqa: S311 - repeatable, no secret


def test_the_best_kind_comes_first_and_each_that_is_lacking_makes_way_for_the_next() -> None:
    """Down to plain polling, which every node has."""
    ladder = Ladder()
    seen = []
    for _ in PLAIN:
        seen.append(ladder.best(NODE, 0.0))
        ladder.lacks(NODE, seen[-1], 100.0)
    assert list(PLAIN) == seen
    assert LinkKind.POLL is ladder.best(NODE, 0.0)


def test_what_a_node_lacked_is_tried_again_in_time() -> None:
    """The time at which that may be is known beforehand."""
    ladder = Ladder()
    ladder.lacks(NODE, LinkKind.MSGTRANS, 100.0)
    assert ladder.better_at(NODE, LinkKind.WEBSOCKET) == 100.0
    assert LinkKind.WEBSOCKET is ladder.best(NODE, 99.9)
    assert LinkKind.MSGTRANS is ladder.best(NODE, 100.0)
    assert ladder.better_at(NODE, LinkKind.MSGTRANS) is None


def test_what_one_node_lacks_says_nothing_of_another_or_of_one_that_came_back() -> None:
    """A restarted node may be of another version."""
    ladder = Ladder()
    ladder.lacks(NODE, LinkKind.MSGTRANS, 100.0)
    assert LinkKind.MSGTRANS is ladder.best("http://127.0.0.2:8080", 0.0)
    ladder.forget(NODE)
    assert LinkKind.MSGTRANS is ladder.best(NODE, 0.0)


@pytest.mark.parametrize("node", ["http://proxy/registry", "https://proxy:8443/a/b"])
def test_below_a_path_there_is_no_port_for_msgtrans(node: str) -> None:
    """So a WebSocket is the best there."""
    assert LinkKind.MSGTRANS not in rungs(node)
    assert LinkKind.WEBSOCKET is Ladder().best(node, 0.0)
    assert Ladder().better_at(node, LinkKind.WEBSOCKET) is None


def test_the_ladder_remembers_a_bounded_number_of_nodes() -> None:
    """The one learned of first is forgotten first."""
    ladder = Ladder()
    for number in range(MAX_NODES + 1):
        ladder.lacks(f"http://n{number}", LinkKind.MSGTRANS, 100.0)
    assert LinkKind.MSGTRANS is ladder.best("http://n0", 0.0)
    assert LinkKind.WEBSOCKET is ladder.best(f"http://n{MAX_NODES}", 0.0)


def test_a_kind_that_is_lost_soon_three_times_in_a_row_is_to_be_taken_for_lacking() -> None:
    """One that held in between begins the row anew, and so does a node that was away; other kinds have their own."""
    ladder = Ladder()
    kind, other = LinkKind.MSGTRANS, LinkKind.WEBSOCKET
    assert [False, False] == [ladder.lost(NODE, kind, soon=True) for _ in range(2)]
    assert not ladder.lost(NODE, kind, soon=False)
    assert [False, False] == [ladder.lost(NODE, kind, soon=True) for _ in range(2)]
    assert not ladder.lost(NODE, other, soon=True)
    assert not ladder.lost("http://127.0.0.2:8080", kind, soon=True)
    ladder.forget(NODE)
    assert [False, False, True, True] == [ladder.lost(NODE, kind, soon=True) for _ in range(4)]


def test_a_loss_makes_forget_what_a_node_lacked_but_not_what_is_cut() -> None:
    """It may have been restarted; but of two kinds that are cut neither brings the other one back."""
    ladder = Ladder()
    ladder.lacks(NODE, LinkKind.MSGTRANS, 100.0)
    assert not ladder.lost(NODE, LinkKind.WEBSOCKET, soon=True)
    assert LinkKind.MSGTRANS is ladder.best(NODE, 0.0)
    for kind in (LinkKind.MSGTRANS, LinkKind.WEBSOCKET):
        while not ladder.lost(NODE, kind, soon=True):
            assert kind is ladder.best(NODE, 0.0)
        ladder.lacks(NODE, kind, 100.0)
    assert LinkKind.JAVA_WEBSOCKET is ladder.best(NODE, 0.0)
    assert LinkKind.MSGTRANS is ladder.best(NODE, 100.0)


def test_quic_is_the_best_where_the_node_offers_it() -> None:
    """From the time on that was given, which an offer that is only repeated does not put off."""
    ladder = Ladder()
    assert LinkKind.MSGTRANS is ladder.best(SECURE, 0.0)
    assert (None, None) == (ladder.quic_port(SECURE), ladder.better_at(SECURE, LinkKind.MSGTRANS))
    assert [True, False] == [ladder.offers(SECURE, 4433, at) for at in (10.0, 20.0)]
    assert (4433, 10.0) == (ladder.quic_port(SECURE), ladder.better_at(SECURE, LinkKind.MSGTRANS))
    assert LinkKind.MSGTRANS is ladder.best(SECURE, 9.9)
    assert LinkKind.QUIC is ladder.best(SECURE, 10.0)


def test_quic_is_only_tried_while_something_else_is_there() -> None:
    """Where UDP is blocked, trying takes time, and meanwhile nothing would tell of changes."""
    ladder = Ladder()
    ladder.offers(SECURE, 4433, 0.0)
    assert LinkKind.MSGTRANS is ladder.best(SECURE, 1.0, beside=False)


@pytest.mark.parametrize("node", [NODE, "https://proxy:8443/registry"])
def test_quic_is_for_ports_of_nodes_with_a_certificate(node: str) -> None:
    """Whatever is said at others: it cannot be verified, or is said of what is behind a proxy."""
    ladder = Ladder()
    ladder.offers(node, 4433, 0.0)
    assert LinkKind.QUIC is not ladder.best(node, 1.0)
    assert LinkKind.QUIC not in rungs(node, quic=True)


def test_an_offer_counts_as_long_as_the_node_makes_it_and_is_there() -> None:
    """One that is made again brings back nothing that was found lacking in the meantime."""
    ladder = Ladder()
    ladder.offers(SECURE, 4433, 0.0)
    ladder.lacks(SECURE, LinkKind.QUIC, 100.0)
    assert not ladder.offers(SECURE, None, 0.0)
    assert ladder.better_at(SECURE, LinkKind.MSGTRANS) is None
    assert ladder.offers(SECURE, 4433, 1.0)
    assert 100.0 == ladder.better_at(SECURE, LinkKind.MSGTRANS)
    ladder.forget(SECURE)
    assert ladder.quic_port(SECURE) is None
    assert not ladder.offers(SECURE, None, 0.0)
    ladder.offers(SECURE, 4433, 1.0)
    assert not ladder.lost(SECURE, LinkKind.MSGTRANS, soon=False)
    assert ladder.quic_port(SECURE) is None


def test_quic_that_is_cut_stays_so_when_it_is_offered_again() -> None:
    """Three that were lost soon in a row: something on the way lets it begin, and no more."""
    ladder = Ladder()
    for _ in range(3):
        assert LinkKind.QUIC is not ladder.best(SECURE, 0.0)
        ladder.offers(SECURE, 4433, 0.0)
        assert LinkKind.QUIC is ladder.best(SECURE, 0.0)
        cut = ladder.lost(SECURE, LinkKind.QUIC, soon=True)
    assert cut
    ladder.lacks(SECURE, LinkKind.QUIC, 100.0)
    ladder.offers(SECURE, 4433, 1.0)
    assert LinkKind.MSGTRANS is ladder.best(SECURE, 99.9)


Lacking = st.lists(st.tuples(st.sampled_from(RUNGS), st.floats(0.0, 100.0)), max_size=12)


@given(lacking=Lacking, offered=st.one_of(st.none(), st.floats(0.0, 100.0)), now=st.floats(0.0, 100.0))
def test_the_best_is_never_lacking_and_nothing_better_is_there(
    lacking: list[tuple[LinkKind, float]], offered: float | None, now: float
) -> None:
    """Whatever was found, and whenever: all better kinds are lacking until later than now, or not offered."""
    ladder = Ladder()
    until: dict[LinkKind, float] = {}
    kinds = rungs(SECURE, quic=offered is not None)
    if offered is not None:
        ladder.offers(SECURE, 4433, offered)
        until[LinkKind.QUIC] = offered
    for kind, time in lacking:
        ladder.lacks(SECURE, kind, time)
        until[kind] = time
    best = ladder.best(SECURE, now)
    assert best is LinkKind.POLL or until.get(best, now) <= now
    assert all(until[kind] > now for kind in kinds if is_better(kind, best))
    due = ladder.better_at(SECURE, best)
    assert (due is None) == (best is kinds[0])
    assert due is None or due > now
    first = ladder.best(SECURE, now, beside=False)
    assert first is (best if best is not LinkKind.QUIC else first)
    assert first is not LinkKind.QUIC


Step = st.one_of(
    st.tuples(st.just("offer"), st.one_of(st.none(), st.integers(1, 3)), st.floats(0.0, 100.0)),
    st.tuples(st.just("lack"), st.just(None), st.floats(0.0, 100.0)),
    st.tuples(st.just("lost"), st.just(None), st.floats(0.0, 100.0)),
    st.tuples(st.just("forget"), st.just(None), st.just(0.0)),
)


@given(steps=st.lists(Step, max_size=30), now=st.floats(0.0, 100.0))
def test_quic_is_never_tried_without_an_offer_that_stands(
    steps: list[tuple[str, int | None, float]], now: float
) -> None:
    """Whatever happened before: the port is that of the last word of the node since it was last lost or away."""
    ladder = Ladder()
    stands: int | None = None
    for step, port, time in steps:
        match step:
            case "offer":
                assert ladder.offers(SECURE, port, time) == (port is not None and port != stands)
                stands = port
            case "lack":
                ladder.lacks(SECURE, LinkKind.QUIC, time)
            case "lost":
                ladder.lost(SECURE, LinkKind.QUIC, soon=time < 50.0)
                stands = None
            case _:
                ladder.forget(SECURE)
                stands = None
        assert stands == ladder.quic_port(SECURE)
        assert stands is not None or ladder.best(SECURE, now) is not LinkKind.QUIC


def test_the_first_link_is_made_at_once_and_every_later_one_after_a_random_wait() -> None:
    """The first after a loss too, so that the clients of one node do not come back together."""
    pace = Pace(backoff=1.0, limit=15.0)
    assert pace.delay(seeded(1)) == 0.0
    pace.lost(100.0)
    delays = [pace.delay(seeded(seed)) for seed in range(200)]
    assert 0.0 <= min(delays) < 0.1
    assert 0.9 < max(delays) <= 1.0


def test_the_wait_grows_up_to_its_limit_and_a_link_that_held_ends_the_row() -> None:
    """It doubles with each link that could not be made or did not last."""
    pace = Pace(backoff=1.0, limit=15.0)
    ceilings = []
    for _ in range(6):
        pace.lost(0.0)
        ceilings.append(round(max(pace.delay(seeded(seed)) for seed in range(500))))
    assert [1, 2, 4, 8, 15, 15] == ceilings
    pace.lost(15.1)
    assert max(pace.delay(seeded(seed)) for seed in range(100)) <= 1.0


@given(held=st.lists(st.floats(0.0, 1e6), max_size=80), backoff=st.floats(0.0, 100.0), seed=st.integers())
def test_no_wait_is_ever_beyond_the_limit(held: list[float], backoff: float, seed: int) -> None:
    """However many were lost in a row."""
    pace = Pace(backoff=backoff, limit=100.0)
    for seconds in held:
        pace.lost(seconds)
    assert 0.0 <= pace.delay(seeded(seed)) <= 100.0
    assert 0.0 <= pace.soon(seeded(seed)) <= backoff
