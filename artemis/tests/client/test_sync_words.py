"""The client for code that blocks has the words of the async one."""

import inspect

import pytest

import artemis
import artemis.sync
from artemis.client.calls.api import RegistryApi

PAIRS = [
    (artemis.ArtemisClient, artemis.sync.ArtemisClient, {"open", "close"}),
    (artemis.Registration, artemis.sync.Registration, set()),
    (artemis.Watch, artemis.sync.Watch, {"next"}),
    (artemis.Events, artemis.sync.Events, {"next"}),
    (artemis.Listener, artemis.sync.Listener, {"closed"}),
    (artemis.Balancer, artemis.sync.Balancer, set()),
    (RegistryApi, artemis.sync.RegistryApi, set()),
]
INTERNAL = {"Watch": {"note"}, "Events": {"put"}, "Listener": {"note"}}
"""Public methods of the async classes that are for the parts of the client alone."""


def words(one: type) -> set[str]:
    return {name for name in dir(one) if not name.startswith("_")} - INTERNAL.get(one.__name__, set())


def parameters(function: object) -> list[tuple[str, object, object]]:
    """Return names, kinds and defaults, without the `timeout` that only a blocking call has."""
    return [
        (one.name, one.kind, one.default)
        for one in inspect.signature(function).parameters.values()  # type: ignore[arg-type]
        if one.name != "timeout"
    ]


@pytest.mark.parametrize(("asynchronous", "blocking", "more"), PAIRS, ids=lambda one: getattr(one, "__name__", ""))
def test_both_have_the_same_words(asynchronous: type, blocking: type, more: set[str]) -> None:
    """What blocks has a few more, for code without blocks and for steps that take a time limit.

    ``closed`` of a listener is an attribute in the async one.
    """
    assert words(asynchronous) | more == words(blocking)


@pytest.mark.parametrize(("asynchronous", "blocking", "more"), PAIRS, ids=lambda one: getattr(one, "__name__", ""))
def test_both_take_the_same_arguments(asynchronous: type, blocking: type, more: set[str]) -> None:
    """In the same order, with the same defaults."""
    for name in words(asynchronous) & words(blocking):
        theirs, ours = inspect.getattr_static(asynchronous, name), inspect.getattr_static(blocking, name)
        assert isinstance(theirs, property) == isinstance(ours, property), name
        if not isinstance(theirs, property):
            assert (name, parameters(theirs)) == (name, parameters(ours))
    if blocking is artemis.sync.ArtemisClient:
        assert parameters(artemis.ArtemisClient.__init__) == parameters(artemis.sync.ArtemisClient.__init__)


def test_nothing_that_blocks_is_a_coroutine() -> None:
    """Whoever forgets that there is nothing to await is not surprised."""
    for _, blocking, _ in PAIRS:
        for name in words(blocking):
            assert not inspect.iscoroutinefunction(inspect.getattr_static(blocking, name)), name
