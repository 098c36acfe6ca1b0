"""The commands that write to a registry: register and unregister."""

import socket
from typing import Annotated

import typer

from artemis.cli import output
from artemis.cli.address import address
from artemis.cli.interrupts import until_interrupted
from artemis.cli.parameters import DEFAULT_SERVER, Json, Region, Server, Zone, named, pairs
from artemis.cli.reach import spelt
from artemis.cli.session import QUICK, place, with_client
from artemis.cli.session import report as report_events
from artemis.cli.values import number, whole_number
from artemis.client import ArtemisClient, ClientOptions, RegistrationRefusedError, Unregistered
from artemis.client.registration.instances import completed
from artemis.model import Instance


def register(
    *,
    service: Annotated[str, typer.Option("--service", metavar="ID", help="The service it belongs to.")],
    instance: Annotated[
        str, typer.Option("--instance", metavar="ID", help="Its name within the service. [default: HOST:PORT]")
    ] = "",
    ip: Annotated[
        str, typer.Option("--ip", metavar="ADDRESS", help="Its IP address. [default: from --url, else 127.0.0.1]")
    ] = "",
    port: Annotated[
        int | None, whole_number("--port", metavar="PORT", least=1, most=65535, about="Its port. [default: from --url]")
    ] = None,
    url: Annotated[
        str, typer.Option("--url", metavar="URL", help="Where it can be reached. [default: http://IP:PORT]")
    ] = "",
    metadata: Annotated[
        list[str] | None, typer.Option("--metadata", metavar="KEY=VALUE", help="May be repeated.")
    ] = None,
    group: Annotated[str, typer.Option("--group", metavar="ID", help="Its group within the zone.")] = "",
    status: Annotated[str, typer.Option("--status", metavar="TEXT", help="Free text, shown to callers.")] = "up",
    keep: Annotated[bool, typer.Option("--keep", help="Renew the lease until Ctrl-C, then unregister.")] = False,
    heartbeat: Annotated[
        float, number("--heartbeat", metavar="SECONDS", least=0.1, about="Seconds between two renewals with --keep.")
    ] = 5.0,
    region: Region = "",
    zone: Zone = "",
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Register an instance. Needs --port or --url; everything else is derived.

    --json: {"registered": [Instance]}, as on the wire.
    """
    where = address(ip.strip(), port, url.strip())
    described = Instance(
        service_id=named(service, "--service"),
        instance_id=instance.strip() or where.name,
        ip=where.ip,
        port=where.port,
        url=where.url,
        group_id=group or None,
        machine_name=socket.gethostname(),
        metadata=pairs(metadata or [], "--metadata"),
        status=status,
    )
    options = ClientOptions(attempts=QUICK.attempts, heartbeat_interval=heartbeat)

    async def work(client: ArtemisClient) -> None:
        region_id, zone_id = await place(client, region, zone)
        whole = completed(described, region_id=region_id, zone_id=zone_id)
        if keep:
            await _keep(client, whole, json=json)
            return
        node, failed = await client.api.register([whole])
        if failed:
            raise RegistrationRefusedError(node, "registry/register.json", failed)
        _report(whole, json=json)
        output.say(
            f"Registered {_name(whole)} at {whole.url}. Nobody renews it: it disappears when its lease ends "
            "(20 s unless the node was started with another --lease-ttl). Use --keep to stay."
        )

    with_client(server, work, options=options, region=region)


def unregister(
    *,
    service: Annotated[str, typer.Option("--service", metavar="ID", help="The service it belongs to.")],
    instance: Annotated[str, typer.Option("--instance", metavar="ID", help="Its name within the service.")],
    region: Region = "",
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Take an instance out, whatever its zone; its owner may bring it back by a heartbeat that finds it missing.

    --json: {"unregistered": [{"regionId", "serviceId", "instanceId"}]}.
    """
    service, instance = named(service, "--service"), named(instance, "--instance")

    async def work(client: ArtemisClient) -> None:
        region_id, zone_id = await place(client, region)
        # The key alone decides; the registry wants a url in every instance all the same.
        target = Instance(
            region_id=region_id, zone_id=zone_id, service_id=service, instance_id=instance, url="http://unregistered"
        )
        view = await client.api.lookup([service], region_id=region_id, zone_id=zone_id)
        names = {(one.instance_id or "").lower() for found in view for one in found.instances or () if one is not None}
        node, failed = await client.api.unregister([target])
        if failed:
            raise RegistrationRefusedError(node, "registry/unregister.json", failed)
        if json:
            key = {"regionId": region_id, "serviceId": service, "instanceId": instance}
            output.print_json({"unregistered": [key]})
        there = instance.lower() in names
        output.say(f"{'Unregistered' if there else 'There was no live'} {service}/{instance}.")

    with_client(server, work, region=region)


async def _keep(client: ArtemisClient, instance: Instance, *, json: bool) -> None:
    """Register the instance and renew it until the process is told to stop; then say what became of it."""
    registered = False
    events = client.events()

    async def hold() -> None:
        nonlocal registered
        async with client.registered(instance):
            registered = True
            _report(instance, json=json)
            output.say(f"Registered {_name(instance)} at {instance.url}; renewing it until Ctrl-C.")
            await report_events(client)

    # Signals are answered from before the instance is there: none may come between it and its end.
    await until_interrupted(hold())
    if not registered:
        return
    async for event in events:
        if isinstance(event, Unregistered):
            if event.error is None:
                output.say(f"Unregistered {_name(instance)}.")
            else:
                output.say(f"Could not unregister {_name(instance)}; its lease ends by itself: {spelt(event.error)}")
            return


def _report(instance: Instance, *, json: bool) -> None:
    if json:
        output.print_json({"registered": [instance]})


def _name(instance: Instance) -> str:
    return f"{instance.service_id}/{instance.instance_id}"
