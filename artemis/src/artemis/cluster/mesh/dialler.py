"""One peer that this node dials: connects for ever, shakes hands, sends what the queue holds, and feels its pulse.

There is one task for each peer, whatever is sent. Not here: what is sent (`mesh`), and what comes the other way, on
connections that the peer dialled (`accepting`).
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from artemis.cluster.addresses import host_on_loopback
from artemis.cluster.mesh.handshake import (
    Dialling,
    ElsewhereError,
    RefusedError,
    Terms,
    TwinError,
    check_clocks,
    skew,
)
from artemis.cluster.mesh.pauses import MeshTimings, Pauses
from artemis.cluster.mesh.queue import SendQueue
from artemis.cluster.mesh.wire import (
    ENDING,
    HELLO,
    MESSAGE,
    NONCE,
    PING,
    PROVE,
    BadGreeting,
    Code,
    Pulse,
    Refusal,
    decode_greeting,
    encode_greeting,
)
from artemis.cluster.mesh.wording import named, quoted, sentence
from artemis.cluster.messages import MAX_MESSAGE
from artemis.model.nodes import UP
from msgtrans import (
    CodecOptions,
    RetryConfig,
    SessionClosedError,
    SessionConfig,
    TcpClientConfig,
    TlsClientConfig,
    TransportClient,
    TransportError,
    TransportTimeoutError,
)

if TYPE_CHECKING:
    from artemis.cluster.addresses import PeerUrl
    from artemis.cluster.mesh.claims import Claims
    from artemis.cluster.mesh.handshake import Peer, Skew
    from artemis.cluster.mesh.home import Home
    from artemis.cluster.standing import Standing
    from msgtrans import Context

_ONCE = RetryConfig(max_retries=0)
_CODEC = CodecOptions(max_payload_size=MAX_MESSAGE, max_inflated_size=MAX_MESSAGE)
#: Bytes given to the connection before sending waits; what is beyond that waits in the queue, where it is counted.
_AHEAD = 256 * 1024
#: Reasons for which a link ends that say nothing against the next one.
_NOT_REFUSED = (Code.SILENT, Code.REPLACED, Code.STOPPING)


class Dialler:
    """Owned by the mesh's diallers, from `start` until `stop`.

    `url` is what is dialled, `claims` say whether another dialler leads to the same node, `configured` whether the URL
    was given rather than announced by the peer, `listing` what the peer was told of that last; `origins` are the given
    URLs of machines that sent us here. `timings` are those of the pauses, if not of all links. `queue` holds what is to
    be sent while there is a link; `peer` is the other side of it, None without one. `refusal` is why the last attempt
    was refused, `error` what went wrong last, in words, both empty when nothing did. `since` is when the link was made,
    in monotonic milliseconds, `rtt` and `skew` are of the last pulse, `sent` counts messages. All
    that was sent until `confirmed` (monotonic milliseconds) has come, None before that is known; `told` is what the
    peer has heard last that this node says of itself, None for nothing yet.
    """

    def __init__(
        self, url: PeerUrl, home: Home, claims: Claims, *, configured: bool, timings: MeshTimings | None = None
    ) -> None:
        self.url = url
        self.configured = self.listing = configured
        self.origins: dict[PeerUrl, None] = {}
        self.queue = SendQueue()
        self.peer: Peer | None = None
        self.refusal: Refusal | None = None
        self.error = ""
        self.since = 0
        self.rtt = 0
        self.skew: Skew | None = None
        self.sent = 0
        self.links = 0
        self.confirmed: int | None = None
        self.told: Standing | None = None
        self._home, self._claims = home, claims
        self._timings = timings or home.timings
        self._pauses = Pauses(self._timings)
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._hurry = asyncio.Event()
        self._telling = asyncio.Event()
        self._asking = asyncio.Event()
        self._client: TransportClient | None = None
        self._ending: Refusal | None = None
        self._reached = self._settled = False
        self._task: asyncio.Task[None] | None = None

    @property
    def attempts(self) -> int:
        """Return how many attempts in a row came to nothing."""
        return self._pauses.failed

    def start(self) -> None:
        """Begin to dial."""
        self._task = asyncio.get_running_loop().create_task(self._dial_for_ever())

    def left_by(self, origin: PeerUrl) -> bool:
        """Note that a machine does not send us here; whether it was the last that did."""
        if origin not in self.origins:
            return False
        del self.origins[origin]
        return not self.origins

    def hurry(self) -> None:
        """Dial now rather than later: the peer was just seen. Does nothing while the peer refuses."""
        if self.refusal is None:
            self._hurry.set()

    def ask_again(self) -> None:
        """Dial a machine that has sent us elsewhere: its processes may be at other places now."""
        self._asking.set()

    def send(self, message: bytes) -> bool:
        """Send an encoded message; False when what waited was dropped with it."""
        taken = self.queue.put(message)
        self._idle.clear()
        self._wake.set()
        return taken

    def leave(self, code: str, text: str) -> None:
        """End the link, if there is one, and dial again later."""
        if self._ending is None and self._client is not None:
            self._ending = Refusal(code, text)
            self._client.session.abort()

    async def deliver(self) -> bool:
        """Wait until the peer has everything that was sent; False when the link ended before that."""
        client = self._client
        if client is None:
            return False
        try:
            await self._idle.wait()
            # It is answered after all that was sent before it has come.
            await client.request(self._pulse(), biz_type=PING, timeout=self._home.timings.drain)
        except TransportError as error:
            self.error = str(error)
            return False
        return True

    def tell(self) -> None:
        """Feel the pulse now rather than later: this node has something to say of itself."""
        self._telling.set()

    async def stop(self, why: str) -> None:
        """Dial no more; what was written still leaves, what waits in the queue does not."""
        if self._task is not None:
            self._ending = self._ending or Refusal(Code.STOPPING, why)
            self._task.cancel()
            await asyncio.wait([self._task])

    # -- the task

    async def _dial_for_ever(self) -> None:
        chance, timings = self._home.chance, self._timings
        # Before every attempt, the first one too: nodes that start together shall not all dial in one moment.
        pause = timings.first_pause * chance()
        while True:
            self._hurry.clear()
            await _either(self._hurry, pause)
            self._asking.clear()
            self._settled = refused = False
            try:
                await self._attempt()
            except RefusedError as error:
                refused = True
                self.error, self.refusal = str(error), error.refusal
                self._home.unlinked(self, error.refusal)
            except TransportError as error:
                self.error, self.refusal = self._silence(error), None
                self._home.unlinked(self, Refusal(Code.UNREACHABLE, self.error))
            except Exception as error:  # noqa: BLE001 - a peer that is never dialled again would be lost for good
                self.error, self.refusal = repr(error), None
                self._home.failed("dial", error)
            if self._settled:
                self._pauses.worked()
                await self._asking.wait()
            pause = self._pauses.next(chance(), refused=refused)

    def _silence(self, error: TransportError) -> str:
        """Return why nobody was met, for those who read of this node and not for who calls."""
        if isinstance(error, TransportTimeoutError) and self._reached:
            return f"it accepts connections and has not answered for {self._home.timings.answer:g} s"
        return str(error)

    async def _attempt(self) -> None:
        """Connect, shake hands and send until the link ends. Raises RefusedError and TransportError."""
        home = self._home
        timings = home.timings
        session = SessionConfig(
            codec=_CODEC,
            high_water=_AHEAD,
            write_timeout=timings.silence,
            request_timeout=timings.answer,
            graceful_timeout=1.0,
        )
        client = TransportClient(self._target(), session=session)
        self._ending, self._reached = None, False
        client.on_message(self._told)
        client.on_disconnect(lambda *_: self._wake.set())
        try:
            await client.connect()
            self._reached = True
            try:
                peer = await self._shake_hands(client)
            except ElsewhereError as error:
                self._settled = home.sent_on(self, error)
                self.error, self.refusal = "", None
                return
            home.linked(self, peer)
            self._begin(client, peer)
            try:
                await self._serve(client, peer)
            finally:
                self._end(client, peer)
        finally:
            self._claims.release(self)
            await client.close(timeout=timings.answer)

    def _target(self) -> TcpClientConfig:
        url, home = self.url, self._home
        host = f"[{url.host}]" if ":" in url.host else url.host
        return TcpClientConfig(
            target_address=f"{host}:{url.port}",
            tls=TlsClientConfig(ca_file=home.ca_file) if url.scheme == "https" else None,
            connect_timeout=home.timings.connect,
            retry_config=_ONCE,
        )

    async def _shake_hands(self, client: TransportClient) -> Peer:
        home = self._home
        there = client.session.peer_address
        self.listing = self.configured
        terms = Terms(
            me=home.me,
            secret=home.secret,
            max_skew=home.max_skew,
            loopback=there is not None and host_on_loopback(str(there[0])),
            listed=self.listing,
            up=home.standing().status == UP,
            links=len(home.links),
            versions=home.versions,
        )
        dialling = Dialling(terms, secrets.token_bytes(NONCE), home.now(), home.wall())
        answer = await client.request(dialling.hello, biz_type=HELLO)
        proof = dialling.answered(answer.payload, home.now(), home.wall())
        # Before the proof: the peer would close the link that there is, for this one.
        if not dialling.front:
            self._claims.claim(self, dialling.met.party)
        answer = await client.request(proof, biz_type=PROVE)
        try:
            return dialling.proven(answer.payload)
        except TwinError as error:
            home.twin(error)
            raise

    def _begin(self, client: TransportClient, peer: Peer) -> None:
        self._client, self.peer = client, peer
        self.refusal, self.error, self.confirmed, self.told = None, "", None, None
        self.since, self.rtt, self.skew = self._home.now(), peer.rtt, peer.skew
        self.links += 1

    def _end(self, client: TransportClient, peer: Peer) -> None:
        if self._home.now() - self.since >= self._home.timings.steady * 1000:
            self._pauses.worked()
        self._client = self.peer = None
        self.queue.clear()
        self._idle.set()
        reason = self._ending or Refusal("", str(client.session.close_error or "the peer closed the connection"))
        self.error = reason.text
        self._home.parted(self, peer, reason)

    async def _serve(self, client: TransportClient, peer: Peer) -> None:
        """Send what the queue holds until the link ends; then raise why, if a reason was said."""
        pulse = asyncio.get_running_loop().create_task(self._feel_pulse(client, peer))
        queue, wake, send = self.queue, self._wake, client.send
        try:
            while client.is_connected:
                while (message := queue.take()) is not None:
                    await send(message, biz_type=MESSAGE)
                    self.sent += 1
                wake.clear()
                self._idle.set()
                if client.is_connected:
                    await wake.wait()
        except SessionClosedError:
            pass  # it ended while this waited for room; `_end` says why
        finally:
            pulse.cancel()
            await asyncio.wait([pulse])
        if self._ending is not None and self._ending.code not in _NOT_REFUSED:
            raise RefusedError(self._ending.code, self._ending.text)

    async def _feel_pulse(self, client: TransportClient, peer: Peer) -> None:
        """Ask for a sign of life now and then; leave the link when none comes, or when the clocks drift apart."""
        home, party = self._home, peer.party
        timings, them = home.timings, named(party.node, str(self.url))
        while True:
            self._telling.clear()
            asked, wall, standing, quiet = home.now(), home.wall(), home.standing(), self._idle.is_set()
            try:
                answer = await client.request(self._pulse(), biz_type=PING, timeout=timings.silence)
                pulse = decode_greeting(answer.payload)
            except TransportTimeoutError:
                if home.resumed_at > asked:
                    continue  # it was this node that stood still, and the answer may wait here
                self.leave(Code.SILENT, f"{them} gave no sign of life for {timings.silence:g} s")
                return
            except TransportError:
                return  # the session has ended, and says why
            except BadGreeting as error:
                self.leave(Code.MALFORMED, str(error))
                return
            if not isinstance(pulse, Pulse):
                self.leave(Code.MALFORMED, f"{them} answered a ping with something else")
                return
            self.told = standing
            if quiet:
                self.confirmed = asked
            self.rtt = home.now() - asked
            self.skew = skew(pulse.wall, wall, self.rtt)
            home.pulse(peer, self.skew, pulse)
            try:
                check_clocks(peer, self.skew, home.max_skew)
            except RefusedError as error:
                self.leave(Code.CLOCK, str(error))
            await _either(self._telling, timings.ping)

    def _pulse(self) -> bytes:
        home = self._home
        return encode_greeting(Pulse(wall=home.wall(), standing=home.standing(), links=len(home.links)))

    def _told(self, context: Context) -> None:
        """The peer says why it is about to end the link."""
        if context.biz_type != ENDING:
            self.leave(Code.MALFORMED, f"the peer sent a packet of type {context.biz_type}, which is not for here")
            return
        try:
            ending = decode_greeting(context.payload)
        except BadGreeting as error:
            self.leave(Code.MALFORMED, str(error))
            return
        if isinstance(ending, Refusal):
            self.leave(quoted(ending.code), sentence(ending.text))


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, but not for longer than this."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
