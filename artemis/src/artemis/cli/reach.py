"""What is said of a node that gives no usable answer: nobody is there, or it is there and refuses; and what to do.

Not here: asking (`calls`, `session`).
"""

from __future__ import annotations

import typer

from artemis.cli.codes import FAILED, UNREACHABLE
from artemis.cli.output import say

_SERVED_BY_NONE = ("service-unavailable", "internal-service-error")
"""Codes of a node that is there and cannot do what it was asked (spec 1.2)."""


def unreachable(server: str, reason: str) -> typer.Exit:
    """Say that no node answers, and what to do about it; return what ends the command."""
    say(f"No registry answers at {server}: {reason}.")
    say("Start one with `artemis serve`, or name another one with --server URL or ARTEMIS_SERVER.")
    return typer.Exit(UNREACHABLE)


def refusing(server: str, operation: str, reason: str) -> typer.Exit:
    """Say that a node answers and does not serve, why as it says, and what to do; return what ends the command."""
    say(f"{server} answers and refuses {operation}: {reason}.")
    if " is forced down by " in reason:
        say(f"`artemis cluster force off --server {server}` ends what operators have switched.")
    say(f"`artemis cluster status --server {server}` tells more; --server URL or ARTEMIS_SERVER names another node.")
    return typer.Exit(FAILED)


def answered(reason: str) -> bool:
    """Tell whether the reason of an attempt that failed is the word of a node."""
    return reason.partition(":")[0] in _SERVED_BY_NONE


def spelt(said: object) -> str:
    """Return what a node says as it is spelt for people: one word on the wire is the original's."""
    return str(said).replace("Serivce ", "Service ")
