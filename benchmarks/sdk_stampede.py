"""When thousands of clients come back to a registry that was away, by their own decisions alone: no sockets, no clock.

The parts of the SDK that decide (`Beats`, `Course`, `Pace`) are run for each client in simulated time: it beats, the
registry dies and takes the link with it, is away for a while, and returns in one moment. What is counted is when each
client's first heartbeat and its link reach the registry then; in `sdk_restart` the same happens with real processes,
which are slower than what they decide. Beside it the same clients without any randomness, which wait for all of the
time in which others choose a moment, and which have been started within one second, as by a deployment.

    python benchmarks/sdk_stampede.py [--clients 2000] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from random import Random

from sdk_fleet import InStep

from artemis.client import ClientOptions
from artemis.client.calls.attempts import Again, Course
from artemis.client.links.ladder import Pace
from artemis.client.nodes.nodes import Nodes
from artemis.client.registration.beats import Beats

NODE = "http://node:1"
DIES = 60.0
STARTS = 1.0
WINDOW = 0.1


def beat(options: ClientOptions, random: Random, started: float, returns: float) -> float:
    """When the first heartbeat reaches the registry that has returned; seconds after that."""
    nodes = Nodes([NODE], random=random, rest=options.node_rest, rest_limit=options.node_rest_limit)
    beats = Beats(options, random, started)
    now = beats.due
    while True:
        beats.begin()
        course = Course("beat", nodes, options, random)
        heard = now < DIES
        while not heard:
            if now >= returns:
                return now - returns
            step = course.failed(NODE, "refused", now)
            if not isinstance(step, Again):
                break
            now += step.delay
        beats.ended(now, heard=heard)
        now = beats.due


def link(options: ClientOptions, random: Random, returns: float, heard: float) -> float:
    """When the link reaches it, of a client whose heartbeat was answered after ``heard`` seconds."""
    pace = Pace(backoff=options.link_backoff, limit=options.link_backoff_limit)
    pace.lost(DIES)
    now = DIES + pace.delay(random)
    while now < returns:
        pace.lost(0.0)
        now += pace.delay(random)
    return min(now - returns, heard + pace.soon(random))


def measure(clients: int, away: float, random: Random) -> dict[str, float]:
    """The figures of a registry that is away for so many seconds."""
    options = ClientOptions()
    starts = Random(1)  # noqa: S311 - a simulation
    returns = DIES + away
    beats = [beat(options, random, starts.uniform(0.0, STARTS), returns) for _ in range(clients)]
    links = [link(options, random, returns, heard) for heard in beats]
    figures: dict[str, float] = {}
    for name, times in (("heartbeats", beats), ("links", links)):
        times.sort()
        figures[f"most {name} in {WINDOW * 1000:.0f} ms"] = max(Counter(int(at / WINDOW) for at in times).values())
        figures[f"95% of {name} s"] = round(times[clients * 95 // 100], 2)
        figures[f"last of {name} s"] = round(times[-1], 2)
    return figures


def main() -> None:
    """Run and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, default=2_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    kinds: dict[str, Random] = {"full jitter": Random(2), "no jitter": InStep(2)}  # noqa: S311 - a simulation
    found = {
        f"away {away:g} s, {name}": measure(options.clients, away, random)
        for away in (1.0, 5.0, 30.0)
        for name, random in kinds.items()
    }
    if options.json:
        json.dump(found, sys.stdout, indent=2)
        return
    for title, figures in found.items():
        print(title)
        for what, value in figures.items():
            print(f"  {what:30}{value:>10,}")


if __name__ == "__main__":
    main()
