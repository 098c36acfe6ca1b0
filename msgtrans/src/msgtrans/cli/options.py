"""Arguments and options that several commands share, as types for Typer. Not here: what they do."""

from __future__ import annotations

from typing import Annotated

import typer

CONNECTION = "Connection"

Uri = Annotated[
    str,
    typer.Argument(
        metavar="URI",
        help="tcp://HOST:PORT, tls://HOST:PORT, ws://HOST:PORT/PATH, wss://HOST:PORT/PATH, or as a plug-in says.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines.")]
Ca = Annotated[
    str | None,
    typer.Option("--ca", metavar="FILE", help="Authorities to trust, PEM.", rich_help_panel=CONNECTION),
]
Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure", help="Take any certificate: encrypted, but by whom is not known.", rich_help_panel=CONNECTION
    ),
]
ClientCertificate = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Our own certificate, PEM.", rich_help_panel=CONNECTION),
]
ClientKey = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Its key, if not in the same file.", rich_help_panel=CONNECTION),
]
Headers = Annotated[
    list[str] | None,
    typer.Option(
        "--header",
        metavar="'NAME: VALUE'",
        help="Sent with a WebSocket upgrade; repeat it.",
        rich_help_panel=CONNECTION,
    ),
]
