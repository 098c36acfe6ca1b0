"""Links between meshes on real sockets: who gets one, what travels, how they end and come back."""

import asyncio
import itertools

import msgspec
import pytest
import trustme
from mesh_nodes import HASTY, Member, dialling, large, members, wall

from artemis.cluster.addresses import peer_url
from artemis.cluster.mesh.handshake import Dialling, RefusedError
from artemis.cluster.mesh.intake import TURN
from artemis.cluster.mesh.mesh import Mesh
from artemis.cluster.mesh.wire import (
    ENDING,
    HELLO,
    MESSAGE,
    PING,
    PROVE,
    Code,
    Hello,
    Refusal,
    decode_greeting,
    encode_greeting,
)
from artemis.cluster.messages import PROTOCOL, Changes, encode_message
from msgtrans import Context, TcpClientConfig, TlsServerConfig, TransportClient, TransportServer

MIB = 1024 * 1024
SECRET = b"a secret of some length"


def client_of(member: Member) -> TransportClient:
    """A client of the node's port that may say anything."""
    return TransportClient(TcpClientConfig(target_address=str(member.server.tcp_address)))


async def shake_hands(client: TransportClient, side: Dialling) -> None:
    """Carry out the handshake."""
    answer = await client.request(side.hello, biz_type=HELLO)
    proof = side.answered(answer.payload, 0, wall())
    side.proven((await client.request(proof, biz_type=PROVE)).payload)


async def test_two_nodes_send_to_each_other():
    """What one node sends to all or to one comes at the other, in order."""
    one, two = Member("one"), Member("two")
    async with members(one, two):
        one.dial(two)
        two.dial(one)
        await one.until_linked(two)
        await two.until_linked(one)
        said = [one.say(1), one.say(2, "two"), one.say(3, "nobody"), one.say(3)]
        answered = two.say(7)
        await two.until(lambda: len(two.replica.received) == 3)
        await one.until(lambda: one.replica.received)
        assert [("one", said[0]), ("one", said[1]), ("one", said[3])] == two.replica.received
        assert [("two", answered)] == one.replica.received


async def test_what_is_said_to_all_comes_to_all():
    """Three nodes are linked in all six directions."""
    nodes = [Member(name) for name in ("one", "two", "three")]
    async with members(*nodes):
        for node in nodes:
            node.dial(*(other for other in nodes if other is not node))
        for node in nodes:
            await node.until_linked(*(other for other in nodes if other is not node))
        for number, node in enumerate(nodes):
            node.say(number)
        for node in nodes:
            await node.until(lambda node=node: len(node.replica.received) == 2)
            assert {"one", "two", "three"} - {node.node} == {peer for peer, _ in node.replica.received}


async def test_what_takes_long_is_handled_in_turns():
    """Messages that cost more than their turn has keep their order, and their connection is read on in the end."""
    one, two = Member("one"), Member("two")
    async with members(one, two):
        one.dial(two)
        await one.until_linked(two)
        two.mesh.reception._intake._clock = itertools.count(step=TURN / 3).__next__
        said = [("one", one.say(number)) for number in range(3_000)]
        await two.until(lambda: len(two.replica.received) == len(said))
        assert said == two.replica.received
        assert two.mesh.reception.late
        assert 0 == two.mesh.reception.waiting


async def test_a_node_dials_back_who_dials_it():
    """A node without a list sends to those that dialled it, for as long as they are connected."""
    one, two = Member("one"), Member("two")
    async with members(one, two):
        one.dial(two)
        await two.until_linked(one)
        said = two.say(1)
        await one.until(lambda: one.replica.received)
        assert [("two", said)] == one.replica.received
        assert [(False, True, "one")] == [(peer.configured, peer.connected, peer.node) for peer in two.mesh.peers()]
        await one.mesh.stop()
        await two.until(lambda: two.listener.losses)
        two.mesh.tick()
        assert [] == two.mesh.peers()


async def test_who_dials_us_may_come_into_the_list_later():
    """The link that there is goes on as that of the list, and outlasts that the other side does not dial any more."""
    one, two = Member("one"), Member("two")
    async with members(one, two):
        one.dial(two)
        await two.until_linked(one)
        await one.until_linked(two)
        two.dial(one)
        assert [(True, True, 1)] == [(peer.configured, peer.connected, peer.links) for peer in two.mesh.peers()]
        one.dial()
        await two.until(lambda: two.listener.losses)
        two.mesh.tick()
        await two.until(lambda: two.mesh.peers()[0].links == 2)
        await one.until_linked(two)
        assert [True] == [peer.configured for peer in two.mesh.peers()]
        assert [False] == [peer.configured for peer in one.mesh.peers()]
        assert {} == two.mesh.refused


