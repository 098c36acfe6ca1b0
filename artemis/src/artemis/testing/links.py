"""A TCP proxy that makes a network bad, for tests: delay, jitter, low bandwidth, silence, lost bytes, resets, flapping.

::

    with LinkProxy(node.port) as proxy:
        proxy.line.worsen(Weather(delay=0.2, jitter=0.1))  # both ways
        proxy.line.worsen(Weather(passes=Passes.NOTHING), FORTH)  # only from who connects towards the node
        proxy.line.clear()

A **line** is what lies between one kind of caller and the target; `who` tells callers apart by the first bytes that
they send, so that one proxy serves as the only address of a node and can cut it off from one peer and not from others
(`caller_of_mesh`). Bytes of one connection stay in order, as TCP has them; those of different connections overtake each
other as soon as there is jitter. Everything can be changed at any time, from any thread.
A proxy in user space cannot lose single packets, nor a SYN: a new connection is accepted even while nothing passes.
What only a kernel can do is in `artemis.testing.namespaces`. Not for production.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import TYPE_CHECKING, Literal, Self

from artemis.cluster.mesh.wire import HELLO, BadGreeting, Hello, decode_greeting

if TYPE_CHECKING:
    from types import TracebackType

Direction = Literal["forth", "back"]
FORTH: Direction = "forth"
"""From who connects to the target."""
BACK: Direction = "back"
"""From the target to who connects."""

Who = Callable[[bytes], str | None]
"""Names the caller of a connection by the first bytes that he sends; None: more bytes are needed to tell."""

_PIECE = 16 * 1024
_UNDER_WAY = 64
"""Pieces, at most, of one direction of one connection; beyond that nothing is read, as with a full window."""
_FIRST_BYTES = 64 * 1024
_RESET = struct.pack("ii", 1, 0)
_HEADER = 16


class Passes(Enum):
    """What becomes of bytes."""

    ALL = "all"
    """They arrive."""
    NOTHING = "nothing"
    """They wait, as in a partition that TCP outlives: they arrive when it is over."""
    LOST = "lost"
    """They are taken and thrown away, by a peer that is half gone; such connections are reset when it is over."""
    RESET = "reset"
    """Connections are reset, those that are open and each new one; counts for both directions."""


@dataclass(frozen=True, slots=True)
class Weather:
    """What a line does to one direction. Times are seconds.

    ``delay`` (0) and up to ``jitter`` (0) more for each piece, evenly drawn; ``bandwidth`` (no limit): bytes per second
    of each connection; ``passes`` (`Passes.ALL`).
    """

    delay: float = 0.0
    jitter: float = 0.0
    bandwidth: float | None = None
    passes: Passes = Passes.ALL

    def __post_init__(self) -> None:
        if self.delay < 0 or self.jitter < 0 or (self.bandwidth is not None and self.bandwidth <= 0):
            raise ValueError(f"delay and jitter must not be negative, bandwidth must be above 0: {self}")


FINE = Weather()
CUT = Weather(passes=Passes.NOTHING)


class Line:
    """What lies between one kind of caller and the target of a proxy. Thread-safe; made by `LinkProxy`.

    ``connections`` is how many are open, ``accepted`` how many there were, ``carried`` the bytes that arrived in each
    direction.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._weather: dict[Direction, Weather] = {FORTH: FINE, BACK: FINE}
        self._changed = asyncio.Event()
        self._open: set[_Connection] = set()
        self._flapping: asyncio.Task[None] | None = None
        self.accepted = 0
        self.carried: dict[Direction, int] = {FORTH: 0, BACK: 0}

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._open)

    def worsen(self, weather: Weather, *directions: Direction) -> None:
        """Let this hold from now on, for both directions unless some are named; it acts when this returns."""
        self._do(lambda: self._set(weather, directions or (FORTH, BACK)))

    def cut(self, *directions: Direction) -> None:
        """Let nothing pass, as in a partition; see `Passes.NOTHING`."""
        self.worsen(CUT, *directions)

    def clear(self) -> None:
        """Let everything be fine again."""
        self.worsen(FINE)

    def flap(self, weather: Weather, *, bad: float, fine: float, directions: tuple[Direction, ...] = ()) -> None:
        """Change between this for ``bad`` and fine for ``fine`` seconds, until anything else is asked for."""
        if bad <= 0 or fine <= 0:
            raise ValueError(f"both times must be above 0, not {bad} and {fine}")

        def start() -> None:
            self._still()
            self._flapping = self._loop.create_task(self._flap(weather, bad, fine, directions or (FORTH, BACK)))

        self._do(start)

    # -- on the loop of the proxy

    def weather(self, direction: Direction) -> Weather:
        """Return what holds now."""
        return self._weather[direction]

    async def changed(self) -> None:
        """Wait until something else holds."""
        await self._changed.wait()

    def joined(self, connection: _Connection) -> None:
        """Note a new connection."""
        self.accepted += 1
        self._open.add(connection)

    def parted(self, connection: _Connection) -> None:
        """Note the end of one."""
        self._open.discard(connection)

    def end(self) -> None:
        """Stop flapping: the proxy ends."""
        self._still()

    def _do(self, action: Callable[[], None]) -> None:
        """Act on the loop, and return when it is done."""
        done = threading.Event()

        def act() -> None:
            action()
            done.set()

        self._loop.call_soon_threadsafe(act)
        done.wait()

    def _still(self) -> None:
        if self._flapping is not None:
            self._flapping.cancel()
            self._flapping = None

    def _set(self, weather: Weather, directions: tuple[Direction, ...]) -> None:
        self._still()
        self._apply(weather, directions)

    def _apply(self, weather: Weather, directions: tuple[Direction, ...]) -> None:
        for direction in directions:
            self._weather[direction] = weather
        self._changed.set()
        self._changed = asyncio.Event()
        reset = any(each.passes is Passes.RESET for each in self._weather.values())
        lossy = any(each.passes is Passes.LOST for each in self._weather.values())
        for connection in list(self._open):
            if reset or (connection.torn and not lossy):
                connection.reset()

    async def _flap(self, weather: Weather, bad: float, fine: float, directions: tuple[Direction, ...]) -> None:
        while True:
            self._apply(weather, directions)
            await asyncio.sleep(bad)
            self._apply(FINE, directions)
            await asyncio.sleep(fine)


