"""The commands that write to a registry: register and unregister."""

import socket
from typing import Annotated
from urllib.parse import urlsplit

import typer

from artemis.cli import output
from artemis.cli.interrupts import until_interrupted
from artemis.cli.parameters import DEFAULT_SERVER, Json, Region, Server, Zone
from artemis.cli.session import QUICK, place, with_client
from artemis.cli.session import report as report_events
from artemis.client import ArtemisClient, ClientOptions, RegistrationRefusedError
from artemis.client.instances import completed
from artemis.model import Instance


def register(
    *,
    service: Annotated[str, typer.Option("--service", metavar="ID", help="The service it belongs to.")],
    instance: Annotated[
        str, typer.Option("--instance", metavar="ID", help="Its name within the service. [default: IP:PORT]")
    ] = "",
    ip: Annotated[str, typer.Option("--ip", help="Its address. [default: from --url, else 127.0.0.1]")] = "",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Its port. [default: from --url]")] = 0,
    url: Annotated[str, typer.Option("--url", help="Where it can be reached. [default: http://IP:PORT]")] = "",
    metadata: Annotated[
        list[str] | None, typer.Option("--metadata", metavar="KEY=VALUE", help="May be repeated.")
    ] = None,
    group: Annotated[str, typer.Option("--group", metavar="ID", help="Its group within the zone.")] = "",
    status: Annotated[str, typer.Option("--status", help="Free text, shown to callers.")] = "up",
    keep: Annotated[bool, typer.Option("--keep", help="Renew the lease until Ctrl-C, then unregister.")] = False,
    heartbeat: Annotated[
        float, typer.Option("--heartbeat", min=0.1, help="Seconds between two renewals with --keep.")
    ] = 5.0,
    region: Region = "",
    zone: Zone = "",
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Register an instance. Needs --port or --url; everything else is derived.

    --json: {"registered": [Instance]}, as on the wire.
    """
    address = _address(ip, port, url)
    described = Instance(
        service_id=service,
        instance_id=instance or None,
        ip=address[0],
        port=address[1],
        url=url or None,
        group_id=group or None,
        machine_name=socket.gethostname(),
        metadata=_pairs(metadata or []),
        status=status,
    )
    options = ClientOptions(attempts=QUICK.attempts, heartbeat_interval=heartbeat)

    async def work(client: ArtemisClient) -> None:
        region_id, zone_id = await place(client, region, zone)
        whole = completed(described, region_id=region_id, zone_id=zone_id)
        name = f"{whole.service_id}/{whole.instance_id}"

        def report() -> None:
            if json:
                output.print_json({"registered": [whole]})

        if keep:
            async with client.registered(whole):
                report()
                output.say(f"Registered {name} at {whole.url}; renewing it until Ctrl-C.")
                await until_interrupted(report_events(client))
            output.say(f"Unregistered {name}.")
        else:
            node, failed = await client.api.register([whole])
            if failed:
                raise RegistrationRefusedError(node, "registry/register.json", failed)
            report()
            output.say(
                f"Registered {name} at {whole.url}. Nobody renews it: it disappears when its lease ends "
                "(20 s unless the node was started with another --lease-ttl). Use --keep to stay."
            )

    with_client(server, work, options=options)


def unregister(
    *,
    service: Annotated[str, typer.Option("--service", metavar="ID", help="The service it belongs to.")],
    instance: Annotated[str, typer.Option("--instance", metavar="ID", help="Its name within the service.")],
    region: Region = "",
    zone: Zone = "",
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Take an instance out; its owner may still bring it back by a heartbeat that finds it missing.

    --json: {"unregistered": [{"regionId", "serviceId", "instanceId"}]}.
    """

    async def work(client: ArtemisClient) -> None:
        region_id, zone_id = await place(client, region, zone)
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

    with_client(server, work)


def _address(ip: str, port: int, url: str) -> tuple[str, int]:
    """Return ip and port as given, or those of the url."""
    try:
        parts = urlsplit(url)
        implied = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    except ValueError as error:
        raise typer.BadParameter(f"{url!r}: {error}", param_hint="--url") from None
    return ip or parts.hostname or "127.0.0.1", port or implied


def _pairs(texts: list[str]) -> dict[str, str | None] | None:
    pairs: dict[str, str | None] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--metadata")
        pairs[key.strip()] = value
    return pairs or None
