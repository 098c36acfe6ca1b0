"""`artemis cluster`: how the nodes stand with each other, how two differ, and what operators do about it."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from enum import Enum
from typing import Annotated

import typer

from artemis.cli import output
from artemis.cli.calls import Conversation, get, get_each, post
from artemis.cli.cluster_seen import Seen
from artemis.cli.cluster_view import (
    LINKS,
    NODES,
    link_rows,
    node_rows,
    others_of,
    remarks,
    same_data,
    troubles,
    unasked,
)
from artemis.cli.codes import FAILED, UNREACHABLE
from artemis.cli.draining import follow
from artemis.cli.engine_view import ENGINE, engine_rows, engine_troubles
from artemis.cli.java_view import JAVA, java_rows, java_troubles
from artemis.cli.parameters import DEFAULT_SERVER, Json, Server, TokenFile, operator_of, token_of
from artemis.cli.trust import trusting
from artemis.cli.values import number, word
from artemis.model.cluster import ForceRequest, ForceResponse
from artemis.model.cluster_status import (
    ClusterDifference,
    ClusterLeaveRequest,
    ClusterLeaveResponse,
    ClusterOutcomeRequest,
    ClusterSide,
    ClusterStayRequest,
    ClusterStayResponse,
    ClusterTask,
    ClusterTaskRequest,
    ClusterTaskResponse,
    ClusterViewResponse,
)

app = typer.Typer(
    name="cluster",
    help="See how the nodes of a cluster stand with each other, compare and repair them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Operator = Annotated[str, typer.Option("--operator", metavar="ID", help="Who does it. [default: the user]")]
Peer = Annotated[
    str, typer.Argument(metavar="[PEER]", help="Another node, by URL or node id; all that are linked if left out.")
]

_VIEW = "v1/cluster"
_LOOKS = 3
"""Looks at nodes that do not know the same: changes that are on their way make no disagreement."""
_BETWEEN_LOOKS = 0.5
_POLL = 0.1
_DEADLINE = 90.0
_WHY = {
    "coming": "a change has not come here yet",
    "going": "a change has not come there yet",
    "both": "changes have not come either way yet",
    "neither": "the next exchange repairs it",
}


class Force(Enum):
    """What a service can be made to do, whatever the node thinks itself."""

    UP = "up"
    DOWN = "down"
    OFF = "off"


class Forced(Enum):
    """What can be switched."""

    REGISTRY = "registry"
    DISCOVERY = "discovery"
    BOTH = "both"


@app.command()
@trusting
def status(*, server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """Show the cluster as its nodes see it; exit code 1 if one is not up, or if they disagree.

    All nodes that any of them tells of are asked. The links are those of --server. Exit code 3 if nothing is wrong with
    those that could be asked, and the certificate of another is not trusted here; "agree" is null then.
    --json: {"server", "agree", "troubles": [TEXT], "unasked": [TEXT], "nodes": [{"url", "view", "silence"}]}.
    """
    own = get(server, _VIEW, ClusterViewResponse)
    nodes = _ask_all(server, own)
    for _ in range(_LOOKS - 1):
        if same_data(nodes):
            break
        time.sleep(_BETWEEN_LOOKS)
        own = get(server, _VIEW, ClusterViewResponse)
        nodes = _ask_all(server, own)
    trouble, unknown = [*troubles(nodes), *engine_troubles(nodes), *java_troubles(nodes)], unasked(nodes)
    if json:
        agree = None if unknown and not trouble else not trouble
        told = {"server": server, "agree": agree, "troubles": trouble, "unasked": unknown, "nodes": nodes}
        output.print_json(told)
    else:
        _show(own, nodes, [*trouble, *unknown])
    if trouble or unknown:
        raise typer.Exit(FAILED if trouble else UNREACHABLE)


@app.command()
@trusting
def diff(peer: Peer = "", *, server: Server = DEFAULT_SERVER, token_file: TokenFile = None, json: Json = False) -> None:
    """Compare the node at --server with a peer, changing neither; exit code 1 if they differ.

    --json: {"done", "number", "peers": [{"nodeId", "url", "state", "why", "tookMs", "diff"}], "responseStatus"}.
    """
    answer = _finished(server, "v1/cluster/diff", peer, token_of(token_file))
    if json:
        output.print_json(answer)
    else:
        for task in answer.peers or ():
            _show_diff(task)
    if any(task.state != "done" or task.diff is None or task.diff.count for task in answer.peers or ()):
        raise typer.Exit(FAILED)


@app.command()
@trusting
def repair(
    peer: Peer = "", *, server: Server = DEFAULT_SERVER, token_file: TokenFile = None, json: Json = False
) -> None:
    """Let the node at --server fetch at once what a peer knows better; exit code 1 if that came to nothing.

    Nodes do so all the time by themselves, in turn. The other direction is a repair at the other node.
    --json: {"done", "number", "peers": [{"nodeId", "url", "state", "why", "tookMs", "repair"}], "responseStatus"}.
    """
    answer = _finished(server, "v1/cluster/repair", peer, token_of(token_file))
    tasks = answer.peers or []
    if json:
        output.print_json(answer)
    else:
        output.rows_table(
            ("PEER", "STATE", "TOOK", "DIFFERED", "SENT", "NEWS HERE", "ENDED HERE"), map(_repaired, tasks)
        )
        for task in tasks:
            if task.why:
                output.say(f"{_name(task)}: {task.why}.")
    if any(task.state != "done" for task in tasks):
        raise typer.Exit(FAILED)


@app.command()
@trusting
def leave(
    *,
    server: Server = DEFAULT_SERVER,
    operator: Operator = "",
    drain: Annotated[
        bool, typer.Option("--drain", help="End only when the others have taken over all that it serves; show how far.")
    ] = False,
    timeout: Annotated[
        float, number("--timeout", metavar="S", least=1, about="Seconds that a drain is waited for.")
    ] = 300.0,
    force_: Annotated[bool, typer.Option("--force", help="Drain though no other node is up.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Let the node at --server say farewell to the others for good, drain and end.

    With --drain it goes on answering meanwhile, is offered to nobody any more and sends its clients to other nodes;
    exit code 1 if it is not done in time, 130 after Ctrl-C: it goes on then, and `stay` undoes it.
    --json: {"members", "responseStatus"}.
    """
    token = token_of(token_file)
    own = get(server, _VIEW, ClusterViewResponse)
    staying = sum(member.status == "up" for member in own.members or ())
    if not yes:
        if sys.stdin is None or not sys.stdin.isatty():
            raise typer.BadParameter("there is no terminal to ask at; give --yes if this node is to leave and end")
        rest = f"{output.counted(staying, 'other node')} will go on" if staying else "there is no other node to go on"
        ends = "drains, and ends when others have taken over" if drain else "drains and ends"
        effect = f"{own.url or server} {ends}; {rest}."
        typer.confirm(f"{effect} Go on?", abort=True, err=True)
    request = ClusterLeaveRequest(drain=drain, force=force_, operator_id=operator_of(operator))
    answer = post(server, "v1/cluster/leave", ClusterLeaveResponse, request, token)
    if json:
        output.print_json(answer)
        return
    if drain:
        follow(server, own, timeout)
        _tell_of_lists(own)
        return
    farewell = f"says farewell to {output.counted(answer.members, 'node')}, " if answer.members else ""
    output.say(f"{own.url or server} {farewell}drains and ends.")
    _tell_of_lists(own)


