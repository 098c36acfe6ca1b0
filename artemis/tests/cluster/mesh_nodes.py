"""Meshes on real sockets without registries behind them: a replica that only writes down what happens to it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog

from artemis.cluster.addresses import PeerUrl, peer_url
from artemis.cluster.mesh.handshake import Dialling, Party, Peer, Skew, Terms
from artemis.cluster.mesh.listener import MeshListener
from artemis.cluster.mesh.mesh import Mesh
from artemis.cluster.mesh.pauses import MeshTimings
from artemis.cluster.mesh.states import LinkState
from artemis.cluster.mesh.wire import MESH_CODES, Refusal
from artemis.cluster.messages import SPOKEN, Changes, InstanceRow, Message, Versions
from artemis.cluster.standing import Standing
from msgtrans import Context, TcpServerConfig, TlsServerConfig, TransportServer

#: Times that make tests quick; the relations are those of the defaults.
HASTY = MeshTimings(
    first_pause=0.01, longest_pause=0.05, refused_pause=0.05, steady=0.5, connect=2.0, answer=2.0, ping=0.05, drain=2.0
)


class Notes:
    """Something happened: whoever waits looks again."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def note(self) -> None:
        """Wake those who wait."""
        self._changed.set()

    async def until(self, condition: Callable[[], object], seconds: float = 30.0) -> None:
        """Wait until the condition holds; it is looked at after each note."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


class Replica:
    """What a mesh needs of a replica; keeps what came and sends what it is given."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self.connected: list[str] = []
        self.received: list[tuple[str, Message]] = []
        self.outbox: list[tuple[str | None, Message]] = []
        self.overflows: list[str] = []
        self.ticks = 0

    def connect(self, peer: str, now: int) -> None:
        """Write it down."""
        self.connected.append(peer)
        self._notes.note()

    def disconnect(self, peer: str) -> None:
        """Write it down."""
        self.connected.remove(peer)
        self._notes.note()

    def receive(self, peer: str, message: Message, now: int) -> None:
        """Write it down."""
        self.received.append((peer, message))
        self._notes.note()

    def flush(self, now: int) -> None:
        """There is nothing to do."""

    def tick(self, now: int, wall: int) -> None:
        """Count."""
        self.ticks += 1

    def take(self) -> list[tuple[str | None, Message]]:
        """Hand out what was put in."""
        outbox, self.outbox = self.outbox, []
        return outbox

    def overflowed(self, peer: str) -> None:
        """Write it down."""
        self.overflows.append(peer)
        self._notes.note()


