"""`--ca-file`, which every command has that talks to a node: whose certificates are trusted there.

Not here: what is said of a certificate that is not trusted (`reach`).
"""

from __future__ import annotations

import inspect
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ParamSpec

import typer

from msgtrans import ConfigurationError, TlsClientConfig
from msgtrans.tls import client_context

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")

_CaFile = Annotated[
    Path | None,
    typer.Option(
        "--ca-file",
        envvar="ARTEMIS_CA_FILE",
        metavar="FILE",
        help="Authorities to trust at https:// nodes, as PEM; those of the system if left out.",
    ),
]
_SYSTEM = TlsClientConfig()
_trusted: ContextVar[TlsClientConfig] = ContextVar("trusted", default=_SYSTEM)


def trusted() -> TlsClientConfig:
    """Whom the command that runs trusts."""
    return _trusted.get()


def trusting(command: Callable[P, None]) -> Callable[..., None]:
    """Give a command `--ca-file`; a file that cannot be used is a wrong command line."""

    @wraps(command)
    def talk(*args: P.args, **kwargs: P.kwargs) -> None:
        file = kwargs.pop("ca_file", None)
        token = _trusted.set(_SYSTEM if file is None else _of(str(file)))
        try:
            command(*args, **kwargs)
        finally:
            _trusted.reset(token)

    signature = inspect.signature(command, eval_str=True)
    added = inspect.Parameter("ca_file", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_CaFile)
    parameters = [*signature.parameters.values(), added]
    vars(talk)["__signature__"] = signature.replace(parameters=parameters)
    talk.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return talk


def _of(file: str) -> TlsClientConfig:
    config = TlsClientConfig(ca_file=file)
    try:
        client_context(config)
    except ConfigurationError as error:
        raise typer.BadParameter(str(error).partition(": ")[2], param_hint="--ca-file") from None
    return config
