"""What one choice of a balancer costs, by strategy and number of instances, and what a changed view costs.

Choices are made through the public words, by a client that looked the service up at a node of its own; each figure is
the median of several rounds, in microseconds for a choice. `random.choice` of a tuple in the same run says how quick
the machine is just now. "compiled" is what the first choice after a change of the view takes on top, in milliseconds:
without route rules, and with a rule of ten groups.

    python benchmarks/sdk_choice.py [--choices 20000] [--rounds 5] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import get_args

from artemis import ArtemisClient, Balancer, Instance, Strategy
from artemis.client.balancing.choices import ServiceChoices
from artemis.client.balancing.outliers import OutlierRule
from artemis.client.balancing.routes import DEFAULT_ROUTE
from artemis.client.balancing.strategies import PICKS
from artemis.model import RouteRule, ServiceGroup
from artemis.testing import running_node

SIZES = (10, 100, 1000)
KEYS = [f"customer-{number}" for number in range(1000)]


def instances(service_id: str, count: int) -> list[Instance]:
    """Build instances in ten groups."""
    return [
        Instance(
            region_id="local",
            zone_id="zone1",
            group_id=f"g{number % 10}",
            service_id=service_id,
            instance_id=f"10.0.{number // 250}.{number % 250}:8080",
            url=f"http://10.0.{number // 250}.{number % 250}:8080",
        )
        for number in range(count)
    ]


def timed(rounds: int, choices: int, choose: Callable[[int], object]) -> float:
    """Return the microseconds of one call."""
    costs = []
    for _ in range(rounds):
        start = time.perf_counter()
        for number in range(choices):
            choose(number)
        costs.append((time.perf_counter() - start) / choices * 1e6)
    return statistics.median(costs)


def of_strategy(balancer: Balancer, rounds: int, choices: int) -> dict[str, float]:
    """Time plain choices, and whole requests."""

    def request(number: int) -> None:
        with balancer.request(key=KEYS[number % 1000]):
            pass

    return {
        "next": timed(rounds, choices, lambda number: balancer.next(key=KEYS[number % 1000])),
        "request": timed(rounds, choices // 4, request),
    }


@dataclass(frozen=True)
class View:
    """A service as it is shown."""

    instances: tuple[Instance, ...]
    route_rules: tuple[RouteRule, ...]
    logic_instances: tuple[Instance, ...] = ()


def compiled(count: int, rounds: int, *, rules: bool) -> float:
    """Return the milliseconds that the first choice after a change takes."""
    groups: list[ServiceGroup | None] = [
        ServiceGroup(group_key=f"orders/local/zone1/g{number}", weight=number) for number in range(10)
    ]
    route_rules = (RouteRule(route_id=DEFAULT_ROUTE, groups=groups),) if rules else ()
    choices = ServiceChoices(
        "orders",
        here=("local", "zone1"),
        outliers=OutlierRule(5, 10.0),
        random=Random(1),  # noqa: S311 - a choice to be repeated, no secret
        clock=time.monotonic,
        tell=print,
    )
    shown = instances("orders", count)
    costs = []
    for number in range(rounds):
        view = View(tuple(shown[number:]), route_rules)
        start = time.perf_counter()
        choices.choose(view, (DEFAULT_ROUTE,), PICKS["round-robin"], b"", (), begin=False)
        costs.append((time.perf_counter() - start) * 1e3)
    return statistics.median(costs)


def bare(rounds: int, choices: int) -> float:
    """Time the least that a choice can be."""
    random = Random(1)  # noqa: S311 - a choice to be repeated, no secret
    some = tuple(range(10))
    return timed(rounds, choices, lambda _: random.choice(some))


async def main(arguments: argparse.Namespace) -> None:
    """Run all cases and print them."""
    figures: dict[str, dict[str, dict[str, float]]] = {}
    async with (
        running_node() as node,
        ArtemisClient(servers=[node.url], region_id="local", zone_id="zone1") as client,
    ):
        for size in SIZES:
            await client.api.register(instances(f"of-{size}", size))
            figures[str(size)] = {}
            for strategy in get_args(Strategy):
                balancer = client.balancer(f"of-{size}", strategy)
                await balancer.ready()
                figures[str(size)][strategy] = of_strategy(balancer, arguments.rounds, arguments.choices)
    least = bare(arguments.rounds, arguments.choices)
    changes = {
        str(size): {
            "plain": compiled(size, arguments.rounds, rules=False),
            "rules": compiled(size, arguments.rounds, rules=True),
        }
        for size in (*SIZES, 10_000)
    }
    if arguments.json:
        print(json.dumps({"bare_us": least, "choices_us": figures, "compiled_ms": changes}))
        return
    print(f"random.choice of ten         {least:6.2f} us")
    for size, strategies in figures.items():
        for strategy, costs in strategies.items():
            print(
                f"{size:>6} instances  {strategy:<16} next {costs['next']:6.2f} us   request {costs['request']:6.2f} us"
            )
    for size, costs in changes.items():
        print(f"{size:>6} instances  compiled {costs['plain']:6.2f} ms, with ten groups {costs['rules']:6.2f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--choices", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    asyncio.run(main(parser.parse_args()))
