"""What a node says of the instances of all its clients, looked at from outside."""

import time
import urllib.request
from collections.abc import Callable

from artemis.testing import RunningNode

PATIENCE = 30.0


def events(node: RunningNode) -> dict[str, int]:
    """Return what the node counts of its instances, by name."""
    with urllib.request.urlopen(f"http://127.0.0.1:{node.port}/metrics", timeout=PATIENCE) as answer:
        lines = str(answer.read().decode()).splitlines()
    counts = [line.split('"') for line in lines if line.startswith("artemis_registry_events_total{")]
    return {name: int(float(value.removeprefix("}"))) for _, name, value in counts}


def renewals(node: RunningNode) -> int:
    """Return how often the node was told that an instance lives."""
    counted = events(node)
    return counted["renewed"] + counted["renewed_by_plan"]


def until(condition: Callable[[], bool]) -> None:
    """Wait for what no event tells of."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def until_renewed(node: RunningNode) -> None:
    """Wait until somebody has renewed the instance a few times."""
    enough = renewals(node) + 3
    until(lambda: renewals(node) >= enough)
