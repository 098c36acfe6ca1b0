"""Puts the commands together. Commands that need more than the CLI's own libraries are loaded when they are called."""

import errno
import importlib
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from artemis import __version__
from artemis.cli import diagnosis, operators, queries, registration
from artemis.cli import run as running
from artemis.cli.output import say
from artemis.cli.session import FAILED, USAGE

if TYPE_CHECKING:
    from collections.abc import Callable

_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

app = typer.Typer(
    name="artemis",
    help="A service registry: run a node, see what is registered, register by hand.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"artemis {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    del version  # its callback has done the work


app.command()(queries.services)
app.command()(queries.instances)
app.command()(queries.watch)
app.command()(queries.status)
app.command()(diagnosis.explain)
app.command()(diagnosis.leases)
app.command()(operators.preservation)
app.command()(operators.pullout)
app.command()(operators.pullin)
app.command()(operators.pullouts)
app.command()(registration.register)
app.command()(registration.unregister)
app.command(context_settings={"allow_interspersed_args": False})(running.run)


@app.command(context_settings=_PASS_ON)
def serve(context: typer.Context) -> None:
    """Run a node of the registry (needs artemis-registry[server])."""
    _run_elsewhere(context, "artemis.server.command", "serve", "server")


@app.command(context_settings=_PASS_ON)
def demo(context: typer.Context) -> None:
    """Run a node and a small fleet of services that find and call each other (needs artemis-registry[server])."""
    _run_elsewhere(context, "artemis.demo.command", "demo", "server")


@app.command(context_settings=_PASS_ON)
def config(context: typer.Context) -> None:
    """Show a node's options and where they come from, or convert a Java node's (needs artemis-registry[server])."""
    _run_elsewhere(context, "artemis.cli.configuration", "config", "server")


def _run_elsewhere(context: typer.Context, module: str, name: str, extra: str) -> None:
    """Hand the rest of the command line to a command, or a group of commands, that is loaded only now."""
    try:
        command: Callable[..., None] | typer.Typer = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "artemis":
            raise
        say(f"`artemis {context.info_name}` needs {error.name}: pip install 'artemis-registry[{extra}]'")
        raise typer.Exit(USAGE) from None
    if isinstance(command, typer.Typer):
        inner = command
    else:
        inner = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        inner.command()(command)
    inner(args=context.args, prog_name=f"artemis {context.info_name}")


def run() -> int:
    """Run the command line of this process and return its exit code."""
    try:
        code = _run()
        sys.stdout.flush()
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EPIPE, errno.EIO, errno.EFBIG, errno.EDQUOT}:
            raise
        # What could not be written must not be tried again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno != errno.EPIPE:  # whoever reads only the beginning, as head does, knows
            say(f"artemis: cannot write the result: {error.strerror}")
        return FAILED
    return code


def _run() -> int:
    try:
        app(prog_name="artemis")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return 0
