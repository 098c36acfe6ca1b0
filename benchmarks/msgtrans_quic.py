"""Requests per second and latency over QUIC, client and server in a process each, beside a bare echo over qh3.

Both sides of msgtrans use its public API: `stream` has all packets on one stream, `uni` has each on one of its own.
The bare echo frames with a 4-byte length on one stream and answers in order. Rounds alternate between the three;
medians of the rounds are printed.

    python benchmarks/msgtrans_quic.py [--rounds 5] [--seconds 0.7] [--size 32] [--json]
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from peers.bare_qh3 import BareLink
from qh3.quic.configuration import QuicConfiguration
from qh3.quic.connection import QuicConnection
from rounds import Contest, main

from msgtrans import Context, TransportClient, TransportServer
from msgtrans.adapters.quic.certificates import self_signed
from msgtrans.config import QuicClientConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

KINDS = ("bare qh3", "stream", "uni")


async def serve(kind: str) -> None:
    """Serve until killed."""
    if kind == KINDS[0]:
        configuration = QuicConfiguration(is_client=False, max_data=1 << 22, max_stream_data=1 << 22)
        certificate, key = self_signed()
        configuration.load_cert_chain(certificate, key)
        bound = socket.socket(type=socket.SOCK_DGRAM)
        bound.bind(("127.0.0.1", 0))
        link = BareLink(bound, configuration, None)
        print(bound.getsockname()[1], flush=True)
        await asyncio.Event().wait()
        link.close()
    server = TransportServer(quic="127.0.0.1:0")

    @server.on_request
    def echo(context: Context) -> bytes:
        return context.payload

    await server.start()
    print(server.quic_address.port, flush=True)
    await server.serve_forever()


@asynccontextmanager
async def connect(ports: dict[str, int]) -> AsyncIterator[dict[str, Callable[[bytes], Awaitable[object]]]]:
    """A connection to each."""
    configuration = QuicConfiguration(is_client=True, server_name="localhost", verify_mode=ssl.CERT_NONE)
    bare = BareLink(socket.socket(type=socket.SOCK_DGRAM), configuration, QuicConnection(configuration=configuration))
    bare.connect(("127.0.0.1", ports[KINDS[0]]))
    await bare.ready
    near = {kind: QuicClientConfig.insecure(f"127.0.0.1:{ports[kind]}") for kind in KINDS[1:]}
    async with (
        TransportClient(near["stream"]) as stream,
        TransportClient(near["uni"].replace(mapping="uni")) as uni,
    ):
        yield {KINDS[0]: bare.request, "stream": stream.request, "uni": uni.request}
    bare.close()


if __name__ == "__main__":
    main(Contest("requests over QUIC", __file__, KINDS, serve, connect), __doc__.partition("\n")[0])
