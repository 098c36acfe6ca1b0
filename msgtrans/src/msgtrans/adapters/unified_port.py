"""One TCP port for MsgTrans, HTTP and WebSocket, told apart by the first bytes.

The version byte 0x01 begins a MsgTrans packet; anything else is HTTP; a GET with `websocket` in its `Upgrade` header is
WebSocket. The connection, with what was read, is handed over to the protocol that understands it, for good.
Not here: any of these protocols, and listening: give the port to `loop.create_server`, which calls it per connection.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import msgspec

from msgtrans.errors import ConfigurationError
from msgtrans.packet import PROTOCOL_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

ProtocolFactory: TypeAlias = "Callable[[], asyncio.BaseProtocol]"

_GET: Final = b"GET "
_HEAD_END: Final = b"\r\n\r\n"
LOOK: Final = 2e-5  # seconds between two looks for closed connections, per open one; a look takes 1/20 of that


class UnifiedPortStats(msgspec.Struct):
    """Connections of one port since it was made.

    msgtrans, http, websocket: handed over. refused: turned away at max_connections. silent: closed at the deadline,
    because the first bytes did not come; half a head that could be an upgrade goes to `http`. unknown: closed because
    nothing here speaks what they began with. gone: closed by the peer before they said what they are.
    """

    msgtrans: int = 0
    http: int = 0
    websocket: int = 0
    refused: int = 0
    silent: int = 0
    unknown: int = 0
    gone: int = 0


class UnifiedPort:
    """A protocol factory that looks at the first bytes. Owned by whoever listens; used from one event loop.

    msgtrans, http, websocket: factories of the protocols to hand over to; None closes such connections, except that
    without `websocket` an upgrade goes to `http`. head_limit: bytes of an HTTP head to look through for an upgrade,
    default 16 KiB; a longer one goes to `http`. deadline: seconds a connection has to say what it is, default 10.
    max_connections: open connections of the port, those handed over included, default 20 000.
    """

    def __init__(
        self,
        *,
        msgtrans: ProtocolFactory | None,
        http: ProtocolFactory | None = None,
        websocket: ProtocolFactory | None = None,
        head_limit: int = 16 * 1024,
        deadline: float = 10.0,
        max_connections: int = 20_000,
    ) -> None:
        for field, value in (("head_limit", head_limit), ("deadline", deadline), ("max_connections", max_connections)):
            if not value > 0:
                raise ConfigurationError(field, f"is {value!r}; use a positive number")
        self.msgtrans = msgtrans
        self.http = http
        self.websocket = websocket
        self.head_limit = head_limit
        self.deadline = deadline
        self.max_connections = max_connections
        self.stats = UnifiedPortStats()
        self._undecided: dict[FirstBytes, float] = {}  # in the order of their deadlines
        self._timer: asyncio.TimerHandle | None = None
        self._open: weakref.WeakSet[object] = weakref.WeakSet()  # transports, or what stands for them
        self._next_look = 0.0  # when looking for closed ones among them may be worth its time again

    def __call__(self) -> asyncio.Protocol:
        """The first protocol of a new connection."""
        return FirstBytes(self)

    @property
    def undecided(self) -> int:
        """Connections that have not said what they are."""
        return len(self._undecided)

    @property
    def connections(self) -> int:
        """Open connections of the port, those handed over included."""
        return sum(not _is_closing(connection) for connection in self._open)

    def close(self) -> None:
        """Drop the connections that have not said what they are. Stop listening first."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for connection in list(self._undecided):
            connection.drop()
        self._undecided.clear()

    def admit(self, connection: FirstBytes, transport: asyncio.BaseTransport) -> bool:
        """For a new connection: count it, and watch its deadline; False turns it away."""
        loop = asyncio.get_running_loop()
        if len(self._open) >= self.max_connections:
            self._forget_closed(loop.time())
            if len(self._open) >= self.max_connections:
                self.stats.refused += 1
                return False
        self._open.add(_stand_in(transport))
        self._undecided[connection] = loop.time() + self.deadline
        if self._timer is None:
            self._timer = loop.call_later(self.deadline, self._sweep)
        return True

    def decided(self, connection: FirstBytes) -> bool:
        """For a connection: it needs no deadline any more; False when it had none left."""
        return self._undecided.pop(connection, None) is not None

    def _forget_closed(self, now: float) -> None:
        """Let go of transports that are closed and still referred to; those nobody refers to are gone by themselves.

        The rest of its time is for the connections: a flood of refused ones must not buy a look at all others each.
        """
        if now >= self._next_look:
            self._open = weakref.WeakSet(other for other in self._open if not _is_closing(other))
            self._next_look = now + LOOK * len(self._open)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._timer = None
        for connection, deadline in list(self._undecided.items()):
            if deadline > now:
                self._timer = loop.call_at(deadline, self._sweep)
                return
            del self._undecided[connection]
            connection.expire()


