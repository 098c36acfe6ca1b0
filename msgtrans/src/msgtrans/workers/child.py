"""What a new interpreter runs as a worker; where modules are it has from its supervisor, and nowhere else.

Not here: anything a program would import.
"""

from __future__ import annotations

import socket
import sys
from importlib import import_module
from typing import TYPE_CHECKING, cast

from msgtrans.workers.link import WorkerLink
from msgtrans.workers.messages import LENGTH, MAX_SIZE, Begin, to_worker
from msgtrans.workers.processes import prepare

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> int:
    """Read what to do, and do it."""
    prepare()
    channel = socket.socket(fileno=int(sys.argv[1]))
    del sys.argv[1:]
    size = int.from_bytes(_read(channel, LENGTH), "big")
    if size > MAX_SIZE:
        return 2
    begin = to_worker.decode(_read(channel, size))
    if not isinstance(begin, Begin):
        return 2
    with WorkerLink(channel, begin) as link:

        def work(link: WorkerLink) -> None:
            module, _, name = begin.entry.partition(":")
            entry = cast("Callable[..., None]", getattr(import_module(module), name))
            entry(link, *begin.arguments)

        return link.run(work)


def _read(channel: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = channel.recv(size - len(data))
        if not more:
            raise SystemExit(0)  # the supervisor is gone before it began
        data += more
    return data
