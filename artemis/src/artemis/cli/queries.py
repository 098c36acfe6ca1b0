"""The commands that ask a registry: services, instances, watch, status."""

from typing import TYPE_CHECKING, Annotated

import typer

from artemis.cli import output
from artemis.cli.interrupts import until_interrupted
from artemis.cli.parameters import DEFAULT_SERVER, Json, Region, Server, Zone
from artemis.cli.session import FAILED, place, report, with_client
from artemis.client import ArtemisClient, ClientOptions

if TYPE_CHECKING:
    from artemis.model import ServiceNodeStatus


def services(server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """List the services that have live instances.

    --json: {"services": [Service, ...]}, each as on the wire, with its instances.
    """

    async def work(client: ArtemisClient) -> None:
        found = await client.api.services()
        if json:
            output.print_json({"services": found})
        elif found:
            output.services_table(found)
        else:
            output.say("No service has live instances.")

    with_client(server, work)


def instances(
    service: Annotated[str, typer.Argument(help="The service's id; letter case does not matter.")],
    *,
    server: Server = DEFAULT_SERVER,
    region: Region = "",
    zone: Zone = "",
    json: Json = False,
) -> None:
    """List the live instances of one service.

    --json: {"serviceId": ID, "instances": [Instance, ...]}, each as on the wire.
    """

    async def work(client: ArtemisClient) -> None:
        where = await place(client, region, zone)
        found = (await client.api.lookup([service], region_id=where[0], zone_id=where[1]))[:1]
        live = [instance for one in found for instance in one.instances or () if instance is not None]
        if json:
            output.print_json({"serviceId": service, "instances": live})
        elif live:
            output.instances_table(live)
        else:
            output.say(f"{service} has no live instances.")

    with_client(server, work)


def watch(
    service: Annotated[str, typer.Argument(help="The service's id; letter case does not matter.")],
    *,
    server: Server = DEFAULT_SERVER,
    region: Region = "",
    zone: Zone = "",
    interval: Annotated[float, typer.Option("--interval", min=0.1, help="Seconds between two lookups.")] = 1.0,
    json: Json = False,
) -> None:
    """Follow the changes of one service until Ctrl-C; the instances that are live already come first, as new.

    --json: one {"changeTime", "changeType", "instance"} a line.
    """

    async def follow(client: ArtemisClient) -> None:
        async for change in client.watch(service):
            if json:
                output.print_json(output.change_document(change))
            else:
                output.print_line(output.change_line(change))

    async def work(client: ArtemisClient) -> None:
        where = await place(client, region, zone)
        options = ClientOptions(poll_interval=interval)
        async with ArtemisClient(servers=[server], region_id=where[0], zone_id=where[1], options=options) as follower:
            await until_interrupted(follow(follower), report(follower))

    with_client(server, work)


def status(server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """Show what a node says about itself; exit code 1 if it does not serve.

    --json: {"server": URL, "nodeStatus": ServiceNodeStatus}, as on the wire.
    """
    seen: list[ServiceNodeStatus] = []

    async def work(client: ArtemisClient) -> None:
        seen.append(await client.api.node_status())

    with_client(server, work)
    if json:
        output.print_json({"server": server, "nodeStatus": seen[0]})
    else:
        output.status_table(server, seen[0])
    if seen[0].status != "up":
        raise typer.Exit(FAILED)
