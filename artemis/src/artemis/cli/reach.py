"""What is said of a node that gives no usable answer: nobody is there, or it is there and refuses; and what to do.

Not here: asking (`calls`, `session`).
"""

from __future__ import annotations

import typer

from artemis.cli.codes import FAILED, UNREACHABLE
from artemis.cli.output import say
from artemis.client.calls.transport import UNTRUSTED

_SERVED_BY_NONE = ("service-unavailable", "internal-service-error")
"""Codes of a node that is there and cannot do what it was asked (spec 1.2)."""


def unreachable(server: str, reason: str) -> typer.Exit:
    """Say that no node answers, or none that is trusted, and what to do about it; return what ends the command."""
    if untrusted(reason):
        say(f"{server} answers, but {reason}.")
        say(f"To go on, {trust_advice(reason)}.")
        return typer.Exit(UNREACHABLE)
    say(f"No registry answers at {server}: {reason}.")
    say("Start one with `artemis serve`, or name another one with --server URL or ARTEMIS_SERVER.")
    return typer.Exit(UNREACHABLE)


def untrusted(reason: str) -> bool:
    """Tell whether the reason is that a node's certificate is not trusted here."""
    return reason.startswith(UNTRUSTED)


def trust_advice(reason: str) -> str:
    """What to do about a certificate that is not trusted, as part of a sentence."""
    if "mismatch" in reason:
        return "reach the node by a name that its certificate is issued for"
    if "expired" in reason:
        return "have a new one issued, and check the clock of this machine"
    return "name its authority with --ca-file FILE or ARTEMIS_CA_FILE"


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