class LinkProxy:
    """A proxy on a free port of 127.0.0.1 in front of a port there, in a thread of its own; a context manager.

    ``target`` may be 0 and be set later, as for a node that is to be told its address before it starts; until then
    connections are reset. ``who`` names callers, each of whom has a `Line`; without it ``line`` is the only one, and
    the target is connected to before anything is sent. ``seed`` makes jitter repeatable. Raises OSError if it cannot
    listen. Ends with ``close``, which resets what is open.
    """

    def __init__(self, target: int = 0, *, who: Who | None = None, seed: int = 0) -> None:
        self.target = target
        self._who = who
        self._random = Random(seed)  # noqa: S311 - spreads delays, keeps no secret
        self._loop = asyncio.new_event_loop()
        self._lines: dict[str, Line] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._listening.setblocking(False)
        self.port: int = self._listening.getsockname()[1]
        """Where the proxy listens."""
        self._thread = threading.Thread(target=self._run, name=f"link proxy {self.port}", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The proxy's address, ``http://127.0.0.1:PORT``."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def line(self) -> Line:
        """The line of callers without a name: the only one if there is no ``who``."""
        return self.line_of("")

    def line_of(self, caller: str) -> Line:
        """Return the line of one caller, also before he calls."""
        return self._lines.setdefault(caller, Line(self._loop))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Reset what is open and listen no more."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._accepting.cancel)
            self._thread.join()

    # -- its thread

    def _run(self) -> None:
        self._accepting = self._loop.create_task(self._accept())
        try:
            self._loop.run_until_complete(self._accepting)
        except asyncio.CancelledError:
            self._loop.run_until_complete(self._end())
        finally:
            self._listening.close()
            self._loop.close()

    async def _end(self) -> None:
        for line in self._lines.values():
            line.end()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self) -> None:
        while True:
            accepted, _ = await self._loop.sock_accept(self._listening)
            accepted.setblocking(False)
            _send_at_once(accepted)
            task = self._loop.create_task(self._serve(accepted))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, caller: socket.socket) -> None:
        first = b""
        try:
            name = "" if self._who is None else None
            while name is None and self._who is not None:
                data = await self._loop.sock_recv(caller, _PIECE)
                first += data
                name = self._who(first) if data and len(first) < _FIRST_BYTES else ""
            await _Connection(self, self.line_of(name or ""), caller, self._random, self._loop).run(first)
        except OSError:
            pass  # the caller is gone, or reset us: that ends what we do for him
        finally:
            _reset(caller)


