"""Deterministic simulation of a cluster: the real core in a world of virtual time and seeded faults (design 4.1, 8).

::

    python -m artemis.testing.simulation --seeds 0:200
    python -m artemis.testing.simulation --seed 17 --trace

A seed decides everything: how many nodes there are, what their links are like, who crashes when. The judge knows the
laws; a seed that breaks one says which, and how to see it again.
Not here: real processes and sockets, which other tests have.
"""

from artemis.testing.simulation.campaign import Outcome, run_seed, run_seeds
from artemis.testing.simulation.laws import LAWS, BrokenLaw

__all__ = ["LAWS", "BrokenLaw", "Outcome", "run_seed", "run_seeds"]