class FirstBytes(asyncio.Protocol):
    """Holds a connection until its first bytes tell what it is. Made by `UnifiedPort`."""

    __slots__ = ("_port", "_seen", "_transport")

    def __init__(self, port: UnifiedPort) -> None:
        self._port = port
        self._seen = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport, or turn it away."""
        self._transport = cast("asyncio.Transport", transport)
        if not self._port.admit(self, transport):
            self.drop()

    def data_received(self, data: bytes) -> None:
        """Look at what came; hand over as soon as it tells."""
        port = self._port
        if self._transport.is_closing():
            return
        data = self._seen + data if self._seen else data
        if data[0] == PROTOCOL_VERSION:
            self._choose(port.msgtrans, "msgtrans", data)
        elif port.websocket is None or data[:4] != _GET[: len(data)]:
            self._choose(port.http, "http", data)
        elif (end := data.find(_HEAD_END, max(0, len(self._seen) - 3))) >= 0:
            if wants_websocket(data[:end]):
                self._choose(port.websocket, "websocket", data)
            else:
                self._choose(port.http, "http", data)
        elif len(data) > port.head_limit:
            self._choose(port.http, "http", data)
        else:
            self._seen = data

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The peer left before it said what it is."""
        if self._port.decided(self):
            self._port.stats.gone += 1

    def expire(self) -> None:
        """The deadline has passed: half an HTTP head is no upgrade any more, and `http` can say what is wrong."""
        if self._seen and self._port.http is not None:
            self._choose(self._port.http, "http", self._seen)
        else:
            self._port.stats.silent += 1
            self.drop()

    def drop(self) -> None:
        """Close."""
        self._transport.close()

    def _choose(self, factory: ProtocolFactory | None, name: str, data: bytes) -> None:
        port = self._port
        port.decided(self)
        if factory is None:
            port.stats.unknown += 1
            self.drop()
            return
        setattr(port.stats, name, getattr(port.stats, name) + 1)
        protocol = factory()
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        hand_over(protocol, data)


def _stand_in(transport: asyncio.BaseTransport) -> object:
    """What to refer to weakly: the TLS transports of uvloop cannot be, but their TLS objects, which live as long."""
    if type(transport).__weakrefoffset__:
        return transport
    return transport.get_extra_info("ssl_object")


def _is_closing(connection: object) -> bool:
    """Whether a transport is closing; what stands for one counts as open until it is gone."""
    asked = getattr(connection, "is_closing", None)
    return asked is not None and bool(asked())


def wants_websocket(head: bytes) -> bool:
    """Whether an HTTP head has an `Upgrade` header that names websocket among its values."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"upgrade":
            tokens = [token.strip().lower() for token in value.split(b",")]
            if b"websocket" in tokens:
                return True
    return False


def hand_over(protocol: asyncio.BaseProtocol, data: bytes) -> None:
    """Give a protocol, plain or buffered, bytes that were read before it was set."""
    if isinstance(protocol, asyncio.BufferedProtocol):
        view = memoryview(data)
        while view:
            room = memoryview(cast("bytearray", protocol.get_buffer(len(view))))
            size = min(len(room), len(view))
            room[:size] = view[:size]
            protocol.buffer_updated(size)
            view = view[size:]
    else:
        cast("asyncio.Protocol", protocol).data_received(data)
