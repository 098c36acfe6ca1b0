"""A QUIC client whose address vanishes, in a network of its own: what came of it.

As a program: unshare -n python quic_moving.py [LOCAL], with LOCAL as `local_bind_address`. The client's address is
taken away while a request is on its way, and another one comes. Prints what it saw as a line of JSON.
Not here: what should have come of it (`test_quic_vanishing`).
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import subprocess
import sys

from faults import Told, say

from msgtrans import QuicClientConfig, SessionClosedError, TransportClient, TransportServer
from msgtrans.config import NO_RETRY

SERVER, BEFORE, AFTER = "10.77.0.1", "10.77.0.2", "10.77.0.3"
LIMIT = 30.0
IDLE = 3.0
"""Seconds of silence that end a connection which stays where it is."""


def ip(*arguments: str) -> None:
    """Change the network."""
    subprocess.run([str(shutil.which("ip")), *arguments], check=True)


def come(address: str) -> None:
    """Have an address, from which the server is reached."""
    ip("addr", "add", f"{address}/32", "dev", "lo")
    ip("route", "replace", "local", SERVER, "dev", "lo", "src", address, "table", "local")


async def move(local: str | None) -> dict[str, object]:
    """Let it happen."""
    told = Told()
    told.setLevel(logging.INFO)
    logger = logging.getLogger("msgtrans.quic")
    logger.setLevel(logging.INFO)
    logger.addHandler(told)
    ip("link", "set", "lo", "up")
    ip("addr", "add", f"{SERVER}/32", "dev", "lo")
    come(BEFORE)
    server = TransportServer(quic=f"{SERVER}:0")
    server.on_request(lambda context: context.payload)
    async with server:
        config = QuicClientConfig.insecure(str(server.quic_address)).replace(
            retry_config=NO_RETRY, local_bind_address=local, max_idle_timeout=IDLE, keep_alive_interval=1.0
        )
        async with TransportClient(config) as client:
            await client.request(b"before")
            before = client.session.local_address
            ip("addr", "del", f"{BEFORE}/32", "dev", "lo")
            asked = asyncio.ensure_future(client.request(b"meanwhile", timeout=LIMIT))
            while not client.stats().udp_errors:  # noqa: ASYNC110 - nobody says so
                await asyncio.sleep(0.01)
            come(AFTER)
            try:
                answer = (await asked).payload.decode()
            except SessionClosedError:
                answer = f"{client.session.close_reason.name}"
            after = client.session.local_address
            return {
                "answer": answer,
                "before": before.host,
                "after": after and after.host,
                "same_port": after is not None and after.port == before.port,
                "moves": client.stats().udp_moves,
                "sessions": server.stats().connections_total,
                "told": [line for line in told.lines if " sending " not in line],
            }


if __name__ == "__main__":
    say(asyncio.run(move(sys.argv[1] if len(sys.argv) > 1 else None)))
