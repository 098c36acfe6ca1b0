"""Runs the body of a command against a registry: one client, and every outcome turned into a sentence and a code."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import typer

from artemis.cli.calls import ask
from artemis.cli.codes import FAILED
from artemis.cli.output import say
from artemis.cli.reach import answered, refusing, spelt, unreachable
from artemis.cli.trust import trusted
from artemis.client import (
    ArtemisClient,
    ArtemisError,
    ClientOptions,
    ConnectionState,
    HeartbeatFailed,
    LookupFailed,
    RefusedError,
    Registered,
    RegistrationRefused,
    StateChanged,
    UnreachableError,
)
from artemis.model.cluster_status import ClusterViewResponse
from artemis.model.nodes import UP

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

QUICK = ClientOptions(attempts=3, attempt_timeout=3.0, backoff=0.1)
"""A person waits: a few tries, then the truth."""


def with_client(
    server: str,
    work: Callable[[ArtemisClient], Awaitable[None]],
    *,
    options: ClientOptions = QUICK,
    region: str = "",
) -> None:
    """Open a client of the node at ``server``, run ``work`` with it, and end the command with the right exit code.

    ``region`` is what ``--region`` gave, for the hint when the node refuses it.
    """
    try:
        client = ArtemisClient(servers=[server], options=options, tls=trusted())
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--server") from None

    # What the client logs is told as its events; both would be twice.
    logging.getLogger("artemis.client").addHandler(logging.NullHandler())

    async def run() -> None:
        async with client:
            await work(client)

    try:
        asyncio.run(run())
    except UnreachableError as error:
        raise _no_answer(server, error) from None
    except ArtemisError as error:
        say(spelt(error))
        if region and isinstance(error, RefusedError) and error.error_code == "no-permission":
            say(f"Leave --region {region} out to use the node's own region, or name a node there with --server.")
        raise typer.Exit(FAILED) from None
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _no_answer(server: str, error: UnreachableError) -> typer.Exit:
    """Tell a node that refuses from one that is not there."""
    reasons = sorted({attempt.reason for attempt in error.attempts})
    said = [reason for reason in reasons if answered(reason)]
    if not said:
        return unreachable(server, "; ".join(reasons))
    view = ask(server, "v1/cluster", ClusterViewResponse)
    if view is not None and view.status not in {None, UP}:
        # The client passes on the first words of a node only.
        return refusing(server, error.operation, f"it is {view.status}{f': {view.why}' if view.why else ''}")
    return refusing(server, error.operation, spelt("; ".join(said)))


async def place(client: ArtemisClient, region: str, zone: str = "") -> tuple[str, str]:
    """Return region and zone: as given, or those of the node that is asked."""
    if region and zone:
        return region, zone
    node = (await client.api.node_status()).node
    own = node.zone if node is not None else None
    region = region or ((own.region_id or "") if own is not None else "")
    zone = zone or ((own.zone_id or "") if own is not None else "")
    if not region or not zone:
        raise ValueError("the node does not say where it is; give --region and --zone")
    return region, zone


async def report(client: ArtemisClient, tell: Callable[[str], None] = say) -> None:
    """Tell, on stderr unless given, what happens to the client, until cancelled."""
    troubled = False
    async for event in client.events():
        match event:
            case StateChanged(new=ConnectionState.CONNECTED):
                if troubled:
                    tell("connected again")
            case StateChanged(new=state, reason=reason):
                troubled = True
                tell(spelt(f"{state.value}: {reason}"))
            case HeartbeatFailed(error=error) | LookupFailed(error=error):
                tell(spelt(error))
            case Registered(instance=instance, again=True):
                tell(f"The registry had lost {instance.service_id}/{instance.instance_id}; registered it again.")
            case RegistrationRefused(instance=instance, message=message):
                tell(f"The registry refuses {instance.service_id}/{instance.instance_id}: {spelt(message)}")
            case _:
                pass