class _Connection:
    """One connection through the proxy: `run` is its life. ``torn``: bytes of it are lost."""

    def __init__(
        self, proxy: LinkProxy, line: Line, caller: socket.socket, random: Random, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._proxy, self._line, self._caller = proxy, line, caller
        self._random, self._loop = random, loop
        self._life: asyncio.Task[None] | None = None
        self.torn = False

    async def run(self, first: bytes) -> None:
        """Carry bytes until both directions have ended or one broke."""
        line = self._line
        line.joined(self)
        self._life = asyncio.current_task()
        target = socket.socket()
        try:
            target.setblocking(False)
            _send_at_once(target)
            if not self._proxy.target or line.weather(FORTH).passes is Passes.RESET:
                return
            if line.weather(BACK).passes is Passes.RESET:
                return
            await self._loop.sock_connect(target, ("127.0.0.1", self._proxy.target))
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry(self._caller, target, FORTH, first))
                both.create_task(self._carry(target, self._caller, BACK, b""))
            self._caller.close()
            target.close()
        except* OSError:
            pass  # one side broke: so does the other, below
        finally:
            _reset(target)
            line.parted(self)

    def reset(self) -> None:
        """End it at once."""
        if self._life is not None:
            self._life.cancel()

    async def _carry(self, source: socket.socket, sink: socket.socket, direction: Direction, first: bytes) -> None:
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_UNDER_WAY)
        if first:
            pieces.put_nowait((self._due(direction), first))
        async with asyncio.TaskGroup() as both:
            both.create_task(self._take(source, pieces, direction))
            both.create_task(self._give(sink, pieces, direction))

    async def _take(
        self, source: socket.socket, pieces: asyncio.Queue[tuple[float, bytes]], direction: Direction
    ) -> None:
        while True:
            data = await self._loop.sock_recv(source, _PIECE)
            await pieces.put((self._due(direction), data))
            if not data:
                return

    async def _give(
        self, sink: socket.socket, pieces: asyncio.Queue[tuple[float, bytes]], direction: Direction
    ) -> None:
        while True:
            due, data = await pieces.get()
            await asyncio.sleep(due - self._loop.time())
            weather = self._line.weather(direction)
            while weather.passes is Passes.NOTHING:
                await self._line.changed()
                weather = self._line.weather(direction)
            if weather.passes is Passes.LOST:
                self.torn = True
                if not data:
                    return
                continue
            if not data:
                sink.shutdown(socket.SHUT_WR)
                return
            if weather.bandwidth is not None:
                await asyncio.sleep(len(data) / weather.bandwidth)
            await self._loop.sock_sendall(sink, data)
            self._line.carried[direction] += len(data)

    def _due(self, direction: Direction) -> float:
        weather = self._line.weather(direction)
        return self._loop.time() + weather.delay + self._random.random() * weather.jitter


def _send_at_once(one: socket.socket) -> None:
    """Do not wait for acknowledgements before small pieces are sent (Nagle): a line has the delays that it is given."""
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _reset(one: socket.socket) -> None:
    """Close a socket with a reset, unless it is closed already."""
    if one.fileno() >= 0:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        one.close()


def caller_of_mesh(first: bytes) -> str | None:
    """Name the caller by its first bytes: the URL that a node announces to its peer, empty for everybody else.

    Nodes greet each other first (docs/cluster.md), so this tells peers from each other and from clients; a `Who`. It
    cannot look into TLS, where everybody is a caller without a name.
    """
    if first[:1] != b"\x01":
        return ""
    if len(first) < _HEADER:
        return None
    _, compression, _, code, _, ext, size, _ = struct.unpack(">BBBBIHIH", first[:_HEADER])
    if code != HELLO or compression:
        return ""
    if len(first) < _HEADER + ext + size:
        return None
    try:
        greeting = decode_greeting(first[_HEADER + ext : _HEADER + ext + size])
    except BadGreeting:
        return ""
    return greeting.url if isinstance(greeting, Hello) else ""
