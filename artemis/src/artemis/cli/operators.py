"""The commands of operators: pull instances and machines out and in, switch self-preservation.

They need the admin token wherever a node listens beyond its own machine.
"""

import shlex
from enum import Enum
from typing import Annotated

import msgspec
import typer

from artemis.cli import output
from artemis.cli.calls import get, post
from artemis.cli.codes import FAILED
from artemis.cli.hidden import leased, recorded
from artemis.cli.overview import preservation_text
from artemis.cli.parameters import DEFAULT_SERVER, Json, Region, Server, TokenFile, operator_of, token_of
from artemis.cli.session import place, with_client
from artemis.cli.values import word
from artemis.client import ArtemisClient
from artemis.model import Instance
from artemis.model.management import (
    AllInstanceOperationsResponse,
    AllServerOperationsResponse,
    InstanceKey,
    OperateInstanceRequest,
    OperateResponse,
    OperateServerRequest,
    RegionRequest,
    ServerKey,
)
from artemis.model.status import PreservationResponse, PreservationSwitch

Service = Annotated[str, typer.Argument(help="The service's id; letter case does not matter.")]
InstanceId = Annotated[str, typer.Argument(metavar="INSTANCE", help="The instance's id; letter case does not matter.")]
Machine = Annotated[
    str, typer.Option("--ip", metavar="ADDRESS", help="Instead of one instance: all with this ip, now and later.")
]
Name = Annotated[
    str, typer.Option("--operation", metavar="NAME", help="Why, as a name; an instance is out while it has any.")
]
Operator = Annotated[str, typer.Option("--operator", metavar="ID", help="Who does it. [default: the user]")]


class OnOff(Enum):
    """What a switch can be."""

    ON = "on"
    OFF = "off"


