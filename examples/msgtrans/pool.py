"""A pool of connections to two servers: borrowing, waiting in line, growing, and a server that goes away.

python examples/msgtrans/pool.py      (servers and pool in one process)
"""

import asyncio

from msgtrans import ConnectionPool, Context, PoolExpanded, SmartPoolConfig, TransportServer

CONFIG = SmartPoolConfig(initial_size=2, max_size=4, min_connections=1, expansion_cooldown=0)


def server_named(name: str) -> TransportServer:
    server = TransportServer(tcp="127.0.0.1:0")

    @server.on_request
    async def work(context: Context) -> bytes:
        await asyncio.sleep(0.02)
        return f"{name} did {context.payload.decode()}".encode()

    return server


async def main() -> None:
    north, south = server_named("north"), server_named("south")
    async with north, south:
        addresses = [north.uris[0], south.uris[0]]
        async with ConnectionPool(addresses, config=CONFIG) as pool:
            events = pool.events()

            # Borrow a connection for a while, or for one request.
            async with pool.acquire() as client:
                first = (await client.request(b"the first thing")).payload.decode()
            second = (await pool.request(b"the second")).payload.decode()
            print(", ".join(sorted([first.split()[0], second.split()[0]])))

            # More callers than connections: the pool grows, and who still finds none waits in line.
            await asyncio.gather(*(pool.request(b"a part") for _ in range(20)))
            stats = pool.stats()
            wanted = pool.detailed_status().wanted_size  # the last of them may still be on their way
            print(f"{stats.get_operations} times a connection, of {wanted}")
            print(f"some waited: {stats.waits > 0}")

            # What breaks is replaced, here by connections to the other server, and never handed out.
            await north.stop()
            answers = [(await pool.request(b"the rest")).payload.decode() for _ in range(4)]
            print(f"{set(answers)}")
        grown = [f"{event.from_size} to {event.to_size}" async for event in events if isinstance(event, PoolExpanded)]
        print(f"it has grown from {', '.join(grown)}")


if __name__ == "__main__":
    asyncio.run(main())
