"""Looks up the names of nodes in threads of its own, so that a name service that hangs holds up nobody else.

The event loop would use its default pool, which is the user's too (`asyncio.to_thread`), and small. What is found is
not remembered here: who connects does, for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Final

from aiohttp.abc import AbstractResolver, ResolveResult

if TYPE_CHECKING:
    from collections.abc import Callable

MOST: Final = 8
"""Names that are looked up at the same time by one client; a further one fails at once."""
_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV

Found = list[tuple[socket.AddressFamily, str]]


class Names(AbstractResolver):
    """Owned by a client, used from its loop. One lookup of a name at a time: who asks meanwhile waits for the same.

    The threads are daemons, so one that hangs does not keep the program from ending. At the end of the interpreter,
    when no thread starts any more, the loop waits itself: a client that unregisters then has nobody else to do it.
    """

    def __init__(self) -> None:
        self._under_way: dict[tuple[str, int], asyncio.Future[Found]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of ``host``; ``OSError`` if there are none, or no thread to ask in.

        Cancelled, the lookup goes on.
        """
        found = await asyncio.shield(self._lookup(host, family))
        return [
            ResolveResult(hostname=host, host=address, port=port, family=of, proto=0, flags=_NUMERIC)
            for of, address in found
        ]

    async def close(self) -> None:
        """End nothing: a thread cannot be ended."""

    def _lookup(self, host: str, family: int) -> asyncio.Future[Found]:
        under_way = self._under_way.get((host, family))
        if under_way is not None:
            return under_way
        if len(self._under_way) >= MOST:
            raise OSError(f"{MOST} other names are being looked up; the name service may hang")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Found] = loop.create_future()
        self._under_way[host, family] = future
        future.add_done_callback(lambda _: self._under_way.pop((host, family), None))

        def settle(act: Callable[[], None]) -> None:
            if not future.done():
                act()

        def run() -> None:
            try:
                found = _ask(host, family)
            except (OSError, UnicodeError) as error:
                failure = error if isinstance(error, OSError) else OSError(f"{host!r} cannot be a name ({error})")
                act: Callable[[], None] = lambda: _fail(future, failure)  # noqa: E731 - one of two
            else:
                act = lambda: future.set_result(found)  # noqa: E731 - one of two
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
                loop.call_soon_threadsafe(settle, act)

        try:
            threading.Thread(target=run, name=f"artemis name {host:.40}", daemon=True).start()
        except RuntimeError as error:
            if threading.main_thread().is_alive():
                # Nobody will settle this one; the next may find that threads can be had again.
                del self._under_way[host, family]
                raise OSError(f"{host!r} cannot be looked up: {error}") from error
            run()
        return future


def _fail(future: asyncio.Future[Found], failure: OSError) -> None:
    future.set_exception(failure)
    future.exception()  # nobody may wait any more


def _ask(host: str, family: int) -> Found:
    found: Found = []
    for of, _, _, _, address in socket.getaddrinfo(host, 0, family=family, type=socket.SOCK_STREAM):
        if of == socket.AF_INET6 and len(address) == 4 and address[3]:
            # The zone of a link-local address is part of it.
            found.append((of, socket.getnameinfo(address, _NUMERIC)[0]))
        elif of in {socket.AF_INET, socket.AF_INET6}:
            found.append((of, str(address[0])))
    return list(dict.fromkeys(found))
