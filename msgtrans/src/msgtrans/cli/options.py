"""Arguments and options that several commands share, as types for Typer. Not here: what they do."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated, TypeVar

import typer

from msgtrans.cli.target import TOKEN_VARIABLE
from msgtrans.config.codec import CodecOptions

CONNECTION = "Connection"
N = TypeVar("N", int, float)


def finite(value: N) -> N:
    """`value`, for options; refused where it is infinite or no number."""
    if not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number of anything; write one that ends.")
    return value


Uri = Annotated[
    str,
    typer.Argument(
        metavar="URI",
        help="tcp://HOST:PORT, tls://HOST:PORT, ws://HOST:PORT/PATH, wss://HOST:PORT/PATH, quic://HOST:PORT, "
        "or as a plug-in says.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines.")]
JsonArray = Annotated[bool, typer.Option("--json", help="Print one JSON array for machines.")]
Size = Annotated[int, typer.Option(min=0, max=CodecOptions().max_payload_size, help="Bytes of payload.")]
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
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="TEXT",
        envvar=TOKEN_VARIABLE,
        help="Who we are, where the server asks; the variable keeps it out of the list of processes.",
        rich_help_panel=CONNECTION,
    ),
]


class QuicMappings(StrEnum):
    """How packets travel on QUIC, as `QuicClientConfig.mapping` has it."""

    STREAM = "stream"
    UNI = "uni"
    PROBE = "probe"


QuicMapping = Annotated[
    QuicMappings | None,
    typer.Option(
        help="On QUIC: all packets on one stream, which is the default; each on its own, for Rust servers 1.0.0 to "
        "1.0.2; or find out.",
        rich_help_panel=CONNECTION,
    ),
]