async def test_another_secret_is_refused():
    """Both sides say so, and nothing is replicated."""
    one, two = Member("one", secret=SECRET), Member("two", secret=b"another secret of some length")
    async with members(one, two):
        one.dial(two)
        await one.until(lambda: one.listener.troubles)
        await two.until(lambda: two.listener.turned)
        assert [Code.SECRET] == one.listener.troubles
        assert Code.SECRET == two.listener.turned[0].code
        (state,) = one.mesh.peers()
        assert (False, "secret") == (state.connected, state.refusal)
        assert "differ; give both the same" in state.error
        assert [] == one.replica.connected == two.replica.connected


async def test_another_cluster_is_refused_until_it_is_the_same():
    """A refused peer is asked again, in case somebody mended it."""
    one, two = Member("one"), Member("two", cluster="test")
    async with members(one, two):
        one.dial(two)
        await one.until(lambda: Code.CLUSTER in one.listener.troubles)
        two.mesh.me = msgspec.structs.replace(two.mesh.me, cluster="artemis")
        await one.until_linked(two)
        assert "" == one.state("two").error


async def test_a_node_does_not_link_to_itself():
    """Its own address among the peers is noticed at the handshake."""
    one = Member("one")
    async with members(one):
        one.dial(one)
        await one.until(lambda: one.listener.troubles)
        assert [Code.MYSELF] == one.listener.troubles


async def test_two_addresses_of_one_node_make_one_link():
    """The node's id, not its address, says who it is."""
    one, two = Member("one"), Member("two")
    async with members(one, two):
        one.mesh.set_peers([two.url, peer_url(f"http://localhost:{two.url.port}")])
        await one.until(lambda: Code.SAME_NODE in one.listener.troubles)
        assert ["two"] == one.replica.connected


async def test_whom_the_members_refuse_is_refused():
    """What speaks against a member is told to the peer."""
    one, two = Member("one"), Member("two")
    two.listener.objection = "there are enough"
    async with members(one, two):
        one.dial(two)
        await one.until(lambda: one.listener.troubles)
        assert ([Code.NOT_A_MEMBER], "there are enough") == (one.listener.troubles, one.mesh.peers()[0].error)


async def test_a_handshake_cannot_be_replayed():
    """Who recorded both requests of a handshake gets nowhere with them."""
    one = Member("one", secret=SECRET)
    async with members(one):
        side = dialling(secret=SECRET)
        async with client_of(one) as client:
            answer = await client.request(side.hello, biz_type=HELLO)
            proof = side.answered(answer.payload, 0, wall())
        async with client_of(one) as client:
            await client.request(side.hello, biz_type=HELLO)
            answer = decode_greeting((await client.request(proof, biz_type=PROVE)).payload)
        assert isinstance(answer, Refusal)
        assert Code.SECRET == answer.code
        assert [] == one.listener.meetings


async def test_messages_of_strangers_are_refused():
    """Without a handshake the connection is closed, with a reason."""
    one = Member("one")
    async with members(one):
        async with client_of(one) as client:
            told: list[Context] = []
            client.on_message(told.append)
            await client.send(encode_message(Changes("fake", 1, 1, [None])), biz_type=MESSAGE)
            await client.session.wait_closed()
            assert (ENDING, Code.ORDER) == (told[0].biz_type, decode_greeting(told[0].payload).code)
        assert 1 == one.mesh.reception.counters["strangers"]
        assert [] == one.replica.received


async def test_garbage_ends_the_link():
    """A message that cannot be read, and one in another node's name: the peer is told, what came before counts."""
    one = Member("one")
    good = Changes("fake", 1, 1, [None])
    async with members(one):
        for count, bad in enumerate((b"\xc1garbage", encode_message(Changes("other", 1, 1, [None])))):
            async with client_of(one) as client:
                told: list[Context] = []
                client.on_message(told.append)
                await shake_hands(client, dialling())
                for message in (encode_message(good), bad, encode_message(good)):
                    await client.send(message, biz_type=MESSAGE)
                await client.session.wait_closed()
                assert Code.MALFORMED == decode_greeting(told[0].payload).code
            assert [("fake", good)] * (count + 1) == one.replica.received
        assert 2 == one.mesh.reception.counters["bad_messages"]


