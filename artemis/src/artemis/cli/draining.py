"""`artemis cluster leave --drain` and `stay`: watch a node that goes, and say how far it is.

Not here: what it waits for (`artemis.cluster.retiring`).
"""

from __future__ import annotations

import time

import typer

from artemis.cli import output
from artemis.cli.calls import get_each
from artemis.cli.codes import FAILED
from artemis.cluster.machines import machine_of
from artemis.model.cluster_status import ClusterDrain, ClusterViewResponse

_VIEW = "v1/cluster"
_POLL = 0.5
_GONE = 10.0
"""Seconds without an answer after which a node counts as ended, or not to be reached."""

_INTERRUPTED = 130
_WORDS = {
    "waiting": "it waits, as no other node is up",
    "sending": "its clients are sent away",
    "handing": "the others take over",
    "done": "it ends",
}


def follow(server: str, own: ClusterViewResponse, timeout: float) -> None:
    """Show how far a node is until it has ended; ends the command with 1 if it does not within `timeout` seconds."""
    try:
        _follow(server, own, timeout)
    except KeyboardInterrupt:
        output.say(f"{own.url or server} goes on draining, and ends when that is done. {_choices(server)}")
        raise typer.Exit(_INTERRUPTED) from None


def _follow(server: str, own: ClusterViewResponse, timeout: float) -> None:
    where = own.url or server
    others = [member.url for member in own.members or () if member.url and member.status == "up"]
    began, silent_since, said = time.monotonic(), 0.0, dict[str, str]()
    while True:
        [view] = get_each([server], _VIEW, ClusterViewResponse)
        now = time.monotonic()
        if isinstance(view, str) or _machine(view) != _machine(own):
            silent_since = silent_since or now
            if _left(others, own) or (not others and now - silent_since > 1.0):
                output.say(f"{where} has left and ended; the others have all that it had.")
                return
            if now - silent_since > _GONE:
                output.say(
                    f"{where} does not answer any more ({view if isinstance(view, str) else 'another is there'})."
                )
                output.say("Look with `artemis cluster status --server` of another node.")
                raise typer.Exit(FAILED)
        else:
            silent_since = 0.0
            if view.draining is None:
                output.say(f"{where} stays: somebody wanted it to.")
                raise typer.Exit(FAILED)
            told, worker = progress(view.draining), view.node_id or ""
            if told != said.get(worker):
                said[worker] = told
                output.say(f"{where}{f' ({worker})' if '#' in worker else ''}: {told}.")
            if now - began > timeout:
                output.say(f"{where} is not done after {timeout:g} s, and goes on. {_choices(server)}")
                raise typer.Exit(FAILED)
        time.sleep(_POLL)


def progress(draining: ClusterDrain) -> str:
    """Say how far a node is."""
    renewed = "instances that it renews are counted"
    if draining.renewed is not None:
        verb = "is" if draining.renewed == 1 else "are"
        renewed = f"{output.counted(draining.renewed, 'instance')} {verb} still renewed there"
    parts = [f"{output.counted(draining.sessions, 'session')} left", renewed]
    if draining.unconfirmed:
        parts.append(f"{output.counted(draining.unconfirmed, 'change')} not confirmed by the others")
    return f"{_WORDS.get(draining.phase or '', draining.phase or 'it drains')}: {', '.join(parts)}"


def _left(others: list[str], own: ClusterViewResponse) -> bool:
    """Tell whether another node has heard its farewell."""
    for view in get_each(others, _VIEW, ClusterViewResponse):
        if isinstance(view, str):
            continue
        known = [member for member in view.members or () if machine_of(member.node_id or "") == _machine(own)]
        if all(member.presence == "left" for member in known):
            return True
    return False


def _machine(view: ClusterViewResponse) -> str:
    """Return the id of a node, whichever of its processes has answered."""
    return machine_of(view.node_id or "")


def _choices(server: str) -> str:
    return (
        f"`artemis cluster stay --server {server}` takes it back into service, "
        f"`artemis cluster leave --server {server}` ends it at once."
    )
