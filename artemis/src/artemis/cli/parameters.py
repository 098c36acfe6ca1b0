"""The options that several commands share, and the check of those that must not be blank."""

from typing import Annotated

import typer

DEFAULT_SERVER = "http://127.0.0.1:8080"

Server = Annotated[
    str, typer.Option("--server", envvar="ARTEMIS_SERVER", metavar="URL", help="A node of the registry.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Region = Annotated[
    str, typer.Option("--region", metavar="ID", help="Region; the node's own if left out. A node serves no other.")
]
Zone = Annotated[str, typer.Option("--zone", metavar="ID", help="Zone it runs in; the node's own if left out.")]
OnlyZone = Annotated[
    str, typer.Option("--zone", metavar="ID", help="Show the instances of this zone alone; all if left out.")
]


def named(text: str, parameter: str) -> str:
    """Return a name without surrounding space; a blank one is a wrong command line."""
    name = text.strip()
    if not name:
        raise typer.BadParameter("must not be blank", param_hint=parameter)
    return name
