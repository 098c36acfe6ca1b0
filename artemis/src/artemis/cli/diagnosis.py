"""The commands that look into a node: why an instance is seen or not, and who holds which lease."""

from typing import Annotated

import typer

from artemis.cli import output
from artemis.cli.calls import get, post
from artemis.cli.codes import FAILED
from artemis.cli.parameters import DEFAULT_SERVER, Json, Region, Server, named
from artemis.cli.session import place, with_client
from artemis.client import ArtemisClient
from artemis.model.explain import ExplainResponse
from artemis.model.leases import LeasesRequest, LeasesResponse

CallerZone = Annotated[
    str, typer.Option("--zone", metavar="ID", help="Zone of the caller; the node's own if left out.")
]


def explain(
    service: Annotated[str, typer.Argument(help="The service's id; letter case does not matter.")],
    instance: Annotated[str, typer.Argument(help="The instance's id; letter case does not matter.")],
    *,
    region: Region = "",
    zone: CallerZone = "",
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Tell step by step why a caller sees an instance or does not; exit code 1 if it does not.

    --json: {"visible", "steps": [{"step", "ok", "why"}], "responseStatus"}.
    """
    query = {"serviceId": named(service, "SERVICE"), "instanceId": named(instance, "INSTANCE")}
    where: list[tuple[str, str]] = []

    async def work(client: ArtemisClient) -> None:
        where.append(await place(client, region, zone))

    with_client(server, work, region=region)
    query["regionId"], query["zoneId"] = where[0]
    answer = get(server, "v1/explain", ExplainResponse, query)
    if json:
        output.print_json(answer)
    else:
        steps = [step for step in answer.steps or () if step is not None]
        output.rows_table(("", "STEP", "WHY"), [("ok" if step.ok else "NO", step.step, step.why) for step in steps])
        output.say(f"{service}/{instance} is {'visible' if answer.visible else 'not visible'} to callers there.")
    if not answer.visible:
        raise typer.Exit(FAILED)


def leases(
    service: Annotated[str, typer.Argument(help="The service's id; all services if left out.")] = "",
    *,
    legacy: Annotated[bool, typer.Option("--legacy", help="Those of instances marked java_registry.")] = False,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """List the leases of a node with their times.

    --json: the answer of status/leases.json, as on the wire.
    """
    request = LeasesRequest(service_ids=[service.strip()] if service.strip() else None)
    path = f"status/{'legacy-leases' if legacy else 'leases'}.json"
    answer = post(server, path, LeasesResponse, request)
    if json:
        output.print_json(answer)
        return
    rows = [
        (name, lease.instance, lease.creation_time, lease.renewal_time, f"{lease.ttl / 1000:g} s")
        for name, found in sorted((answer.leases or {}).items())
        for lease in found or ()
        if lease is not None
    ]
    if rows:
        output.rows_table(("SERVICE", "INSTANCE", "SINCE", "RENEWED", "TTL"), rows)
    renewals = answer.lease_update_count_last_time_window
    safe = "nothing is held back" if answer.is_safe else "self-preservation holds leases back"
    if service.strip() and not rows:
        output.say(f"{service.strip()} has no {'legacy ' if legacy else ''}leases.")
    held = output.counted(answer.lease_count, "lease")
    output.say(f"The node holds {held}, with {output.counted(renewals, 'renewal')} within 10 s; {safe}.")