def preservation(
    switch: Annotated[OnOff | None, word("", OnOff, about="Switch it; shows its state if left out.")] = None,
    *,
    server: Server = DEFAULT_SERVER,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Show self-preservation with its numbers and reason, or switch it, until the node ends.

    --json: {"leases", "legacyLeases", "responseStatus"}.
    """
    if switch is None:
        answer = get(server, "v1/self-preservation", PreservationResponse)
    else:
        request = PreservationSwitch(enabled=switch is OnOff.ON)
        answer = post(server, "v1/self-preservation/switch", PreservationResponse, request, token_of(token_file))
    if json:
        output.print_json(answer)
        return
    states = (("leases", answer.leases), ("legacy leases", answer.legacy_leases))
    output.rows_table(("OF", "STATE"), [(name, preservation_text(state)) for name, state in states])


def pullout(
    service: Service = "",
    instance: InstanceId = "",
    *,
    ip: Machine = "",
    operation: Name = "manual",
    operator: Operator = "",
    region: Region = "",
    server: Server = DEFAULT_SERVER,
    token_file: TokenFile = None,
) -> None:
    """Hide an instance, or all of a machine, from callers, whatever its owner does, until it is pulled in."""
    token = token_of(token_file)
    key = _placed(server, _target(service, instance, ip, region))
    _operate(server, key, (operation, operator), token, complete=False)
    output.say(f"Pulled out {_name(key)} ({operation}).")
    if isinstance(key, InstanceKey) and _leased(server, key) is None:
        output.say("No such instance is registered now; it will be hidden when it is.")


def pullin(
    service: Service = "",
    instance: InstanceId = "",
    *,
    ip: Machine = "",
    operation: Name = "manual",
    operator: Operator = "",
    region: Region = "",
    server: Server = DEFAULT_SERVER,
    token_file: TokenFile = None,
) -> None:
    """End a pull-out; the instance is seen again once no other name keeps it out: exit code 1 as long as one does."""
    token = token_of(token_file)
    key = _placed(server, _target(service, instance, ip, region))
    was = recorded(server, key)
    _operate(server, key, (operation, operator), token, complete=True)
    ended = operation.strip().lower() in {name.lower() for name in was}
    left = _what_keeps_out(server, key, recorded(server, key))
    if left:
        how = (
            f"Ended {operation} of {_name(key)}, but it is"
            if ended
            else f"{_name(key)} was not out by {operation}; it is"
        )
        output.say(f"{how} still out by {' and '.join(what for what, _ in left)}.")
        output.say(f"End that with {' and '.join(f'`{command}`' for _, command in left)}.")
        raise typer.Exit(FAILED)
    if ended:
        output.say(f"Pulled in {_name(key)} ({operation}).")
    else:
        output.say(f"{_name(key)} is not pulled out; there is nothing to end.")


def pullouts(*, region: Region = "", server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """List what is pulled out.

    --json: {"instances": [{"instanceKey", "operations"}], "servers": [{"serverKey", "operations"}]}.
    """
    request = RegionRequest(region_id=region or None)
    path = "management/all-{}-operations.json"
    instances = post(server, path.format("instance"), AllInstanceOperationsResponse, request).all_instance_operations
    servers = post(server, path.format("server"), AllServerOperationsResponse, request).all_server_operations
    if json:
        output.print_json({"instances": instances or [], "servers": servers or []})
        return
    rows = [
        (key.region_id, f"{key.service_id}/{key.instance_id}", ", ".join(map(str, found.operations or ())))
        for found in instances or ()
        if found is not None and (key := found.instance_key) is not None
    ]
    rows += [
        (machine.region_id, f"all of {machine.server_id}", ", ".join(map(str, one.operations or ())))
        for one in servers or ()
        if one is not None and (machine := one.server_key) is not None
    ]
    if rows:
        output.rows_table(("REGION", "WHAT", "OPERATIONS"), rows)
    else:
        output.say("Nothing is pulled out.")


def _target(service: str, instance: str, ip: str, region: str) -> InstanceKey | ServerKey:
    """Return what the command line names; the region may still be open."""
    if ip.strip() and not service.strip():
        return ServerKey(region_id=region or None, server_id=ip.strip())
    if ip.strip() or not service.strip() or not instance.strip():
        raise typer.BadParameter("name an instance, as SERVICE INSTANCE, or a machine, as --ip ADDRESS")
    return InstanceKey(region_id=region or None, service_id=service.strip(), instance_id=instance.strip())


def _placed(server: str, target: InstanceKey | ServerKey) -> InstanceKey | ServerKey:
    """Return the target in its region: the one that was given, else the node's."""
    where: list[str] = []

    async def work(client: ArtemisClient) -> None:
        where.append((await place(client, target.region_id or ""))[0])

    with_client(server, work)
    return msgspec.structs.replace(target, region_id=where[0])


def _operate(server: str, key: InstanceKey | ServerKey, what: tuple[str, str], token: str, *, complete: bool) -> None:
    operation, operator = what
    operator = operator_of(operator)
    if isinstance(key, InstanceKey):
        request: msgspec.Struct = OperateInstanceRequest(
            instance_key=key, operation=operation, operator_id=operator, operation_complete=complete
        )
    else:
        request = OperateServerRequest(
            server_key=key, operation=operation, operator_id=operator, operation_complete=complete
        )
    path = "operate-instance" if isinstance(key, InstanceKey) else "operate-server"
    post(server, f"management/{path}.json", OperateResponse, request, token)


def _name(key: InstanceKey | ServerKey) -> str:
    return f"{key.service_id}/{key.instance_id}" if isinstance(key, InstanceKey) else f"all of {key.server_id}"


def _leased(server: str, key: InstanceKey) -> Instance | None:
    """Return the instance of that name if it holds a lease, or where the node cannot tell one without a content."""
    held = leased(server, key.service_id or "")
    if held is None:
        return Instance()
    wanted = (key.instance_id or "").lower()
    return next((one for one in held if (one.instance_id or "").lower() == wanted), None)


def _what_keeps_out(server: str, key: InstanceKey | ServerKey, own: list[str]) -> list[tuple[str, str]]:
    """Return what still hides a target, its `own` operations and those of its machine, each with what ends it."""
    if isinstance(key, ServerKey):
        return [(name, f"artemis pullin --ip {key.server_id} --operation {shlex.quote(name)}") for name in own]
    words = shlex.join(["artemis", "pullin", key.service_id or "", key.instance_id or ""])
    left = [(name, f"{words} --operation {shlex.quote(name)}") for name in own]
    instance = _leased(server, key)
    if instance is not None and instance.ip:
        machine = ServerKey(region_id=key.region_id, server_id=instance.ip)
        left += [
            (
                f"{name} of its machine {instance.ip}",
                f"artemis pullin --ip {instance.ip} --operation {shlex.quote(name)}",
            )
            for name in recorded(server, machine)
        ]
    return left
