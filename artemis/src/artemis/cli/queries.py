"""The commands that ask a registry: services, instances, watch, status."""

from typing import Annotated

import typer

from artemis.cli import output
from artemis.cli.calls import find
from artemis.cli.codes import FAILED
from artemis.cli.hidden import hidden_in_all, leased, not_shown
from artemis.cli.interrupts import until_interrupted
from artemis.cli.overview import cluster_rows, overview_rows
from artemis.cli.parameters import DEFAULT_SERVER, Json, OnlyZone, Region, Server, named
from artemis.cli.session import place, with_client
from artemis.cli.watching import EVERYTHING, Watcher
from artemis.cli.zones import ZoneView, in_zone
from artemis.client import ArtemisClient, InstanceChange
from artemis.model import Instance, Service, ServiceNodeStatus
from artemis.model.cluster_status import ClusterViewResponse
from artemis.model.status import OverviewResponse


def services(server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """List the services that have live instances.

    --json: {"services": [Service, ...]}, each as on the wire, with its instances.
    """

    found: list[Service] = []

    async def work(client: ArtemisClient) -> None:
        found.extend(await client.api.services())

    with_client(server, work)
    if json:
        output.print_json({"services": found})
        return
    if found:
        output.services_table(found)
    else:
        output.say("No service has instances that callers see.")
    hidden = hidden_in_all(server, sum(len(service.instances or ()) for service in found))
    if hidden:
        output.say(f"{hidden}.")


def instances(
    service: Annotated[str, typer.Argument(help="The service's id; letter case does not matter.")],
    *,
    server: Server = DEFAULT_SERVER,
    region: Region = "",
    zone: OnlyZone = "",
    json: Json = False,
) -> None:
    """List the live instances of one service.

    --json: {"serviceId": ID, "instances": [Instance, ...]}, each as on the wire.
    """
    service = named(service, "SERVICE")
    live: list[Instance] = []

    async def work(client: ArtemisClient) -> None:
        where = await place(client, region)
        found = (await client.api.lookup([service], region_id=where[0], zone_id=where[1]))[:1]
        live.extend(one for each in found for one in each.instances or () if one is not None and in_zone(one, zone))

    with_client(server, work, region=region)
    if json:
        output.print_json({"serviceId": service, "instances": live})
        return
    held = [one for one in leased(server, service) or () if in_zone(one, zone)]
    hidden = not_shown(held, len(live))
    if live:
        output.instances_table(live)
        if hidden:
            output.say(f"{hidden}.")
    else:
        inside = f" in zone {zone}" if zone else ""
        kind = "instances that callers see" if hidden else "live instances"
        output.say(f"{service} has no {kind}{inside}{f': {hidden}' if hidden else ''}.")


def watch(
    service: Annotated[str, typer.Argument(help="The service's id; letter case does not matter. * for all services.")],
    *,
    server: Server = DEFAULT_SERVER,
    region: Region = "",
    zone: OnlyZone = "",
    interval: Annotated[
        float,
        typer.Option(
            "--interval", metavar="SECONDS", min=0.1, help="Between two looks, where a node neither pushes nor waits."
        ),
    ] = 1.0,
    json: Json = False,
) -> None:
    """Follow the changes of a service until Ctrl-C; the instances that are live already come first, as new.

    Changes are pushed by the node as they happen. After a disconnect what was missed is shown, and nothing twice.
    --json: one {"changeTime", "changeType", "instance"} a line.
    """
    service = named(service, "SERVICE")
    shown = ZoneView(zone)

    def tell(seen: InstanceChange) -> None:
        change = shown.of(seen)
        if change is None:
            return
        if json:
            output.print_json(output.change_document(change))
        else:
            output.print_line(output.change_line(change, with_service=service == EVERYTHING))

    async def work(client: ArtemisClient) -> None:
        region_id, zone_id = await place(client, region)

        async def look() -> list[Instance]:
            if service == EVERYTHING:
                found = await client.api.services()
            else:
                found = await client.api.lookup([service], region_id=region_id, zone_id=zone_id)
            return [one for each in found for one in each.instances or () if one is not None]

        await until_interrupted(Watcher(server, service, look, tell, output.say, interval).run())

    with_client(server, work, region=region)


def status(server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """Show what a node says about itself; exit code 1 if it does not serve.

    --json: {"server": URL, "nodeStatus": ServiceNodeStatus, "overview": OverviewResponse}, as on the wire; the overview
    is null where the node has none, as a Java node.
    """
    seen: list[ServiceNodeStatus] = []

    async def work(client: ArtemisClient) -> None:
        seen.append(await client.api.node_status())

    with_client(server, work)
    overview = find(server, "v1/status", OverviewResponse)
    view = None if json else find(server, "v1/cluster", ClusterViewResponse)
    if json:
        output.print_json({"server": server, "nodeStatus": seen[0], "overview": overview})
    else:
        output.status_table(server, seen[0])
        if overview is not None:
            output.rows_table(("", ""), [*overview_rows(overview, view), *cluster_rows(view)])
    if seen[0].status != "up":
        raise typer.Exit(FAILED)
