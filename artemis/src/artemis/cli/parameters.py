"""The options that several commands share, and the check of those that must not be blank."""

import getpass
import os
from pathlib import Path
from typing import Annotated

import typer

from artemis.client.nodes.urls import node_url

DEFAULT_SERVER = "http://127.0.0.1:8080"


def one_node(text: str) -> str:
    """Return the URL of one node without a trailing slash; anything else is a wrong command line."""
    try:
        return node_url(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--server") from None


Server = Annotated[
    str,
    typer.Option("--server", envvar="ARTEMIS_SERVER", metavar="URL", help="A node of the registry.", callback=one_node),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Region = Annotated[
    str, typer.Option("--region", metavar="ID", help="Region; the node's own if left out. A node serves no other.")
]
ShownRegion = Annotated[
    str,
    typer.Option(
        "--region", metavar="ID", help="Region; the node's own if left out, or one that it has copied (--federate)."
    ),
]
Zone = Annotated[str, typer.Option("--zone", metavar="ID", help="Zone it runs in; the node's own if left out.")]
OnlyZone = Annotated[
    str, typer.Option("--zone", metavar="ID", help="Show the instances of this zone alone; all if left out.")
]

TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help="File whose first line is the admin token; else ARTEMIS_TOKEN. A node on loopback needs none.",
    ),
]


def token_of(file: Path | None) -> str:
    """Return the admin token, from the first line of `file` or from ARTEMIS_TOKEN; empty for none."""
    if file is None:
        return os.environ.get("ARTEMIS_TOKEN", "").strip()
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise typer.BadParameter(f"cannot read {file}: {error.strerror}", param_hint="--token-file") from None
    except UnicodeDecodeError:
        raise typer.BadParameter(f"{file} is not a text file", param_hint="--token-file") from None
    if not lines or not lines[0].strip():
        raise typer.BadParameter(f"the first line of {file} is empty", param_hint="--token-file")
    return lines[0].strip()


def operator_of(name: str) -> str:
    """Return who operates: the one that was named, else the user; by number where the system has no name for it."""
    if name:
        return name
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container runs as a user of which it knows nothing
        return f"uid-{os.getuid()}"


def named(text: str, parameter: str) -> str:
    """Return a name without surrounding space; a blank one is a wrong command line."""
    name = text.strip()
    if not name:
        raise typer.BadParameter("must not be blank", param_hint=parameter)
    return name


def pairs(texts: list[str], parameter: str) -> dict[str, str | None] | None:
    """Return metadata from texts of the form KEY=VALUE; None for no texts."""
    found: dict[str, str | None] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE", param_hint=parameter)
        found[key.strip()] = value
    return found or None
