"""Arguments and options that several commands share, as types for Typer. Not here: what they do."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from msgtrans.cli.target import TOKEN_VARIABLE
from msgtrans.config.codec import CodecOptions

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECTION = "Connection"


def whole_number(*, least: int, most: int | None = None, about: str) -> Any:
    """An option that takes a whole number from `least` to `most`."""
    return typer.Option(parser=_reader(int, least, most), min=least, max=most, metavar="N", help=about)


def seconds(*, least: float, about: str) -> Any:
    """An option that takes finite seconds, `least` at least."""
    return typer.Option(parser=_reader(float, least, None), min=least, metavar="SECONDS", help=about)


def _reader(kind: Callable[[str], float], least: float, most: float | None) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if math.isfinite(value) and value >= least and (most is None or value <= most):
            return value
        what = "a whole number" if kind is int else "a number"
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise typer.BadParameter(f"must be {what} {bounds}, not {text!r}")

    return read


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
Size = Annotated[int, whole_number(least=0, most=CodecOptions().max_payload_size, about="Bytes of payload.")]
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
