"""A server whose log, output and errors go to a full disk: python full_disk_program.py LOOP WORKERS FD.

It logs everything, its handlers fail when they are asked to. Where it listens it tells on FD.
Not here: what should come of it (`test_full_disk`).
"""

from __future__ import annotations

import logging
import os
import sys

from msgtrans import Context, TransportServer, WorkersConfig
from msgtrans.middleware import LoggingMiddleware

FAST = {"report_interval": 0.1, "restart_delay": 0.01, "max_restart_delay": 0.02}


def make_server(workers: int) -> TransportServer:
    """The server."""
    server = TransportServer(
        tcp="127.0.0.1:0",
        middleware=[LoggingMiddleware()],
        workers=WorkersConfig(count=workers, **FAST) if workers > 1 else 1,
    )

    @server.on_request
    def answer(context: Context) -> bytes:
        if context.payload == b"fail":
            raise ValueError("as asked")
        if context.payload == b"pid":
            return b"%d" % os.getpid()
        return context.payload

    @server.on_error
    def failed(_: Context, error: Exception) -> bytes:
        logging.getLogger("shop").error("a handler failed", exc_info=error)
        return b"failed"

    return server


def main() -> None:
    """Serve until SIGTERM."""
    loop, workers, told = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    logging.basicConfig(filename="/dev/full", level=logging.DEBUG)
    logging.getLogger().addHandler(logging.StreamHandler(sys.stderr))
    server = make_server(workers)
    sys.stdout.write("what waits here cannot be written")
    if loop == "asyncio":
        sys.modules["uvloop"] = None  # type: ignore[assignment]  # as if it was not installed
    server.run(ready=lambda uris: os.write(told, f"{uris[0]}\n".encode()))
    os._exit(0)  # Python itself would end with code 120: it could not write


if __name__ == "__main__":
    main()
