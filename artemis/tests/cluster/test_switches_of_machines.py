"""What operators switch by hand at one worker of a machine, as all of its workers come to know it."""

from hypothesis import given
from hypothesis import strategies as st

from artemis.cluster.messages import Switched
from artemis.cluster.switches import Switches


def put(position: str, at: int, *, switch: str = "registry", node: str = "a") -> Switched:
    """An operator's word at a node."""
    return Switched(switch, at, node, position, "alice", at)


def told(one: Switches, name: str, other: Switches, to: str) -> list[Switched]:
    """What is news to one, of all that another one tells it."""
    return [each for each in one.untold(to) if other.hear(name, each)]


def test_each_position_of_one_millisecond_is_news():
    """Also one that comes after the first of them was told."""
    a, b = Switches(), Switches()
    for position in ("down", "", "up"):
        a.put(put(position, 5))
        assert [position] == [each.position for each in told(a, "a", b, "b")]


def test_two_switches_of_one_millisecond_are_both_news():
    """As one is no answer to the other."""
    a, b = Switches(), Switches()
    a.put(put("down", 5))
    first = told(a, "a", b, "b")
    a.put(put("off", 5, switch="self-preservation"))
    assert [["registry"], ["self-preservation"]] == [
        [each.switch for each in news] for news in (first, told(a, "a", b, "b"))
    ]


def test_a_switch_undoes_no_other_one_that_was_put_elsewhere_at_that_moment():
    """Who forces a service at one worker does not know that another one has just been asked to leave."""
    a, b = Switches(), Switches()
    b.put(put("leave", 5, switch="retirement", node="b"))
    a.put(put("down", 6))
    assert ["registry"] == [each.switch for each in told(a, "a", b, "b")]
    assert ["retirement"] == [each.switch for each in told(b, "b", a, "a")]


def test_what_is_put_now_overrules_what_is_known_though_the_clock_went_back():
    """By a moment: the clock is that of the machine, and somebody has set it."""
    a, b = Switches(), Switches()
    a.put(put("down", 1_000))
    told(a, "a", b, "b")
    b.put(put("up", 10, node="b"))
    assert [("up", 1_001, 10)] == [(each.position, each.at, each.since) for each in told(b, "b", a, "a")]


def test_what_is_older_is_no_news_and_is_overruled():
    """Of one position the latest is told to who comes with an earlier one."""
    a, b = Switches(), Switches()
    a.put(put("down", 9))
    b.put(put("up", 8, node="b"))
    assert [] == told(b, "b", a, "a")
    assert ["down"] == [each.position for each in told(a, "a", b, "b")]


WORKERS = ("a", "b", "c")
steps = st.one_of(
    st.tuples(st.sampled_from(WORKERS), st.sampled_from(["registry", "discovery"]), st.integers(0, 3)),
    st.tuples(st.sampled_from(WORKERS), st.sampled_from(WORKERS)),
)


@given(st.lists(steps, max_size=30))
def test_all_workers_come_to_the_same_whatever_they_hear_first(taken):
    """And each has been told of the last position of every switch as news, if it was not put there."""
    workers = {name: Switches() for name in WORKERS}
    shown: dict[str, dict[str, Switched]] = {name: {} for name in WORKERS}

    def tell(one: str, other: str) -> None:
        for each in told(workers[one], one, workers[other], other):
            shown[other][each.switch] = each

    for number, step in enumerate(taken):
        match step:
            case (name, switch, at):
                shown[name][switch] = put(str(number), at, switch=switch, node=name)
                workers[name].put(shown[name][switch])
            case (one, other) if one != other:
                tell(one, other)
    for _ in WORKERS:
        for one in WORKERS:
            for other in set(WORKERS) - {one}:
                tell(one, other)
    positions = [{switch: each.position for switch, each in shown[name].items()} for name in WORKERS]
    assert [positions[0]] * 3 == positions