async def test_requests_of_the_mesh_need_a_handshake():
    """A ping, a proof and an unknown request of a stranger are refused."""
    one = Member("one")
    async with members(one), client_of(one) as client:
        for biz_type in (PING, PROVE, 209):
            answer = decode_greeting((await client.request(b"", biz_type=biz_type)).payload)
            assert isinstance(answer, Refusal)
            assert Code.ORDER == answer.code


async def test_a_node_that_is_no_node_of_a_cluster_is_told_apart():
    """A port that answers something else is no reason to give up, and the words say what is there."""
    one = Member("one")
    async with members(one), TransportServer(tcp="127.0.0.1:0") as other:
        other.on_request(lambda _: b'{"responseStatus":{}}')
        one.mesh.set_peers([peer_url(f"http://{other.tcp_address}")])
        await one.until(lambda: one.listener.troubles)
        (state,) = one.mesh.peers()
        assert (Code.MALFORMED, True) == (state.refusal, "is a node of a cluster there?" in state.error)


async def test_a_peer_of_a_later_version_is_met_in_ours():
    """A node that knows more versions, and says more, is met in the highest version that both know."""
    one = Member("one")
    async with members(one), client_of(one) as client:
        side = dialling()
        hello = decode_greeting(side.hello)
        assert isinstance(hello, Hello)
        fields = msgspec.to_builtins(hello, builtin_types=(bytes,))
        side.hello = msgspec.msgpack.encode({**fields, "newest": PROTOCOL + 3, "colour": "blue"})
        await shake_hands(client, side)
        assert PROTOCOL == one.mesh.reception.connections["fake"].peer.protocol
        side.hello = msgspec.msgpack.encode({**fields, "oldest": PROTOCOL + 1, "newest": PROTOCOL + 3})
        async with client_of(one) as second:
            answer = decode_greeting((await second.request(side.hello, biz_type=HELLO)).payload)
            assert isinstance(answer, Refusal)
            assert Code.VERSION == answer.code


async def test_a_silent_peer_is_left_and_dialled_again():
    """A peer whose pulse stops is not kept; as soon as it answers again it is back."""
    one, two = Member("one", timings=msgspec.structs.replace(HASTY, silence=0.2)), Member("two")
    async with members(one, two):
        one.dial(two)
        await one.until_linked(two)
        two.mute = {PING}
        await one.until(lambda: one.listener.partings)
        assert Code.SILENT == one.listener.partings[0].code
        assert "no sign of life for 0.2 s" in one.listener.partings[0].text
        two.mute = set()
        one.replica.connected.clear()
        await one.until_linked(two)


async def test_a_peer_that_reads_nothing_costs_bounded_memory():
    """What waits for it is dropped at the bound, which the replica is told; others get everything."""
    one, two, three = (Member(name, timings=msgspec.structs.replace(HASTY, silence=60)) for name in ("one", "two", "3"))
    async with members(one, two, three):
        one.dial(two, three)
        await one.until_linked(two, three)
        stuck = two.mesh.reception.connections["one"].session
        stuck._link.pause_reading()
        for number in range(60):
            one.replica.outbox.append((None, large(MIB)))
            one.mesh.soon()
            await three.until(lambda number=number: len(three.replica.received) == number + 1)
            assert 17 * MIB > one.state("two").queued_bytes
        assert {"two"} == set(one.replica.overflows)
        state = one.state("two")
        assert (True, one.mesh.counters["dropped"]) == (state.dropped > 0, state.dropped)
        stuck._link.resume_reading()
        said = one.say(1)
        await two.until(lambda: two.replica.received and two.replica.received[-1] == ("one", said))


async def test_a_link_that_breaks_comes_back():
    """Whichever side loses its connections, both dial again."""
    one, two = Member("one"), Member("two")
    async with members(one, two):
        one.dial(two)
        two.dial(one)
        await one.until_linked(two)
        await two.until_linked(one)
        for member, other in ((one, two), (two, one)):
            for session in list(member.server.sessions.values()):
                session.abort()
            await other.until(lambda other=other: other.listener.partings)
            await one.until_linked(two)
            await two.until_linked(one)
            said = other.say(5)
            await member.until(lambda member=member: member.replica.received)
            assert [(other.node, said)] == member.replica.received
            member.replica.received.clear()