class Listener(MeshListener):
    """Writes down what a mesh tells."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self.objection = ""
        self.meetings: list[tuple[str, int, bool]] = []
        self.partings: list[Refusal] = []
        self.losses: list[str] = []
        self.troubles: list[str] = []
        self.turned: list[Refusal] = []
        self.standings: list[tuple[str, str]] = []
        self.skews: list[tuple[str, Skew]] = []
        self.farewells: list[tuple[str, int, bool]] = []
        self.names: list[tuple[PeerUrl, str]] = []

    def met(self, peer: Peer, dialled: PeerUrl | None) -> str:
        """Write it down, with whether we dialled."""
        self.meetings.append((peer.party.node, peer.party.epoch, dialled is not None))
        self._notes.note()
        return self.objection

    def parted(self, peer: Peer, reason: Refusal) -> None:
        """Write it down."""
        self.partings.append(reason)
        self._notes.note()

    def lost(self, peer: Peer) -> None:
        """Write it down."""
        self.losses.append(peer.party.node)
        self._notes.note()

    def trouble(self, url: PeerUrl, reason: Refusal, origin: PeerUrl | None = None) -> None:
        """Write it down."""
        self.troubles.append(reason.code)
        self._notes.note()

    def same(self, url: PeerUrl, node: str) -> None:
        """Write it down."""
        self.names.append((url, node))
        self._notes.note()

    def turned_away(self, where: str, reason: Refusal) -> None:
        """Write it down."""
        self.turned.append(reason)
        self._notes.note()

    def told(self, node: str, standing: Standing) -> None:
        """Write it down."""
        self.standings.append((node, standing.status))
        self._notes.note()

    def measured(self, node: str, skew: Skew) -> None:
        """Write it down."""
        self.skews.append((node, skew))
        self._notes.note()

    def farewell(self, node: str, epoch: int, leaving: bool) -> None:
        """Write it down."""
        self.farewells.append((node, epoch, leaving))
        self._notes.note()


class Member:
    """A node as far as the mesh goes: a port of its own, a mesh, and what happened to them."""

    def __init__(
        self,
        node: str,
        *,
        cluster: str = "artemis",
        region: str = "r1",
        epoch: int = 1,
        secret: bytes = b"",
        ca_file: str | None = None,
        ahead: int = 0,
        max_skew: int = 2_500,
        timings: MeshTimings = HASTY,
        url: str = "",
        tls: TlsServerConfig | None = None,
        versions: Versions = SPOKEN,
    ) -> None:
        self.node = node
        self.epoch = epoch
        self.notes = Notes()
        self.replica = Replica(self.notes)
        self.listener = Listener(self.notes)
        self.server = TransportServer(tcp=TcpServerConfig(bind_address="127.0.0.1:0", tls=tls))
        #: Requests of these types are never answered.
        self.mute: set[int] = set()
        self.ahead = ahead
        self.standing = Standing(status="up")
        self._mesh = lambda own: Mesh(
            Party(cluster=cluster, region=region, zone="z1", node=node, epoch=epoch, url=url or own),
            self.replica,
            secret=secret,
            ca_file=ca_file,
            max_skew=lambda: max_skew,
            standing=lambda: self.standing,
            now=lambda: time.monotonic_ns() // 1_000_000,
            wall=lambda: time.time_ns() // 1_000_000 + self.ahead,
            log=structlog.get_logger(),
            listener=self.listener,
            timings=timings,
            versions=versions,
        )
        self.mesh: Mesh

    @property
    def url(self) -> PeerUrl:
        """Where it is dialled."""
        scheme = "http" if self.server.uris[0].startswith("tcp:") else "https"
        return peer_url(f"{scheme}://{self.server.tcp_address}")

    async def start(self) -> None:
        """Listen."""
        await self.server.start()
        self.mesh = self._mesh(str(self.url))
        self.server.on_request(self._answer)
        self.server.on_message(self.mesh.reception.take)
        self.server.on_disconnect(lambda session, _: self.mesh.reception.ended(session))

    def _answer(self, context: Context) -> bytes | None:
        if context.biz_type in self.mute:
            return None
        return self.mesh.reception.answer(context) if context.biz_type in MESH_CODES else b"{}"

    def dial(self, *others: "Member") -> None:
        """Dial these."""
        self.mesh.set_peers([other.url for other in others])

    def say(self, first: int, to: str | None = None) -> Message:
        """Send a message to one or all peers, and return it."""
        message = Changes(self.node, self.epoch, first, [None])
        self.replica.outbox.append((to, message))
        self.mesh.soon()
        return message

    def state(self, node: str) -> LinkState:
        """What is known of a peer that was met."""
        return next(each for each in self.mesh.peers() if each.node == node)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until the condition holds."""
        await self.notes.until(condition)

    async def until_linked(self, *others: "Member") -> None:
        """Wait until these can be sent to."""
        await self.until(lambda: {other.node for other in others} <= set(self.mesh.links))


@asynccontextmanager
async def members(*those: Member) -> AsyncIterator[None]:
    """Start these nodes, and stop them in the end."""
    for each in those:
        await each.start()
    try:
        yield
    finally:
        for each in those:
            await each.mesh.stop()
        for each in those:
            await each.server.stop(graceful=False)


def large(size: int) -> Changes:
    """A message of about this many bytes."""
    zero = (0, "")
    return Changes("one", 1, 1, [InstanceRow("s", "i", (1, "one"), False, bytes(size), zero, zero, zero, 0)])


def wall() -> int:
    """The wall clock in milliseconds."""
    return time.time_ns() // 1_000_000


def dialling(node: str = "fake", epoch: int = 1, secret: bytes = b"") -> Dialling:
    """The dialler's side of a handshake of a node that does not exist."""
    me = Party(cluster="artemis", region="r1", zone="z1", node=node, epoch=epoch, url="http://127.0.0.1:1")
    return Dialling(Terms(me=me, secret=secret, max_skew=10_000, loopback=True), b"n" * 32, 0, wall())
