"""A client whose server goes away and comes back: what it tells, and what becomes of the calls.

python examples/msgtrans/reconnecting_client.py      (server and client in one process)
"""

import asyncio
import logging

from msgtrans import ClientState, Context, ReconnectingClient, TransportServer
from msgtrans.config import RetryConfig


def server_at(address: str) -> TransportServer:
    server = TransportServer(tcp=address)

    @server.on_request
    def answer(context: Context) -> bytes:
        return b"Echo: " + context.payload

    return server


async def tell(client: ReconnectingClient) -> None:
    """The state is a value with few cases; its changes can be followed."""
    before = None
    async for change in client.states():
        if change.state is not before:
            print(f"the client is {change.state}")
        before = change.state


async def until(client: ReconnectingClient, state: ClientState) -> None:
    async for change in client.states():
        if change.state is state:
            return


async def main() -> None:
    server = server_at("127.0.0.1:0")
    await server.start()
    address = str(server.tcp_address)

    # Any number of addresses, of any transport. Before each attempt it waits for a random part of the pause.
    retry = RetryConfig(max_retries=None, retry_interval=0.1, max_retry_interval=0.2)
    async with ReconnectingClient([f"tcp://{address}"], retry=retry) as client:
        telling = asyncio.create_task(tell(client))
        print((await client.request(b"hello")).payload.decode())

        await server.stop()
        await until(client, ClientState.SUSPENDED)
        waiting = asyncio.create_task(client.request(b"are you back?"))  # waits for a connection, up to its timeout
        await asyncio.sleep(0.1)
        print(f"waiting: {not waiting.done()}")

        server = server_at(address)
        await server.start()
        print((await waiting).payload.decode())
    await telling
    await server.stop()


if __name__ == "__main__":
    logging.getLogger("msgtrans.reconnecting").setLevel(logging.ERROR)  # it warns of what is printed here anyway
    asyncio.run(main())
