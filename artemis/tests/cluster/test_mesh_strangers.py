"""Peers that do not behave: what they send ends their link with a reason, and nothing else."""

import contextlib
from collections.abc import AsyncIterator

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mesh_nodes import HASTY, Member, dialling, large, members, wall

from artemis.cluster.addresses import PeerUrl, peer_url
from artemis.cluster.mesh.accepting import MAX_GREETING_SESSIONS
from artemis.cluster.mesh.handshake import Accepting, Party, Terms
from artemis.cluster.mesh.wire import (
    ENDING,
    HELLO,
    MESSAGE,
    PING,
    PROVE,
    Code,
    Pulse,
    Refusal,
    decode_greeting,
    encode_greeting,
)
from artemis.cluster.messages import MAX_MESSAGE, Changes, encode_message
from artemis.cluster.standing import Standing
from msgtrans import Context, SessionClosedError, TcpClientConfig, TransportClient, TransportServer


class Fake:
    """A node that shakes hands like a good one; what it answers to a ping is `pulse`."""

    def __init__(self) -> None:
        self.server = TransportServer(tcp="127.0.0.1:0")
        self.server.on_request(self._answer)
        self.pulse = encode_greeting(Pulse(wall=wall(), standing=Standing()))
        self._accepting: Accepting

    @property
    def url(self) -> PeerUrl:
        """Where it is dialled."""
        return peer_url(f"http://{self.server.tcp_address}")

    def _answer(self, context: Context) -> bytes:
        if context.biz_type == HELLO:
            me = Party(cluster="artemis", region="r1", zone="z1", node="fake", epoch=1, url=str(self.url))
            self._accepting = Accepting(Terms(me=me, secret=b"", max_skew=10_000, loopback=True), b"f" * 32)
            return self._accepting.greeted(context.payload, 0, wall())
        if context.biz_type == PROVE:
            self._accepting.proved(context.payload, 0)
            return self._accepting.proof(wall())
        return self.pulse

    def send(self, payload: bytes, biz_type: int) -> None:
        """Send a packet on all its connections."""
        self.server.broadcast(payload, biz_type=biz_type)


@contextlib.asynccontextmanager
async def linked() -> AsyncIterator[tuple[Member, Fake]]:
    """A node that has dialled a fake one."""
    one, fake = Member("one"), Fake()
    async with members(one), fake.server:
        one.mesh.set_peers([fake.url])
        await one.until(lambda: "fake" in one.mesh.links)
        yield one, fake


@contextlib.asynccontextmanager
async def accepted(member: Member) -> AsyncIterator[tuple[TransportClient, list[Context]]]:
    """A client that the node has accepted as a peer, and what it is told."""
    async with TransportClient(TcpClientConfig(target_address=str(member.server.tcp_address))) as client:
        told: list[Context] = []
        client.on_message(told.append)
        side = dialling()
        proof = side.answered((await client.request(side.hello, biz_type=HELLO)).payload, 0, wall())
        side.proven((await client.request(proof, biz_type=PROVE)).payload)
        yield client, told


@pytest.mark.parametrize(
    ("biz_type", "payload", "says"),
    [
        (MESSAGE, b"", "a packet of type 203, which is not for here"),
        (ENDING, b"\xc1", "a greeting cannot be read"),
        (ENDING, b"x" * 20_000, "has 16384 bytes at most"),
        (ENDING, encode_greeting(Refusal("tired", "I have had enough")), "I have had enough"),
    ],
    ids=["message", "garbage", "large", "reason"],
)
async def test_what_a_dialled_peer_says_ends_the_link(biz_type, payload, says):
    """We send on links that we dialled; the other side may only say why it ends them."""
    async with linked() as (one, fake):
        fake.send(payload, biz_type)
        await one.until(lambda: one.listener.partings)
        assert says in one.listener.partings[0].text
        await one.until(lambda: "fake" in one.mesh.links)


@pytest.mark.parametrize(
    ("pulse", "says"),
    [(b"", "a greeting cannot be read"), (encode_greeting(Refusal("x", "y")), "answered a ping with something else")],
)
async def test_a_pulse_that_is_none_ends_the_link(pulse, says):
    """An answer to a ping has a clock and a standing."""
    async with linked() as (one, fake):
        good, fake.pulse = fake.pulse, pulse
        await one.until(lambda: one.listener.partings)
        assert (Code.MALFORMED, True) == ((reason := one.listener.partings[0]).code, says in reason.text)
        fake.pulse = good


async def test_what_a_peer_sends_of_another_kind_ends_its_link():
    """An accepted peer sends messages, and nothing else one-way."""
    one = Member("one")
    async with members(one), accepted(one) as (client, told):
        await client.send(b"", biz_type=ENDING)
        await client.session.wait_closed()
        assert "a packet of type 204 is not for here" == decode_greeting(told[0].payload).text


@pytest.mark.parametrize("payload", [b"", b"\xc1", encode_greeting(Refusal("x", "y"))])
async def test_a_ping_that_is_none_is_refused(payload):
    """The peer is told, and its link stays: it will be silent from now on, or behave."""
    one = Member("one")
    async with members(one), accepted(one) as (client, _):
        answer = decode_greeting((await client.request(payload, biz_type=PING)).payload)
        assert isinstance(answer, Refusal)
        assert Code.MALFORMED == answer.code