@app.command()
@trusting
def stay(*, server: Server = DEFAULT_SERVER, operator: Operator = "", token_file: TokenFile = None) -> None:
    """Let the node at --server stay in service, that drains because of `leave --drain`; exit code 1 if it does not."""
    request = ClusterStayRequest(operator_id=operator_of(operator))
    answer = post(server, "v1/cluster/stay", ClusterStayResponse, request, token_of(token_file))
    if not answer.stays:
        output.say(f"{server} does not drain.")
        raise typer.Exit(FAILED)
    output.say(f"{server} stays, and is offered to clients again.")


def _tell_of_lists(own: ClusterViewResponse) -> None:
    if any(member.configured for member in own.members or ()):
        output.say("Take its URL from the --peers of the others, or they look for it for ever.")


@app.command()
@trusting
def force(
    what: Annotated[Force | None, word("", Force, about="Shows what is switched if left out.")] = None,
    *,
    service: Annotated[Forced, word("--service", Forced, about="What to switch.")] = Forced.BOTH,
    server: Server = DEFAULT_SERVER,
    operator: Operator = "",
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Make the node at --server serve, or not, whatever it thinks itself, until `off` or its next start.

    --json: {"status", "canServiceRegistry", "canServiceDiscovery", "registry", "discovery", "why", "responseStatus"}.
    """
    if what is None:
        answer = get(server, "v1/node/forced", ForceResponse)
    else:
        named = None if service is Forced.BOTH else service.value
        request = ForceRequest(force=what.value, operator_id=operator_of(operator), service=named)
        answer = post(server, "v1/node/force", ForceResponse, request, token_of(token_file))
    if json:
        output.print_json(answer)
        return
    rows = []
    for name, serves, forced in (
        ("registry", answer.can_service_registry, answer.registry),
        ("discovery", answer.can_service_discovery, answer.discovery),
    ):
        by = None if forced is None else f"{forced.force} by {forced.operator_id} since {_moment(forced.since)}"
        rows.append((name, "yes" if serves else "no", by))
    output.rows_table(("SERVICE", "SERVED", "FORCED"), rows)
    output.say(f"{server} is {answer.status}{f': {answer.why}' if answer.why else ''}.")


def _ask_all(server: str, own: ClusterViewResponse) -> list[Seen]:
    """Ask all nodes that a node tells of, and those that these tell of."""
    found = {own.url or server: Seen(url=own.url or server, view=own)}
    met = {_who(own)}
    wanted = others_of(own)
    while wanted:
        news: list[str] = []
        for url, answer in zip(wanted, get_each(wanted, _VIEW, ClusterViewResponse), strict=True):
            if isinstance(answer, str):
                found[url] = Seen(url=url, silence=answer)
            elif _who(answer) not in met:
                met.add(_who(answer))
                found[url] = Seen(url=url, view=answer)
                news += others_of(answer)
        wanted = sorted({url for url in news if url not in found and url not in _own_urls(found)})
    return list(found.values())


def _who(view: ClusterViewResponse) -> tuple[str | None, str | None]:
    """Tell nodes apart: one has several addresses maybe, but announces one, and two may have one id."""
    return view.node_id, view.url


def _own_urls(found: dict[str, Seen]) -> set[str]:
    return {seen.view.url for seen in found.values() if seen.view is not None and seen.view.url}


def _show(own: ClusterViewResponse, nodes: list[Seen], trouble: list[str]) -> None:
    output.rows_table(NODES, node_rows(nodes))
    if own.members:
        output.print_line("")
        output.rows_table(LINKS, link_rows(own), prose=True)
    engine = engine_rows(nodes)
    if engine:
        output.print_line("")
        output.rows_table(ENGINE, engine)
    java = java_rows(nodes)
    if java:
        output.print_line("")
        output.rows_table(JAVA, java)
    told = [*trouble, *remarks(nodes)]
    if not (own.in_cluster or own.java_peers):
        told.append(f"{own.url} is in no cluster; start it with --peers, --peers-dns, --peers-file or --cluster.")
    if told:
        output.print_line("")
    for sentence in told:
        output.print_line(sentence)


def _finished(server: str, path: str, peer: str, token: str) -> ClusterTaskResponse:
    """Begin a diff or a repair, and wait until it is over."""
    with Conversation(server, token) as node:
        answer = node.post(path, ClusterTaskResponse, ClusterTaskRequest(peer=peer.strip() or None))
        deadline = time.monotonic() + _DEADLINE
        while not answer.done:
            if time.monotonic() > deadline:
                output.say(f"{server} is not done after {_DEADLINE:g} s; see `artemis cluster status`.")
                raise typer.Exit(FAILED)
            time.sleep(_POLL)
            request = ClusterOutcomeRequest(number=answer.number)
            answer = node.post("v1/cluster/outcome", ClusterTaskResponse, request)
        return answer


def _name(task: ClusterTask) -> str | None:
    """Name whom a task is with; of a node of several processes also which of them."""
    if task.url and "#" in (task.node_id or ""):
        return f"{task.url} ({task.node_id})"
    return task.url or task.node_id


def _show_diff(task: ClusterTask) -> None:
    name = _name(task)
    diff = task.diff
    if diff is None:
        output.say(f"{name} could not be compared with: {task.why}.")
        return
    rest = "" if diff.complete else f" (of {output.counted(diff.rows, 'record')} that were looked at; there are more)"
    if not diff.count:
        output.say(f"{name} knows the same as this node{rest}.")
        return
    rows = [_difference_row(each) for each in diff.differences or ()]
    output.rows_table(("SERVICE", "WHAT", "HERE", f"AT {name}", "SEEN", "WHY"), rows, prose=True)
    more = "" if diff.count == len(rows) else f", of which {len(rows)} are shown"
    output.say(f"{output.counted(diff.count, 'difference')}{more}; {_seen(diff.visible, diff.count)}{rest}.")


def _seen(visible: int, count: int) -> str:
    """Say how many of so many differences callers see."""
    if count == 1:
        return "callers see it" if visible else "callers do not see it"
    return f"callers see {'none' if not visible else 'all' if visible == count else visible} of them"


def _difference_row(found: ClusterDifference) -> tuple[object, ...]:
    what = f"{found.instance_id}{f' ({found.operation})' if found.operation else ''}"
    seen = "yes" if found.visible else "no"
    why = _WHY.get(found.why or "", found.why)
    return found.service_id, what, _side_text(found.here), _side_text(found.there), seen, why


def _side_text(side: ClusterSide | None) -> str:
    if side is None or side.written is None:
        return "-" if side is None else side.state or "-"
    return f"{side.state}, of {_moment(side.written)} at {side.node_id}"


def _repaired(task: ClusterTask) -> tuple[object, ...]:
    done = task.repair
    if done is None:
        return _name(task), task.state, f"{task.took_ms} ms", None, None, None, None
    numbers = (
        output.counted(done.buckets, "bucket"),
        output.counted(done.rows, "record"),
        done.repaired,
        done.restated,
    )
    return _name(task), task.state, f"{task.took_ms} ms", *numbers


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000).astimezone().isoformat(sep=" ", timespec="milliseconds")
