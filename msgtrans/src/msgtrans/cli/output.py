"""What a server says while it serves: it goes on when nobody can hear it, as on a full disk.

Not here: what commands print that end with it, and logging, which bears this by itself.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator


def say(line: str, *, err: bool = False) -> None:
    """Print a line, if that is possible."""
    with suppress(OSError):
        typer.echo(line, err=err)


@contextmanager
def saying() -> Iterator[None]:
    """What is still unsaid at the end of this is dropped if it has to: Python would exit with code 120 for it."""
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