async def test_a_connection_has_one_handshake():
    """A second greeting is refused, before the proof and after it."""
    one = Member("one")
    async with members(one), accepted(one) as (client, _):
        answer = decode_greeting((await client.request(dialling().hello, biz_type=HELLO)).payload)
        assert ("refusal", Code.ORDER) == (type(answer).__name__.lower(), answer.code)
        async with TransportClient(TcpClientConfig(target_address=str(one.server.tcp_address))) as other:
            await other.request(dialling("b").hello, biz_type=HELLO)
            answer = decode_greeting((await other.request(dialling("b").hello, biz_type=HELLO)).payload)
            assert ("refusal", Code.ORDER) == (type(answer).__name__.lower(), answer.code)


async def test_handshakes_that_never_end_are_bounded():
    """Of too many that were begun the oldest is forgotten; nobody else is kept out by them."""
    one = Member("one")
    async with members(one):
        greeting = one.mesh.reception._greeting
        greeting.update(dict.fromkeys(range(MAX_GREETING_SESSIONS)))
        async with accepted(one):
            assert MAX_GREETING_SESSIONS - 1 == len(greeting)
            assert 0 not in greeting
        greeting.clear()


async def test_an_accepted_peer_that_fell_silent_is_dropped():
    """A connection that died without a word is not kept for ever."""
    one = Member("one", timings=msgspec.structs.replace(HASTY, silence=0.02))
    async with members(one), accepted(one) as (client, _):
        (connection,) = one.mesh.reception.connections.values()
        connection.heard -= 1_000
        one.mesh.tick()
        await client.session.wait_closed()
        await one.until(lambda: one.listener.losses)
        assert ["fake"] == one.listener.losses


async def test_a_message_that_is_too_large_is_not_sent():
    """The peer would end the link for it; the gap is repaired instead."""
    one, two = Member("one"), Member("two")
    async with members(one, two):
        one.dial(two)
        await one.until_linked(two)
        one.replica.outbox.append((None, large(MAX_MESSAGE)))
        said = one.say(1)
        await two.until(lambda: two.replica.received)
        assert (1, [("one", said)]) == (one.mesh.counters["oversized"], two.replica.received)


async def test_a_replica_that_fails_stops_nothing():
    """Whatever a tick or a flush raises is counted; the next one may succeed."""
    one, two = Member("one"), Member("two")
    async with members(one, two):
        one.dial(two)
        await one.until_linked(two)
        one.replica.tick = one.replica.flush = lambda *_: 1 / 0
        one.mesh.tick()
        assert 2 == one.mesh.counters["failures"]
        del one.replica.tick, one.replica.flush
        said = one.say(1)
        await two.until(lambda: two.replica.received)
        assert [("one", said)] == two.replica.received


async def test_nodes_that_name_each_other_differently_are_linked_once():
    """One is dialled by a name and announces its address; no second link is made."""
    one, two = Member("one"), Member("two")
    async with members(one, two):
        one.mesh.set_peers([peer_url(f"http://localhost:{two.url.port}")])
        two.mesh.set_peers([peer_url(f"http://localhost:{one.url.port}")])
        await one.until_linked(two)
        await two.until_linked(one)
        said = [one.say(1), two.say(2)]
        await one.until(lambda: one.replica.received)
        await two.until(lambda: two.replica.received)
        one.mesh.tick()
        assert (["two"], ["one"]) == (one.replica.connected, two.replica.connected)
        assert ([("two", said[1])], [("one", said[0])]) == (one.replica.received, two.replica.received)


async def test_who_only_dials_us_is_shown():
    """A peer that cannot be reached in turn is in the list all the same."""
    one = Member("one")
    async with members(one), accepted(one):
        (state,) = one.mesh.peers()
        assert ("fake", True, False) == (state.node, state.receiving, state.connected)


_STEPS = st.lists(
    st.tuples(
        st.sampled_from([HELLO, PROVE, PING, MESSAGE, ENDING, 205, 209]),
        st.one_of(
            st.binary(max_size=64),
            st.sampled_from(
                [
                    dialling().hello,
                    encode_greeting(Refusal("x", "y")),
                    encode_greeting(Pulse(wall=1, standing=Standing())),
                    encode_message(Changes("fake", 1, 1, [None])),
                ]
            ),
        ),
        st.booleans(),
    ),
    max_size=6,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
async def test_nothing_that_strangers_send_does_harm(steps):
    """Whatever comes in whatever order, nobody is accepted without a proof, and nothing is handed on or raised."""
    one = Member("one", secret=b"a secret of some length")
    async with members(one):
        async with TransportClient(TcpClientConfig(target_address=str(one.server.tcp_address))) as client:
            with contextlib.suppress(SessionClosedError):  # as it should be, after a message
                for biz_type, payload, ask in steps:
                    await (client.request if ask else client.send)(payload, biz_type=biz_type)
        assert ([], {}) == (one.replica.received, one.mesh.reception.connections)
        assert (0, 0) == (one.mesh.counters["failures"], one.server.stats().handler_errors)
