"""Filters by name: the built-in one, plug-ins, and what becomes of wrong names (spec 5.1, artemis-rust 5.2)."""

from collections.abc import Callable
from importlib.metadata import EntryPoint

import pytest

from artemis.discovery import Transition
from artemis.discovery import filters as filters_module
from artemis.discovery.filters import GROUP, StatusUp, UnknownFilter, filter_names, make_filters
from artemis.model import Instance, RegistryRequest
from artemis.server.node import Node


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Return a function that installs an entry point, name and value, for the time of the test."""
    installed: list[EntryPoint] = []

    def entry_points(group: str, name: str | None = None) -> list[EntryPoint]:
        assert GROUP == group
        return [entry for entry in installed if name is None or entry.name == name]

    monkeypatch.setattr(filters_module, "entry_points", entry_points)
    return lambda name, value: installed.append(EntryPoint(name, value, GROUP))


class Other(StatusUp):
    """Somebody else's filter."""

    name = "other"


def test_filters_are_made_in_the_order_of_their_names(plug_in):
    """Built-in filters and plug-ins are made in the order given; those that are not named are not loaded."""
    plug_in("other", f"{__name__}:Other")
    plug_in("broken", "no.such.module:x")
    assert ["other", "status-up"] == [each.name for each in make_filters(["other", "status-up"])]
    assert ["broken", "other", "status-up"] == filter_names()
    assert [] == make_filters([])


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["nope"], "there is no filter 'nope'; there are: broken, status-up, text"),
        (["status-up", "status-up"], "filter 'status-up' is named twice"),
        (["broken"], r"filter 'broken' \(no.such.module:x\) cannot be loaded: No module named"),
        (["text"], r"filter 'text' \(builtins:str\) is no filter: it needs apply and explain"),
    ],
)
def test_names_that_cannot_be_used_are_refused(plug_in, names, text):
    """A name that is unknown, comes twice, or whose plug-in is broken is an error that says what there is."""
    plug_in("broken", "no.such.module:x")
    plug_in("text", "builtins:str")
    with pytest.raises(UnknownFilter, match=text):
        make_filters(names)


def test_status_up_shows_only_what_is_up(make_node: Callable[..., Node], make_instance: Callable[..., Instance]):
    """Only instances with status up, in any letter case, are shown; what changes its status appears or vanishes."""
    node = make_node(filters=[StatusUp()])
    told: list[Transition] = []
    node.catalog.on_transition(told.append)
    states = ["up", "UP", "down", "", None]
    node.register(
        RegistryRequest(instances=[make_instance(f"i{n}", status=status) for n, status in enumerate(states)]), 0
    )
    assert ["i0", "i1"] == [name for name, _ in node.catalog.instances("demo.orders")]
    node.heartbeat(RegistryRequest(instances=[make_instance("i0", status="down"), make_instance("i2")]), 1)
    assert ["i1", "i2"] == [name for name, _ in node.catalog.instances("demo.orders")]
    kinds = [(each.instance, each.before is None, each.after is None) for each in told]
    assert [("i0", True, False), ("i1", True, False), ("i0", False, True), ("i2", True, False)] == kinds
