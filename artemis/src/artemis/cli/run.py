"""The command `artemis run`: what its options mean, and the sentences for what is wrong with them.

What then happens is in `artemis.cli.run_supervision`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import socket
from typing import Annotated
from urllib.parse import urlsplit

import typer

from artemis.cli import output
from artemis.cli.address import is_ip
from artemis.cli.codes import FAILED, USAGE
from artemis.cli.parameters import DEFAULT_SERVER, Region, Server, Zone, named, pairs
from artemis.cli.run_children import CannotStartError
from artemis.cli.run_supervision import HealthPlan, Plan, Supervision
from artemis.cli.session import QUICK
from artemis.cli.values import number, whole_number
from artemis.client import ClientOptions
from artemis.client.listening import accepts
from artemis.client.registration.address import own_address
from artemis.model import Instance

_LOCAL = "127.0.0.1"


def run(
    *,
    command: Annotated[list[str], typer.Argument(metavar="COMMAND", show_default=False)],
    service: Annotated[str, typer.Option("--service", metavar="ID", help="The service it is an instance of.")],
    port: Annotated[
        int,
        whole_number(
            "--port", metavar="PORT", least=0, most=65535, about="Where it listens; 0 picks a free port for it."
        ),
    ],
    port_env: Annotated[
        str, typer.Option("--port-env", metavar="NAME", help="The environment variable that tells it the port.")
    ] = "PORT",
    ip: Annotated[
        str, typer.Option("--ip", metavar="ADDRESS", help="Its IP address. [default: the one that faces the registry]")
    ] = "",
    instance_id: Annotated[
        str, typer.Option("--instance-id", metavar="ID", help="Its name within the service. [default: IP:PORT]")
    ] = "",
    group: Annotated[str, typer.Option("--group", metavar="ID", help="Its group within the zone.")] = "",
    protocol: Annotated[
        str, typer.Option("--protocol", metavar="NAME", help="What it speaks, as in its url.")
    ] = "http",
    meta: Annotated[list[str] | None, typer.Option("--meta", metavar="KEY=VALUE", help="May be repeated.")] = None,
    health_http: Annotated[
        str,
        typer.Option("--health-http", metavar="PATH|URL", help="Healthy while a GET of it answers with 200 to 399."),
    ] = "",
    health_tcp: Annotated[
        str,
        typer.Option("--health-tcp", metavar="HOST:PORT", help="Healthy while it accepts. [default: --ip and --port]"),
    ] = "",
    health_command: Annotated[
        str, typer.Option("--health-command", metavar="LINE", help="Healthy while this shell command ends with 0.")
    ] = "",
    no_health: Annotated[bool, typer.Option("--no-health", help="Register at once, and check nothing.")] = False,
    health_interval: Annotated[
        float, number("--health-interval", metavar="SECONDS", least=0.05, about="Between two checks.")
    ] = 5.0,
    health_timeout: Annotated[
        float, number("--health-timeout", metavar="SECONDS", least=0.01, about="What one check may take.")
    ] = 2.0,
    healthy: Annotated[
        int, whole_number("--healthy", metavar="N", least=1, about="Passed checks in a row to be registered.")
    ] = 1,
    unhealthy: Annotated[
        int, whole_number("--unhealthy", metavar="N", least=1, about="Failed checks in a row to be taken out.")
    ] = 3,
    start_timeout: Annotated[
        float | None,
        number(
            "--start-timeout",
            metavar="SECONDS",
            least=0.1,
            about="End it, with code 124, when it is not healthy by then. [default: wait]",
        ),
    ] = None,
    drain: Annotated[
        float,
        number(
            "--drain",
            metavar="SECONDS",
            least=0,
            about="How long it serves on, at most, until callers know that it leaves.",
        ),
    ] = 3.0,
    stop_timeout: Annotated[
        float,
        number(
            "--stop-timeout",
            metavar="SECONDS",
            least=0,
            about="What it may take to end when told to; then it is killed.",
        ),
    ] = 10.0,
    region: Region = "",
    zone: Zone = "",
    server: Server = DEFAULT_SERVER,
) -> None:
    """Run a process in any language as an instance: registered while it is healthy, taken out when it is not or ends.

    artemis run --service orders --port 9000 -- node server.js

    SIGTERM, SIGINT and SIGQUIT first take the instance out, then reach the process; SIGHUP, SIGUSR1 and SIGUSR2 reach
    it at once. What it leaves running gets SIGTERM and until --stop-timeout, too, except on a terminal. Its input and
    output are untouched, and its exit code is that of this command (128 + N for signal N; 126 and 127 if it cannot be
    started). It runs whether or not the registry does, which is told on stderr. On Linux it gets SIGTERM too when this
    command is killed.
    """
    if os.name != "posix":
        output.say("`artemis run` needs the signals and process groups of POSIX; on Windows register with the SDK.")
        raise typer.Exit(USAGE)
    where = _own_ip(ip.strip(), server)
    reached = where or _LOCAL
    chosen = port or _free_port(reached)
    plan = Plan(
        command=tuple(command),
        server=server,
        instance=Instance(
            region_id=region or None,
            zone_id=zone or None,
            service_id=named(service, "--service"),
            instance_id=instance_id.strip() or None,
            ip=where or None,
            port=chosen,
            protocol=named(protocol, "--protocol"),
            group_id=group.strip() or None,
            machine_name=socket.gethostname(),
            metadata=pairs(meta or [], "--meta"),
            status="up",
        ),
        port_variable=named(port_env, "--port-env"),
        health=_health(
            reached,
            chosen,
            {"--health-http": health_http, "--health-tcp": health_tcp, "--health-command": health_command},
            none=no_health,
            interval=health_interval,
            timeout=health_timeout,
            thresholds=(healthy, unhealthy),
        ),
        start_timeout=start_timeout,
        stop_timeout=stop_timeout,
        options=ClientOptions(
            attempts=QUICK.attempts, attempt_timeout=QUICK.attempt_timeout, close_timeout=2.0, drain_timeout=drain
        ),
    )
    if port and not (no_health or health_tcp or health_command or "://" in health_http) and accepts((reached, port)):
        tell(
            f"Somebody listens at {_host(reached)}:{port} before the command was started, so a check of that port "
            "would not say how the command is; nothing is started. End that process, take another --port, or check in "
            "another way (--health-http URL, --health-tcp HOST:PORT, --health-command, --no-health)."
        )
        raise typer.Exit(FAILED)
    raise typer.Exit(_supervised(plan))


def _supervised(plan: Plan) -> int:
    # What the client logs is told as its events; both would be twice.
    logging.getLogger("artemis.client").addHandler(logging.NullHandler())

    async def supervise() -> int:
        return await Supervision(plan, tell).run()

    try:
        return asyncio.run(supervise())
    except CannotStartError as error:
        tell(str(error))
        return error.code
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--server") from None


def tell(text: str) -> None:
    """Tell a person something, marked as not being from the command; nobody may be listening any more."""
    try:
        output.say(f"artemis run: {text}")
    except OSError:
        return  # the command goes on without those who read its errors, and so does this


def _health(
    ip: str,
    port: int,
    given: dict[str, str],
    *,
    none: bool,
    interval: float,
    timeout: float,
    thresholds: tuple[int, int],
) -> HealthPlan:
    asked = [option for option, value in given.items() if value.strip()] + (["--no-health"] if none else [])
    if len(asked) > 1:
        raise typer.BadParameter("only one of them can be", param_hint=" / ".join(asked))
    way = asked[0] if asked else "--health-tcp"
    target = given.get(way, "").strip()
    if way == "--health-http":
        target = _health_url(target, f"http://{_host(ip)}:{port}")
    elif way == "--health-tcp":
        target = _health_address(target or f"{_host(ip)}:{port}")
    elif way == "--health-command" and not _words(target):
        raise typer.BadParameter("is no command", param_hint=way)
    return HealthPlan(
        way="none" if none else way.removeprefix("--health-"),
        target=target,
        interval=interval,
        timeout=timeout,
        healthy=thresholds[0],
        unhealthy=thresholds[1],
    )


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise typer.BadParameter(f"{line!r}: {error}", param_hint="--health-command") from None


def _health_url(target: str, own: str) -> str:
    if target.startswith("/"):
        return own + target
    try:
        parts = urlsplit(target)
    except ValueError as error:
        raise typer.BadParameter(f"{target!r}: {error}", param_hint="--health-http") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise typer.BadParameter(f"{target!r} is neither a path like /health nor a URL", param_hint="--health-http")
    _check_name(parts.hostname, "--health-http")
    return target


def _health_address(target: str) -> str:
    host, colon, port = target.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise typer.BadParameter(f"{target!r} is not HOST:PORT", param_hint="--health-tcp")
    _check_name(host, "--health-tcp")
    return target


def _check_name(host: str, option: str) -> None:
    try:
        host.encode("idna")
    except UnicodeError as error:
        raise typer.BadParameter(f"{host!r} is no name of a host: {error}", param_hint=option) from None


def _own_ip(ip: str, server: str) -> str:
    """Return the address to register: the given one, or the one that faces the registry; empty if none does yet."""
    if ip and not is_ip(ip):
        raise typer.BadParameter(f"{ip!r} is not an IP address", param_hint="--ip")
    try:
        return ip or asyncio.run(own_address(server))
    except (OSError, ValueError):
        return ""  # the registry's name is not known yet, which is told when registering; that finds the address, too


def _free_port(ip: str) -> int:
    """Return a port that is free now. Someone else may take it before the command does, which then says so."""
    with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET) as probe:
        try:
            probe.bind((ip, 0))
        except OSError as error:
            raise typer.BadParameter(
                f"{ip} is not an address of this machine: {error.strerror}", param_hint="--ip"
            ) from None
        port: int = probe.getsockname()[1]
        return port


def _host(ip: str) -> str:
    return f"[{ip}]" if ":" in ip else ip
