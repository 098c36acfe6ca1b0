"""The command line of the simulation: `python -m artemis.testing.simulation --help`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Collection

from artemis.testing.simulation.campaign import Cluster, Outcome, run_seed, run_seeds
from artemis.testing.simulation.engine.spoiling import ENGINE_SPOILED
from artemis.testing.simulation.laws import LAWS
from artemis.testing.simulation.mesh.spoiling import SPOILED

SHOWN = 10
"""Failing seeds that are told at length."""

STRIDE = 500
"""Seeds after which a run of many tells how far it is."""

RULES: dict[Cluster, Collection[str]] = {"mesh": SPOILED, "engine": ENGINE_SPOILED}
"""What can be taken away."""


def main() -> int:
    """Run one seed or many; the exit code is 1 when a law is broken."""
    parser = argparse.ArgumentParser(prog="python -m artemis.testing.simulation", description=__doc__.split(":")[0])
    parser.add_argument(
        "--cluster", default="mesh", choices=[*RULES], help="nodes that are linked, or around an engine (default: mesh)"
    )
    parser.add_argument("--seed", type=int, help="run this seed only")
    parser.add_argument("--seeds", default="0:200", metavar="A:B", help="run the seeds from A up to B (default: 0:200)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    parser.add_argument("--trace", action="store_true", help="show what happens; with --seed")
    parser.add_argument(
        "--without", default="", metavar="RULE", help=f"take a rule away and see what breaks: {_rules()}"
    )
    args = parser.parse_args()
    if args.without and args.without not in RULES[args.cluster]:
        parser.error(f"there is no rule {args.without!r} to take away; there are {_rules()}")
    if args.seed is not None:
        return _one(args.seed, args.without, args.cluster, trace=args.trace)
    first, _, last = args.seeds.partition(":")
    return _many(range(int(first), int(last or int(first) + 1)), args.jobs, args.without, args.cluster)


def _rules() -> str:
    return "; ".join(f"with {cluster}: {', '.join(sorted(rules))}" for cluster, rules in RULES.items())


def _one(seed: int, without: str, cluster: Cluster, *, trace: bool) -> int:
    outcome = run_seed(seed, _say if trace else None, without, cluster)
    _say(f"seed {seed}: {outcome.text or 'all laws hold'}; fingerprint {outcome.fingerprint:08x}")
    return int(outcome.law is not None)


def _many(seeds: range, jobs: int, without: str, cluster: Cluster) -> int:
    began, stats, broken = time.perf_counter(), Counter[str](), Counter[int]()
    done = 0
    interrupted = False
    try:
        for outcome in run_seeds(seeds, jobs, without, cluster):
            done += 1
            stats.update(outcome.stats)
            if outcome.law is not None:
                broken[outcome.law] += 1
                _report(outcome, short=sum(broken.values()) > SHOWN)
            if done % STRIDE == 0 and done < len(seeds):
                _say(f"{done} of {len(seeds)} seeds, {sum(broken.values())} broken")
    except KeyboardInterrupt:
        interrupted = True
    took = time.perf_counter() - began
    told = f"{done} of {len(seeds)} seeds, interrupted," if interrupted else f"{done} seeds"
    _say(f"{told} in {took:.1f} s with {jobs} processes, {sum(broken.values())} broken")
    for law, count in sorted(broken.items()):
        _say(f"    law {law} ({LAWS[law]}): {count}")
    _say("    " + ", ".join(f"{count} {what}" for what, count in sorted(stats.items())))
    return 130 if interrupted else int(bool(broken))


def _report(outcome: Outcome, *, short: bool) -> None:
    _say(f"seed {outcome.seed} at {outcome.at} ms: {outcome.text[: 100 if short else 1_500]}")
    if not short:
        _say(f"    {outcome.replay}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
