"""Runs worlds: one seed, or many on all cores. Not here: the command line (`__main__`)."""

from __future__ import annotations

import gc
import signal
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from multiprocessing import get_context
from typing import Literal

import msgspec

from artemis.testing.simulation.engine.spoiling import ENGINE_SPOILED
from artemis.testing.simulation.laws import LAWS, BrokenLaw
from artemis.testing.simulation.mesh.spoiling import SPOILED
from artemis.testing.simulation.plan import plan_of
from artemis.testing.simulation.world import Tell, World

Cluster = Literal["mesh", "engine"]
"""How nodes are a cluster."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a seed: no law broken, or the first one and how. `fingerprint` is equal for equal runs."""

    seed: int
    law: int | None
    text: str
    at: int
    fingerprint: int
    stats: dict[str, int]
    cluster: Cluster = "mesh"

    @property
    def replay(self) -> str:
        """The command that shows the run again."""
        return f"python -m artemis.testing.simulation --cluster {self.cluster} --seed {self.seed} --trace"


def run_seed(seed: int, tell: Tell | None = None, without: str = "", cluster: Cluster = "mesh") -> Outcome:
    """Run the world of a seed, in which nodes are a cluster in one of the two ways; `tell` is given the lines of its
    trace, `without` names a rule that is taken away. Raises KeyError for a rule that there is not."""
    plan, rnd = plan_of(seed)
    if cluster == "mesh":
        world = World(plan, rnd, tell, spoil=SPOILED[without] if without else None)
    else:
        world = World(plan, rnd, tell, engine=True, spoil_engine=ENGINE_SPOILED[without] if without else None)
    law, text = None, ""
    try:
        world.run()
    except BrokenLaw as broken:
        law, text = broken.law, str(broken)
        world.log("BROKEN", text)
    except Exception:  # noqa: BLE001 - whatever it is, the core must not raise it
        law, text = 11, f"law 11 ({LAWS[11]}): {traceback.format_exc()}"
        world.log("RAISED", text)
    return Outcome(
        seed=seed,
        law=law,
        text=text,
        at=world.schedule.now,
        fingerprint=world.fingerprint,
        stats=dict(Counter(world.stats)),
        cluster=cluster,
    )


def collect_seldom() -> None:
    """Let the garbage collector run seldom: a world is small, and short."""
    gc.set_threshold(100_000, 50, 50)


def prepare() -> None:
    """Make a process ready that only runs seeds: who interrupts the run tells the process that counts them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    collect_seldom()


def run_seeds(seeds: Sequence[int], jobs: int, without: str = "", cluster: Cluster = "mesh") -> Iterator[Outcome]:
    """Run many seeds in this process, or in `jobs` others; yield their outcomes in the order of the seeds."""
    run = partial(run_seed, without=without, cluster=cluster)
    if jobs <= 1:
        collect_seldom()
        yield from map(run, seeds)
        return
    with get_context("spawn").Pool(jobs, prepare) as pool:
        yield from pool.imap(run, seeds, chunksize=4)
