"""Puts the commands together. Commands that need more than the CLI's own libraries are loaded when they are called."""

import sys
from typing import Annotated

import typer

from artemis import __version__
from artemis.cli import backup, cluster, diagnosis, doctor, elsewhere, operators, queries, registration
from artemis.cli import run as running
from artemis.cli.elsewhere import ended, run_elsewhere
from artemis.cli.trust import trusting

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


app.command()(trusting(queries.services))
app.command()(trusting(queries.instances))
app.command()(trusting(queries.watch))
app.command()(trusting(queries.status))
app.command()(trusting(diagnosis.explain))
app.command()(trusting(diagnosis.leases))
app.command()(trusting(doctor.doctor))
app.command()(trusting(operators.preservation))
app.command()(trusting(operators.pullout))
app.command()(trusting(operators.pullin))
app.command()(trusting(operators.pullouts))
app.command()(trusting(registration.register))
app.command()(trusting(registration.unregister))
app.command()(trusting(backup.backup))
app.command()(trusting(backup.restore))
app.add_typer(cluster.app)
app.command(context_settings={"allow_interspersed_args": False})(trusting(running.run))


@app.command(context_settings=_PASS_ON)
def serve(context: typer.Context) -> None:
    """Run a node of the registry (needs artemis-registry[server])."""
    elsewhere.serve(context.args)


@app.command(context_settings=_PASS_ON)
def demo(context: typer.Context) -> None:
    """Run a node and a small fleet of services that find and call each other (needs artemis-registry[server])."""
    run_elsewhere(context.args, "demo", place="artemis.demo.command:demo", extra="server")


@app.command(context_settings=_PASS_ON)
def config(context: typer.Context) -> None:
    """Show a node's options and where they come from, or convert a Java node's (needs artemis-registry[server])."""
    run_elsewhere(context.args, "config", place="artemis.cli.configuration:config", extra="server")


def run() -> int:
    """Run the command line of this process and return its exit code."""
    return ended(lambda: app(prog_name="artemis"))
