"""Which instances are left out for failing, and that never too many are: decided without a clock or a network."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import pytest

from artemis.client.balancing.choices import ServiceChoices
from artemis.client.balancing.members import Lot, Member
from artemis.client.balancing.outliers import OutlierRule
from artemis.client.balancing.routes import CANARY_ROUTE, DEFAULT_ROUTE
from artemis.client.balancing.strategies import PICKS
from artemis.client.events import OutlierEjected, OutlierReturned
from artemis.model import Instance, RouteRule, ServiceGroup


@dataclass
class View:
    """A service as it is shown."""

    instances: tuple[Instance, ...]
    route_rules: tuple[RouteRule, ...] = ()
    logic_instances: tuple[Instance, ...] = ()


def instance(name: str, zone: str = "z1", region: str = "r1") -> Instance:
    """Build an instance of the service orders."""
    return Instance(region_id=region, zone_id=zone, service_id="orders", instance_id=name)


class Choosing:
    """The choices of one service, at a time that the test sets, with what was told."""

    def __init__(self, *names: str, rest: float = 10.0, seed: int = 1) -> None:
        self.now = 0.0
        self.told: list[OutlierEjected | OutlierReturned] = []
        self.view = View(tuple(map(instance, names)))
        self.choices = ServiceChoices(
            "orders",
            here=("R1", "z1"),
            outliers=OutlierRule(3, rest),
            random=Random(seed),  # noqa: S311 - choices to be repeated, no secret
            clock=lambda: self.now,
            tell=self.told.append,
        )

    def choose(self, route: str = DEFAULT_ROUTE, avoid: tuple[Instance, ...] = ()) -> Member | None:
        """Choose in turn."""
        routes = (route, DEFAULT_ROUTE) if route == CANARY_ROUTE else (route,)
        return self.choices.choose(self.view, routes, PICKS["round-robin"], b"", avoid, begin=False)

    def member(self, name: str) -> Member:
        """Return what is known about an instance."""
        found: dict[str, Member] = {}

        def note(lot: Lot, *_: object) -> Member:
            found.update({member.key[2]: member for member in lot.members})
            return lot.members[0]

        while name not in found:
            self.choices.choose(self.view, (DEFAULT_ROUTE,), note, b"", (), begin=False)
        return found[name]

    def ends(self, name: str, *outcomes: bool) -> None:
        """Let requests to an instance end."""
        member = self.member(name)
        for ok in outcomes:
            self.choices.ended(member, ok=ok, seconds=0.1, began=False)

    def chosen(self, times: int = 60, avoid: tuple[Instance, ...] = (), route: str = DEFAULT_ROUTE) -> str:
        """Return the names that many choices give."""
        found = (self.choose(route, avoid) for _ in range(times))
        return "".join(sorted({member.key[2] for member in found if member is not None}))


def test_an_instance_is_left_out_after_failures_in_a_row_and_returns() -> None:
    """A success between them starts the count anew; both are told."""
    some = Choosing("a", "b", "c")
    some.ends("a", False, False, True, False, False)
    assert "abc" == some.chosen()
    some.ends("a", False)
    assert "bc" == some.chosen()
    assert (instance("a"),) == some.choices.outliers()
    some.now = 9.9
    assert "bc" == some.chosen()
    some.now = 10.0
    assert "abc" == some.chosen()
    assert () == some.choices.outliers()
    assert some.told == [OutlierEjected("orders", instance("a"), 3, 10.0), OutlierReturned("orders", instance("a"))]


def test_each_rest_in_a_row_is_longer_up_to_a_bound() -> None:
    """After a rest one failure is enough; 32 times the first rest is the longest."""
    some = Choosing("a", "b", "c")
    some.ends("a", False, False, False)
    for _ in range(7):
        some.now += 1000.0
        some.ends("a", False)
    rests = [event.rest for event in some.told if isinstance(event, OutlierEjected)]
    assert [10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 320.0, 320.0] == rests


def test_a_success_after_the_rest_is_a_new_beginning() -> None:
    """It takes as many failures again, and the first rest; a late success during the rest does not end it."""
    some = Choosing("a", "b", "c")
    some.ends("a", False, False, False, True)
    assert "bc" == some.chosen()
    some.now = 10.0
    some.ends("a", True, False, False)
    assert "abc" == some.chosen()
    some.ends("a", False)
    assert [10.0, 10.0] == [event.rest for event in some.told if isinstance(event, OutlierEjected)]


def test_at_most_half_are_left_out() -> None:
    """Of two one; when more than half rest all are chosen, and those who rest are still listed."""
    some = Choosing("a", "b")
    some.ends("a", False, False, False)
    assert "b" == some.chosen()
    some.now = 5.0
    some.ends("b", False, False, False)
    assert "ab" == some.chosen()
    assert (instance("a"), instance("b")) == some.choices.outliers()
    some.now = 10.0
    assert "a" == some.chosen()


def test_the_only_instance_is_never_left_out() -> None:
    """There is nobody else."""
    some = Choosing("a")
    some.ends("a", *[False] * 9)
    assert "a" == some.chosen()


def test_no_rest_means_nobody_is_left_out() -> None:
    """The switch of the option."""
    some = Choosing("a", "b", "c", rest=0.0)
    some.ends("a", *[False] * 9)
    assert ("abc", []) == (some.chosen(), some.told)


def test_what_an_ended_request_says_nothing_about_changes_nothing() -> None:
    """As a cancelled one."""
    some = Choosing("a", "b", "c")
    member = some.member("a")
    for _ in range(9):
        some.choices.ended(member, ok=None, seconds=0.1, began=False)
    assert (0, None, "abc") == (member.failures, member.latency, some.chosen())


def test_an_instance_stays_left_out_when_others_come_and_go() -> None:
    """Also when its own content changes; it starts anew when it was gone."""
    some = Choosing("a", "b", "c")
    some.ends("a", False, False, False)
    changed = Instance(region_id="r1", service_id="ORDERS", instance_id="A", url="http://new")
    some.view = View((changed, instance("b"), instance("d")))
    assert "bd" == some.chosen()
    assert (changed,) == some.choices.outliers()
    gone = some.member("b")
    some.view = View((instance("d"), instance("e")))
    assert "de" == some.chosen()
    for _ in range(9):
        some.choices.ended(gone, ok=False, seconds=None, began=False)
    some.view = View((instance("a"), instance("b"), instance("c")))
    assert ("abc", ()) == (some.chosen(), some.choices.outliers())


def test_what_is_avoided_is_chosen_only_if_there_is_no_other() -> None:
    """One that rests comes before one to be avoided."""
    some = Choosing("a", "b", "c")
    assert "bc" == some.chosen(avoid=(instance("a"),))
    some.ends("c", False, False, False)
    assert "b" == some.chosen(avoid=(instance("a"),))
    assert "c" == some.chosen(avoid=(instance("a"), instance("b")))
    assert "ab" == some.chosen(avoid=(instance("a"), instance("b"), instance("c")))


def weighted(*groups: tuple[str, int | None, str], route_id: str = DEFAULT_ROUTE, strategy: str = "") -> RouteRule:
    """Build a rule of groups with a name, a weight and the one-letter ids of their instances."""
    listed: list[ServiceGroup | None] = [
        ServiceGroup(group_key=key, weight=weight, instance_ids=[*names]) for key, weight, names in groups
    ]
    return RouteRule(route_id=route_id, strategy=strategy, groups=listed)


def counts(some: Choosing, times: int, route: str = DEFAULT_ROUTE) -> dict[str, int]:
    """Count the choices of each."""
    found: dict[str, int] = {}
    for _ in range(times):
        member = some.choose(route)
        assert member is not None
        found[member.key[2]] = found.get(member.key[2], 0) + 1
    return found


def test_groups_share_by_weight_and_instances_in_turn() -> None:
    """A group of weight 0 gets nothing; turns go on over changes of the view that leave the groups as they are."""
    some = Choosing(*"abcd")
    rules = (weighted(("blue", 9, "ab"), ("green", 1, "c"), ("off", 0, "d")),)
    some.view = View(some.view.instances, rules)
    assert {"a": 9, "b": 9, "c": 2} == counts(some, 20)
    some.choose()
    some.view = View((*some.view.instances, instance("e")), rules)
    found = counts(some, 19)
    assert found["c"] in {1, 2}


@pytest.mark.parametrize("seed", range(20))
def test_callers_begin_anywhere_in_the_cycle_of_weights(seed: int) -> None:
    """And are exact from there on."""
    some = Choosing(*"ab", seed=seed)
    some.view = View(some.view.instances, (weighted(("blue", 3, "a"), ("green", 2, "b")),))
    assert {"a": 6, "b": 4} == counts(some, 10)


def test_not_all_callers_begin_with_the_heaviest_group() -> None:
    """Else a fleet that starts at once would send its first requests to one group."""
    first = set()
    for seed in range(40):
        some = Choosing(*"ab", seed=seed)
        some.view = View(some.view.instances, (weighted(("blue", 9, "a"), ("green", 1, "b")),))
        first.add(some.chosen(times=1))
    assert {"a", "b"} == first


def test_a_group_of_which_all_rest_leaves_its_share_to_the_others() -> None:
    """As one without instances does; when it were more than half of all, nobody is left out."""
    some = Choosing(*"abcd")
    some.view = View(some.view.instances, (weighted(("blue", 1, "ab"), ("green", 1, "cd")),))
    for name in "ab":
        some.ends(name, False, False, False)
    assert "cd" == some.chosen()
    some.ends("c", False, False, False)
    assert "abcd" == some.chosen()


def test_a_rule_that_leads_nowhere_says_why() -> None:
    """No such rule, groups without instances, and weights that are all 0 are different."""
    some = Choosing("a")
    off, nowhere = weighted(("off", 0, "a")), weighted(("gone", 5, "x"), route_id="empty")
    some.view = View(some.view.instances, (off, nowhere))
    assert [None, None, None] == [some.choose(route) for route in (DEFAULT_ROUTE, "empty", "other")]
    assert "gives the weight 0 to every group" in some.choices.why_none(DEFAULT_ROUTE)
    assert "no group of its route rule empty has any of its 1" in some.choices.why_none("empty")
    assert "it has no route rule other" == some.choices.why_none("other")


def test_the_canary_falls_back_to_the_default_rule() -> None:
    """When it has no instance, or none with a weight."""
    some = Choosing(*"ab")
    some.view = View(some.view.instances, (weighted(("canary", 5, "b"), route_id="Canary-Route-Rule"),))
    assert ("b", "ab") == (some.chosen(route=CANARY_ROUTE), some.chosen())
    some.view = View(some.view.instances, (weighted(("canary", 0, "b"), route_id=CANARY_ROUTE),))
    assert "ab" == some.chosen(route=CANARY_ROUTE)
    some.view = View(some.view.instances)
    assert "ab" == some.chosen(route=CANARY_ROUTE)


def close(*instances: Instance) -> Choosing:
    """Return choices of a caller in zone z1 of region r1, by visit."""
    some = Choosing()
    some.view = View(instances, (weighted(("orders", 5, ""), strategy="close-by-visit"),))
    return some


def test_close_by_visit_goes_to_the_own_zone_then_the_own_region_then_anywhere() -> None:
    """By where the instances are, in any letter case."""
    own, near, far = instance("a", "Z1"), instance("b", "z2"), instance("c", "z1", "r2")
    rule = RouteRule(
        route_id=DEFAULT_ROUTE,
        strategy="close-by-visit",
        groups=[ServiceGroup(group_key="orders", instance_ids=["a", "b", "c"])],
    )
    some = Choosing()
    for shown, chosen in [((own, near, far), "a"), ((near, far), "b"), ((far,), "c"), ((), "")]:
        some.view = View(shown, (rule,))
        assert chosen == some.chosen()


def test_close_by_visit_goes_farther_when_more_than_half_of_a_zone_rest() -> None:
    """Before it takes those who rest; and to the zone again after that. Avoiding goes farther too."""
    some = close(instance("a"), instance("b", "z2"), instance("c", "z2"))
    assert ("a", "bc") == (some.chosen(), some.chosen(avoid=(instance("a"),)))
    some.ends("a", False, False, False)
    assert "bc" == some.chosen()
    some.now = 10.0
    assert "a" == some.chosen()


def test_close_by_visit_keeps_the_weights_of_its_groups() -> None:
    """One of weight 0 has nothing to give, however near."""
    some = Choosing("a", "b", "c")
    some.view = View(
        (*some.view.instances, instance("d", "z2")),
        (weighted(("one", 3, "a"), ("two", 1, "b"), ("off", 0, "c"), ("far", 9, "d"), strategy="close-by-visit"),),
    )
    assert {"a": 6, "b": 2} == counts(some, 8)


def test_equal_seeds_choose_equally() -> None:
    """Whatever the strategy and the rules."""
    rules = (weighted(("blue", 3, "ab"), ("green", 2, "cd")),)
    for strategy in PICKS:
        runs = []
        for _ in range(2):
            some = Choosing(*"abcd", seed=9)
            view = View(some.view.instances, rules)
            found = [
                some.choices.choose(view, (DEFAULT_ROUTE,), PICKS[strategy], b"k", (), begin=True) for _ in range(50)
            ]
            runs.append([member.key for member in found if member is not None])
        assert runs[0] == runs[1]
        assert 50 == len(runs[0])


def soon(call: Callable[[], object]) -> None:
    """Call something that must not wait for anybody."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(20.0)
    assert not thread.is_alive()


