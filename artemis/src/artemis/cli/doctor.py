"""`artemis doctor`: is a cluster well, and if not, what is it and what is to be done.

Not here: what is looked at (`doctor_checks`, `doctor_machines`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec
import typer

from artemis.cli import output
from artemis.cli.calls import Timed, ask, timed_each
from artemis.cli.cluster_seen import Seen
from artemis.cli.cluster_view import others_of, same_data
from artemis.cli.codes import FAILED
from artemis.cli.doctor_checks import (
    Check,
    Examined,
    Finding,
    Level,
    clocks,
    data,
    foreign,
    membership,
    options,
    preservation,
    reachable,
    serving,
    versions,
)
from artemis.cli.doctor_machines import certificates, machines, queues
from artemis.cli.doctor_regions import regions
from artemis.cli.engine_view import without_engine
from artemis.cli.parameters import DEFAULT_SERVER, Json, TokenFile, one_node, token_of
from artemis.cli.reach import unreachable
from artemis.model.cluster_status import (
    ClusterOutcomeRequest,
    ClusterTaskRequest,
    ClusterTaskResponse,
    ClusterViewResponse,
)
from artemis.model.vitals import VitalsResponse

Servers = Annotated[
    str,
    typer.Option(
        "--server", envvar="ARTEMIS_SERVER", metavar="URL[,URL]", help="Nodes to begin with; they tell of the others."
    ),
]

_VIEW, _VITALS = "v1/cluster", "v1/node/vitals"
_LOOKS = 8
"""Looks at nodes that do not know the same, a second apart: changes take less, and the exchange that repairs them."""

_COMPARING = 10.0
"""Seconds that a comparison may take."""

_MOST = 200
"""Nodes that are asked at most."""


def doctor(server: Servers = DEFAULT_SERVER, *, token_file: TokenFile = None, json: Json = False) -> None:
    """Examine all nodes of a cluster; exit code 1 if something fails, 3 if no node answers.

    All nodes that any of them tells of are asked, each directly. With the admin token records that differ are counted.
    --json: {"ok", "findings": [{"check", "level", "text", "advice"}], "nodes": [{"url", "tookMs", "clockAheadMs"}]}.
    """
    begin = [one_node(url) for url in server.split(",") if url.strip()]
    if not begin:
        raise typer.BadParameter("must name a node", param_hint="--server")
    token = token_of(token_file)
    nodes = gather(begin)
    for _ in range(_LOOKS):
        if same_data([node.seen for node in nodes]):
            break
        time.sleep(1.0)
        nodes = gather(begin)
    if all(node.seen.view is None for node in nodes):
        raise unreachable(begin[0], nodes[0].seen.silence)
    if not same_data([node.seen for node in nodes]):
        counts = _compared(nodes[0].url, token)
        nodes = [msgspec.structs.replace(node, differs=counts.get(node.url)) for node in nodes]
    findings = list(diagnose(nodes, time.time()))
    failed = any(finding.level == Level.FAIL for finding in findings)
    if json:
        told = [
            {
                "url": node.url,
                "tookMs": None if node.took is None else round(node.took, 1),
                "clockAheadMs": None if node.offset is None else round(node.offset, 1),
            }
            for node in nodes
        ]
        output.print_json({"ok": not failed, "findings": findings, "nodes": told})
    else:
        for finding in findings:
            output.print_line(f"{finding.level:<4}  {finding.check}: {output.ended(finding.text)}")
            if finding.advice:
                output.print_line(f"      {finding.advice[:1].upper()}{finding.advice[1:]}.")
    if failed:
        raise typer.Exit(FAILED)


def checks(nodes: Sequence[Examined], now: float) -> list[Check]:
    """Return all checks in their order, with what is said of nodes that are well."""
    count = sum(node.seen.view is not None for node in nodes)
    many = count > 1
    slowest = max((node.took or 0.0 for node in nodes), default=0.0)
    reach = "" if any(without_engine(node.seen) for node in nodes) else ", and reach each other"
    found = [node.offset for node in nodes if node.offset is not None]
    apart = max(found) - min(found) if found else 0.0
    release = next((node.seen.view.version for node in nodes if node.seen.view is not None), "?")
    return [
        Check(
            "reachability",
            f"all {count} nodes answer within {slowest:.0f} ms{reach}"
            if many
            else f"the node answers within {slowest:.0f} ms",
            reachable,
        ),
        Check("status", f"all {count} nodes serve" if many else "it serves", serving),
        Check("membership", "one cluster, each node once", membership),
        Check("clocks", f"{apart:.0f} ms between the fastest and the slowest, as seen from here", clocks),
        Check("versions", f"all have {release}", versions),
        Check("options", "what must be the same is the same", options),
        Check("data", "all know the same, of now", data),
        Check("self-preservation", "nothing is held", preservation),
        Check("queues", "nothing waits, nothing was dropped or refused", queues),
        Check("machines", "there is room on disks, and there are files left", machines),
        Check("certificates", "none ends soon", certificates(now)),
        Check("beside", "no trouble with Java peers or an engine", foreign),
        Check("regions", "what is shown of other regions is of now", regions),
    ]


def diagnose(nodes: Sequence[Examined], now: float) -> Iterable[Finding]:
    """Yield what all checks find, those that find nothing with a sentence as well."""
    for check in checks(nodes, now):
        found = list(check.look(nodes))
        yield from found or [Finding(check.name, Level.OK, check.well)]


def gather(begin: Sequence[str]) -> list[Examined]:
    """Ask these nodes and all that they tell of."""
    found: dict[str, Seen] = {}
    met: set[tuple[str | None, str | None]] = set()
    wanted = list(dict.fromkeys(begin))
    took: dict[str, float] = {}
    while wanted and len(found) < _MOST:
        news: list[str] = []
        for url, answer in zip(wanted, timed_each(wanted, _VIEW, ClusterViewResponse), strict=True):
            if isinstance(answer, str):
                found[url] = Seen(url=url, silence=answer)
                continue
            view = answer.answer
            if (view.node_id, view.url) not in met:
                met.add((view.node_id, view.url))
                name = view.url or url
                found[name] = Seen(url=name, view=view)
                took[name] = answer.took
                news += others_of(view)
        wanted = sorted({url for url in news if url not in found})[: _MOST - len(found)]
    answering = [url for url, seen in found.items() if seen.view is not None]
    vitals = dict(zip(answering, timed_each(answering, _VITALS, VitalsResponse), strict=True))
    return [_examined(seen, vitals.get(url, ""), took.get(url)) for url, seen in found.items()]


def _compared(server: str, token: str) -> dict[str, int]:
    """Have a node compare itself with the others; how many records differ, by URL, as far as it may be asked."""
    answer = ask(server, "v1/cluster/diff", ClusterTaskResponse, ClusterTaskRequest(), token)
    deadline = time.monotonic() + _COMPARING
    while answer is not None and not answer.done and time.monotonic() < deadline:
        time.sleep(0.2)
        request = ClusterOutcomeRequest(number=answer.number)
        answer = ask(server, "v1/cluster/outcome", ClusterTaskResponse, request, token)
    tasks = () if answer is None else answer.peers or ()
    return {task.url or "": task.diff.count for task in tasks if task.diff is not None}


def _examined(seen: Seen, answer: Timed[VitalsResponse] | str, took: float | None) -> Examined:
    if isinstance(answer, str):
        return Examined(seen=seen, took=took)
    half = answer.took / 2
    return Examined(
        seen=seen, vitals=answer.answer, offset=answer.answer.wall - answer.asked - half, error=half, took=took
    )
