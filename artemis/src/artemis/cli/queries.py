"""The commands that ask a registry: services, instances, watch, status."""

from typing import Annotated

import typer

from artemis.cli import output
from artemis.cli.calls import find
from artemis.cli.codes import FAILED
from artemis.cli.hidden import hidden_in_all, leased, not_shown
from artemis.cli.interrupts import until_interrupted
from artemis.cli.overview import cluster_rows, overview_rows, region_rows
from artemis.cli.parameters import DEFAULT_SERVER, Json, OnlyZone, Server, ShownRegion, named
from artemis.cli.regions import copied_services, is_other, say_age
from artemis.cli.session import place, with_client
from artemis.cli.values import number
from artemis.cli.watching import EVERYTHING, Watcher
from artemis.cli.zones import ZoneView, in_zone
from artemis.client import ArtemisClient, InstanceChange
from artemis.model import Instance, Service, ServiceNodeStatus
from artemis.model.cluster_status import ClusterViewResponse
from artemis.model.status import OverviewResponse


def services(server: Server = DEFAULT_SERVER, region: ShownRegion = "", json: Json = False) -> None:
    """List the services that have live instances.

    --json: {"services": [Service, ...]}, each as on the wire, with its instances; of another region also "regionId" and
    "ageMs".
    """

    found: list[Service] = []
    other: list[str] = []

    async def work(client: ArtemisClient) -> None:
        if await is_other(client, region):
            other.append(region)
        else:
            found.extend(await client.api.services())

    with_client(server, work, region=region)
    if other:
        copied, age = copied_services(server, region)
        if json:
            output.print_json({"ageMs": age, "regionId": region, "services": copied})
            return
        if copied:
            output.services_table(copied)
        else:
            output.say("No service has instances that callers see.")
        say_age(region, age)
        return
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
    region: ShownRegion = "",
    zone: OnlyZone = "",
    json: Json = False,
) -> None:
    """List the live instances of one service.

    --json: {"serviceId": ID, "instances": [Instance, ...]}, each as on the wire; of another region also "regionId" and
    "ageMs".
    """
    service = named(service, "SERVICE")
    live: list[Instance] = []
    copied: list[int] = []

    async def work(client: ArtemisClient) -> None:
        where = await place(client, region)
        shown = await client.api.show([service], region_id=where[0], zone_id=where[1])
        found = shown.services[:1]
        live.extend(one for each in found for one in each.instances or () if one is not None and in_zone(one, zone))
        if await is_other(client, region):
            copied.append(round(shown.age * 1000))

    with_client(server, work, region=region)
    if json:
        about: dict[str, object] = {"ageMs": copied[0], "regionId": region} if copied else {}
        output.print_json({"serviceId": service, "instances": live, **about})
        return
    if copied:
        _of_a_copy(service, live, zone)
        say_age(region, copied[0])
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


def _of_a_copy(service: str, live: list[Instance], zone: str) -> None:
    if live:
        output.instances_table(live)
    else:
        output.say(f"{service} has no live instances{f' in zone {zone}' if zone else ''}.")


def watch(
    service: Annotated[str, typer.Argument(help="The service's id; letter case does not matter. * for all services.")],
    *,
    server: Server = DEFAULT_SERVER,
    region: ShownRegion = "",
    zone: OnlyZone = "",
    interval: Annotated[
        float,
        number(
            "--interval",
            metavar="SECONDS",
            least=0.1,
            about="Between two looks, where a node neither pushes nor waits.",
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
        other = region if await is_other(client, region) else ""
        if other and service == EVERYTHING:
            raise ValueError(f"all services are followed in the node's own region alone; name one of {region}")
        if other:
            # What the node refuses is told once, and not at every attempt to follow it.
            await client.api.lookup([service], region_id=region_id, zone_id=zone_id)

        async def look() -> list[Instance]:
            if service == EVERYTHING:
                found = await client.api.services()
            else:
                found = await client.api.lookup([service], region_id=region_id, zone_id=zone_id)
            return [one for each in found for one in each.instances or () if one is not None]

        await until_interrupted(Watcher(server, service, look, tell, output.say, interval, region=other).run())

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
            output.rows_table(("", ""), [*overview_rows(overview, view), *cluster_rows(view), *region_rows(overview)])
    if seen[0].status != "up":
        raise typer.Exit(FAILED)
