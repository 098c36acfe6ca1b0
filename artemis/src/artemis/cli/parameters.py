"""The options that several commands share."""

from typing import Annotated

import typer

DEFAULT_SERVER = "http://127.0.0.1:8080"

Server = Annotated[
    str, typer.Option("--server", envvar="ARTEMIS_SERVER", metavar="URL", help="A node of the registry.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Region = Annotated[str, typer.Option("--region", metavar="ID", help="Region; the node's own if left out.")]
Zone = Annotated[str, typer.Option("--zone", metavar="ID", help="Zone; the node's own if left out.")]