async def test_a_later_life_of_a_node_takes_the_place_of_the_former():
    """A node that started again while its old connections look alive is linked anew at once, and the old one told."""
    one = Member("one")
    async with members(one), client_of(one) as former, client_of(one) as later:
        told: list[Context] = []
        former.on_message(told.append)
        await shake_hands(former, dialling(epoch=5))
        await shake_hands(later, dialling(epoch=6))
        await former.session.wait_closed()
        assert (Code.NODE_ID, True) == (
            (ending := decode_greeting(told[0].payload)).code,
            "epochs 6 and 5" in ending.text,
        )
        assert 6 == one.mesh.reception.connections["fake"].peer.party.epoch
        async with client_of(one) as again:
            side = dialling(epoch=5)
            proof = side.answered((await again.request(side.hello, biz_type=HELLO)).payload, 0, wall())
            answer = decode_greeting((await again.request(proof, biz_type=PROVE)).payload)
            assert isinstance(answer, Refusal)
            assert Code.NODE_ID == answer.code
            with pytest.raises(RefusedError) as caught:
                side.proven(encode_greeting(answer))
            assert caught.value.refusal.proof, "a node of the cluster says so, and no stranger"


async def test_two_nodes_with_one_id_are_noticed():
    """Of two living nodes with a copied data directory the one that is linked stays, and not one that started apart."""
    one, former, later = Member("one"), Member("copy", epoch=5), Member("copy", epoch=6)
    async with members(one, former, later):
        one.dial(former)
        await one.until_linked(former)
        one.dial(former, later)
        await one.until(lambda: Code.NODE_ID in one.listener.troubles)
        assert 5 == one.state("copy").epoch


async def test_of_two_nodes_with_one_id_the_one_with_more_links_is_linked():
    """Or the later one, where both have as many; the other one is told that it is outdated."""
    one, two, three = Member("one"), Member("two"), Member("three")
    former, later = Member("copy", epoch=6), Member("copy", epoch=5)
    async with members(one, two, three, former, later):
        one.dial(former)
        await one.until_linked(former)
        later.dial(two, three)
        await later.until_linked(two)
        await later.until_linked(three)
        one.dial(former, later)
        await one.until(lambda: one.mesh.links and one.state("copy").epoch == 5)


async def test_a_clock_that_drifts_ends_the_link():
    """Clocks are compared all the time, and both sides know by how much they differ."""
    one, two = Member("one"), Member("two")
    async with members(one, two):
        one.dial(two)
        await one.until_linked(two)
        two.ahead = 10_000
        await one.until(lambda: Code.CLOCK in [reason.code for reason in one.listener.partings])
        await two.until(lambda: two.listener.turned)
        assert Code.CLOCK == two.listener.turned[0].code
        assert ("one", True) == (two.listener.skews[-1][0], -10_100 < two.listener.skews[-1][1].offset < -9_900)
        two.ahead = 0
        one.replica.connected.clear()
        await one.until_linked(two)


async def test_nodes_tell_each_other_how_they_are():
    """What a node says of itself travels in both directions with the pulse."""
    one, two = Member("one"), Member("two")
    two.standing = msgspec.structs.replace(two.standing, status="starting")
    async with members(one, two):
        one.dial(two)
        await one.until(lambda: ("two", "starting") in one.listener.standings)
        await two.until(lambda: ("one", "up") in two.listener.standings)
        assert "starting" == one.state("two").status


async def test_a_change_of_state_is_told_at_once():
    """Peers need not wait for the next pulse to hear that a node serves, and it knows when they have heard."""
    slow = msgspec.structs.replace(HASTY, ping=60, silence=60)
    one, two = Member("one", timings=slow), Member("two", timings=slow)
    async with members(one, two):
        two.dial(one)
        await two.until_linked(one)
        two.mesh.tick()
        await one.until(lambda: ("two", "up") in one.listener.standings)
        await two.until(lambda: two.mesh.all_told)
        two.standing = msgspec.structs.replace(two.standing, status="down")
        assert not two.mesh.all_told
        two.mesh.soon()
        await one.until(lambda: ("two", "down") in one.listener.standings)
        await two.until(lambda: two.mesh.all_told)


