"""A demonstration: an echo over a Unix socket, found by its scheme alone."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from msgtrans import Context, TransportClient, TransportServer


async def main() -> None:
    """Serve an echo on a socket in a folder of its own, and ask it."""
    with tempfile.TemporaryDirectory() as folder:
        uri = f"unix://{Path(folder) / 'echo.sock'}"
        server = TransportServer(listen=[uri])

        @server.on_request
        def echo(context: Context) -> bytes:
            return context.payload

        async with server, TransportClient(uri) as client:
            answer = await client.request(b"hello over a Unix socket")
            print(f"{client.session.protocol}: {answer.payload.decode()}")


if __name__ == "__main__":
    asyncio.run(main())
