"""Commands that are loaded when they are called, because they need more than the CLI's own libraries; and their ends.

Nothing of the client is loaded by this module: a node starts a third of a second sooner without it.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from artemis.cli.codes import FAILED, USAGE
from artemis.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def run_elsewhere(words: Sequence[str], command: str, *, place: str, extra: str) -> None:
    """Run ``artemis COMMAND WORDS``: a function, or a group of commands, as ``place`` says (``module:name``).

    Ends with code 2, and what to install, where the libraries of ``extra`` are missing.
    """
    module, _, name = place.partition(":")
    try:
        found: Callable[..., None] | typer.Typer = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "artemis":
            raise
        say(f"`artemis {command}` needs {error.name}: pip install 'artemis-registry[{extra}]'")
        sys.exit(USAGE)
    if isinstance(found, typer.Typer):
        inner = found
    else:
        inner = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        inner.command()(found)
    inner(args=list(words), prog_name=f"artemis {command}")


def serve(words: Sequence[str]) -> None:
    """Run ``artemis serve WORDS``."""
    run_elsewhere(words, "serve", place="artemis.server.command:serve", extra="server")


def ended(run: Callable[[], object]) -> int:
    """Run a command of this process and return its exit code, 1 if its result cannot be written."""
    if sys.stdout is None:  # closed by whoever started this, as some schedulers do: nobody wants the result
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - until the end of the process
    try:
        code = _code(run)
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


def _code(run: Callable[[], object]) -> int:
    try:
        run()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return 0