async def test_a_farewell_is_the_last_word_and_everything_comes_before_it():
    """A node that stops delivers what is pending, then says farewell; peers know at once."""
    one, two = Member("one"), Member("two")
    async with members(one, two):
        one.dial(two)
        await one.until_linked(two)
        for number in range(2_000):
            one.say(number)
        await one.mesh.stop(leaving=True)
        assert 2_000 == len([each for each in two.replica.received if isinstance(each[1], Changes)])
        assert [("one", 1, True)] == two.listener.farewells
        assert {"one"} == {peer for peer, _ in two.replica.received}


async def test_a_node_that_stops_does_not_wait_for_one_that_reads_nothing():
    """The end is bounded in time, whatever peers do."""
    one, two = Member("one", timings=msgspec.structs.replace(HASTY, drain=0.2, answer=0.2)), Member("two")
    async with members(one, two):
        one.dial(two)
        await one.until_linked(two)
        two.mesh.reception.connections["one"].session._link.pause_reading()
        for _ in range(16):
            one.replica.outbox.append((None, large(MIB)))
        async with asyncio.timeout(30):
            await one.mesh.stop()


async def test_a_stopped_node_lets_nobody_in():
    """Who dials a node that stops is told so."""
    one = Member("one")
    async with members(one):
        await one.mesh.stop()
        async with client_of(one) as client:
            side = dialling()
            proof = side.answered((await client.request(side.hello, biz_type=HELLO)).payload, 0, wall())
            answer = decode_greeting((await client.request(proof, biz_type=PROVE)).payload)
            assert isinstance(answer, Refusal)
            assert Code.STOPPING == answer.code


async def test_what_fails_in_the_replica_ends_nothing(caplog):
    """A replica that raises is counted, and messages go on."""
    one, two = Member("one"), Member("two")
    async with members(one, two):
        one.dial(two)
        await one.until_linked(two)
        receive = two.replica.receive
        two.replica.receive = lambda *_: 1 / 0
        one.say(1)
        await one.until(lambda: one.state("two").sent == 1)
        await one.mesh._links["two"].deliver()
        two.replica.receive = receive
        said = one.say(2)
        await two.until(lambda: two.replica.received)
        assert (1, [("one", said)]) == (two.mesh.counters["failures"], two.replica.received)


async def test_links_over_tls_are_verified(tmp_path):
    """https means TLS; without the authority that vouches for the peer there is no link."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "node.pem"))
    one, stranger = Member("one", ca_file=str(tmp_path / "ca.pem")), Member("stranger")
    two = Member("two", tls=TlsServerConfig(certificate_file=str(tmp_path / "node.pem")))
    async with members(one, two, stranger):
        stranger.dial(two)
        await stranger.until(lambda: stranger.listener.troubles)
        assert [Code.UNREACHABLE] == stranger.listener.troubles
        assert "certificate" in stranger.mesh.peers()[0].error
        one.dial(two)
        await one.until_linked(two)
        assert one.mesh._links["two"]._client.session.peer_certificate is not None


async def test_a_peer_that_accepts_connections_and_does_not_answer_is_called_so():
    """As one that hangs; those who read it have made no request that they could repeat."""
    one, two = Member("one", timings=msgspec.structs.replace(HASTY, answer=0.1)), Member("two")
    two.mute.add(HELLO)
    async with members(one, two):
        one.dial(two)
        await one.until(lambda: one.listener.troubles)
        assert [Code.UNREACHABLE] == one.listener.troubles
        assert "it accepts connections and has not answered for 0.1 s" == one.mesh.peers()[0].error


async def test_peers_come_and_go_while_the_node_runs():
    """Who is taken from the list is left, who is added is dialled."""
    one, two, three = Member("one"), Member("two"), Member("three")
    async with members(one, two, three):
        one.dial(two)
        await one.until_linked(two)
        await two.until_linked(one)
        one.dial(three)
        await one.until(lambda: {"three"} == set(one.mesh.links))
        await two.until(lambda: two.listener.losses)
        two.mesh.tick()
        await one.until(lambda: one.listener.losses)
        assert [str(three.url)] == [state.url for state in one.mesh.peers()]


async def test_a_mesh_without_peers_does_nothing():
    """It ticks, sends nothing, and stops."""
    one = Member("one")
    async with members(one):
        assert isinstance(one.mesh, Mesh)
        one.say(1)
        one.mesh.tick()
        assert (1, [], []) == (one.replica.ticks, one.replica.outbox, one.mesh.peers())