def test_a_choice_may_be_interrupted_by_its_own_thread() -> None:
    """As by a signal handler, or a finaliser: ends of requests are taken in after it, choices made at once."""
    some = Choosing("a", "b", "c")
    bad = some.member("a")
    inside: list[object] = []

    def pick(lot: Lot, able: Sequence[Member], *_: object) -> Member:
        for _ in range(2):
            some.choices.ended(bad, ok=False, seconds=0.1, began=False)
        some.choices.reported(instance("a"), None, ok=False, seconds=0.1)
        chosen = some.choose()
        assert chosen is not None
        inside.extend((chosen.key[2] in "abc", some.choices.outliers(), bad.failures))
        return able[0]

    soon(lambda: some.choices.choose(some.view, (DEFAULT_ROUTE,), pick, b"", (), begin=True))
    assert [True, (), 0] == inside
    assert (3, "bc") == (bad.failures, some.chosen())
    assert [OutlierEjected("orders", instance("a"), 3, 10.0)] == some.told


def test_the_end_of_a_request_waits_for_no_other_thread() -> None:
    """Whoever is inside takes it in; the child of a fork, where that thread is not, begins anew."""
    some = Choosing("a", "b", "c")
    bad = some.member("a")
    entered, leave = threading.Event(), threading.Event()

    def pick(lot: Lot, able: Sequence[Member], *_: object) -> Member:
        entered.set()
        assert leave.wait(20.0)
        return able[0]

    def choose() -> None:
        some.choices.choose(some.view, (DEFAULT_ROUTE,), pick, b"", (), begin=False)

    for forked in (False, True):
        entered.clear()
        leave.clear()
        thread = threading.Thread(target=choose)
        thread.start()
        assert entered.wait(20.0)
        soon(lambda: some.choices.ended(bad, ok=False, seconds=0.1, began=False))
        if forked:
            some.choices.after_fork()
            soon(some.choices.outliers)
        leave.set()
        thread.join()
        assert 1 == bad.failures


def test_a_choice_that_was_broken_off_is_made_anew() -> None:
    """As by Ctrl-C in the middle of taking in another view."""
    some = Choosing("a", "b")
    assert "ab" == some.chosen()

    def interrupted(*_: object) -> Member:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        some.choices.choose(some.view, (DEFAULT_ROUTE,), interrupted, b"", (), begin=False)
    assert "ab" == some.chosen()
