"""Machines with several processes in a mesh: who dials their port is sent on to each of them."""

import asyncio
import socket

import msgspec
import pytest
from mesh_nodes import Member, members

from artemis.cluster.addresses import peer_url
from artemis.cluster.configured import MAX_MEMBERS
from artemis.cluster.mesh.claims import Claims
from artemis.cluster.mesh.dialler import Dialler
from artemis.cluster.mesh.handshake import (
    Accepting,
    Dialling,
    ElsewhereError,
    Party,
    Peer,
    RefusedError,
    Skew,
    Terms,
)
from artemis.cluster.mesh.wire import Code, Elsewhere, Proof, decode_greeting, encode_greeting
from artemis.cluster.messages import Versions
from artemis.server.workers.link_door import LinkDoor

SECRET = b"a secret of some length"
ONE = Party(cluster="c", region="r1", zone="z1", node="one", epoch=7, url="http://10.0.0.1:8080")
TWO = Party(
    cluster="c",
    region="r1",
    zone="z1",
    node="two#1",
    epoch=9,
    url="http://10.0.0.2:8080",
    link="http://10.0.0.2:9001",
    machine="m2",
)
WHERE = ["http://10.0.0.2:9000", "http://10.0.0.2:9001"]


def terms(me: Party, **changes: object) -> Terms:
    """Terms of a node that meets others beyond loopback."""
    said = {"secret": SECRET, "versions": Versions(1, 2), **changes}
    return Terms(me=me, max_skew=2_500, loopback=False, **said)


def met(one: Terms, two: Terms) -> tuple[Dialling, Accepting]:
    """Both sides after the dialler's proof was found good."""
    dialling, accepting = Dialling(one, b"a" * 32, 1_000, 50_000), Accepting(two, b"b" * 32)
    answer = accepting.greeted(dialling.hello, 1_010, 50_010)
    accepting.proved(dialling.answered(answer, 1_020, 50_020), 1_030)
    return dialling, accepting


def test_who_comes_to_the_port_of_a_machine_is_told_where_its_processes_are():
    """By somebody who has the secret, and before anything is claimed."""
    dialling, accepting = met(terms(ONE), terms(TWO, front=True))
    assert (True, "two#1") == (dialling.front, dialling.met.party.node)
    with pytest.raises(ElsewhereError, match=r"links with node two#1 are made at http://10.0.0.2:9000, ") as caught:
        dialling.proven(accepting.elsewhere(WHERE))
    assert (WHERE, TWO) == (caught.value.urls, caught.value.peer.party)


def test_nobody_else_can_send_a_node_elsewhere():
    """Not by other addresses, and not by a proof of something else."""
    dialling, accepting = met(terms(ONE), terms(TWO, front=True))
    told = decode_greeting(accepting.elsewhere(WHERE))
    assert isinstance(told, Elsewhere)
    proof = decode_greeting(accepting.proof(50_030))
    assert isinstance(proof, Proof)
    for forged in (msgspec.structs.replace(told, urls=["http://10.6.6.6:1"]), Elsewhere(WHERE, proof.proof)):
        with pytest.raises(RefusedError, match=r"the cluster secrets of .* differ") as caught:
            dialling.proven(encode_greeting(forged))
        assert Code.SECRET == caught.value.refusal.code


def test_a_machine_that_dials_its_own_port_meets_itself():
    """Whichever of its processes answers there; at the door of their own they are two."""
    sibling = msgspec.structs.replace(TWO, node="two", epoch=8, link=WHERE[0])
    accepting = Accepting(terms(TWO, front=True), b"b" * 32)
    with pytest.raises(RefusedError, match="has met itself") as caught:
        accepting.greeted(Dialling(terms(sibling), b"a" * 32, 1_000, 50_000).hello, 1_000, 50_000)
    assert Code.MYSELF == caught.value.refusal.code
    dialling, accepting = met(terms(sibling), terms(TWO))
    assert TWO == dialling.proven(accepting.proof(50_030)).party


def test_a_process_whose_links_lead_to_loopback_is_refused():
    """From elsewhere nobody could dial it."""
    near = msgspec.structs.replace(TWO, link="http://127.0.0.1:9001")
    with pytest.raises(RefusedError, match="set its --self-url"):
        Accepting(terms(ONE), b"b" * 32).greeted(Dialling(terms(near), b"a" * 32, 0, 50_000).hello, 0, 50_000)


def test_a_node_too_old_to_know_of_machines_is_refused_with_words():
    """It would link with one process, and miss what the others accept."""
    old, new = terms(ONE, versions=Versions(1, 1)), terms(TWO, versions=Versions(2, 2))
    with pytest.raises(RefusedError, match=r"update node one .* to a release that speaks version 2") as caught:
        Accepting(new, b"b" * 32).greeted(Dialling(old, b"a" * 32, 0, 50_000).hello, 0, 50_000)
    assert Code.VERSION == caught.value.refusal.code


@pytest.mark.parametrize(
    ("urls", "says"),
    [(["http://127.0.0.1:9000"], "which is that machine itself"), (["file:///x"], "where nothing can be dialled")],
)
async def test_where_nobody_can_dial_a_machine_that_is_said(urls, says):
    """With what to do at it."""
    one = Member("one")
    async with members(one):
        peer = Peer(party=TWO, protocol=2, skew=Skew(0, 0), rtt=1, listed=True)
        dialler = Dialler(peer_url("http://10.0.0.2:8080"), one.mesh, Claims(one.listener), configured=True)
        with pytest.raises(RefusedError, match=f"{says}.*set its --self-url") as caught:
            one.mesh.sent_on(dialler, ElsewhereError(urls, peer))
        assert Code.SELF_URL == caught.value.refusal.code


async def test_more_processes_than_a_node_knows_others_are_left_out_and_said():
    """The others are linked all the same, and only those are waited for that are dialled."""
    one, two = Member("one"), Member("two")
    async with members(one, two):
        one.dial(two)
        front = next(iter(one.mesh._diallers))
        urls = [f"http://127.0.0.1:{port}" for port in range(1, MAX_MEMBERS + 2)]
        peer = Peer(party=TWO, protocol=2, skew=Skew(0, 0), rtt=1, listed=True)
        assert not one.mesh.sent_on(front, ElsewhereError(urls, peer))
        dialled = [state.url for state in one.mesh.peers() if state.url in urls]
        assert urls[:-1] == dialled
        assert not one.mesh.sent_on(front, ElsewhereError(urls[:1], peer))
        assert urls[:1] == [state.url for state in one.mesh.peers() if state.url in urls]


async def test_another_name_of_a_machine_that_is_linked_leads_to_the_nodes_that_are_linked():
    """However late it is answered: nobody would be waited for there."""
    one, two, front = Member("one"), Member("two"), Member("front")
    async with members(one, two, front):
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            one.dial(two)
            await one.until_linked(two)
            names = [peer_url(f"http://{host}:{nobody.getsockname()[1]}") for host in ("127.0.0.1", "localhost")]
            one.mesh.set_peers([two.url, *names])
            diallers = {dialler.url: dialler for dialler in one.mesh._diallers}
            peer = Peer(party=TWO, protocol=2, skew=Skew(0, 0), rtt=1, listed=True)
            for name in names:
                assert one.mesh.sent_on(diallers[name], ElsewhereError([str(two.url)], peer))
            assert [(name, "two") for name in names] == one.listener.names


async def until_sent_away(where: tuple[str, int]) -> None:
    """Connect, say nothing, and wait for the end of it."""
    reader, writer = await asyncio.open_connection(*where)
    assert b"" == await asyncio.wait_for(reader.read(), 30)
    writer.close()
    await writer.wait_closed()


async def test_who_comes_for_a_link_and_shakes_no_hands_is_sent_away():
    """Soon, as there is only so much room for those who do; who is linked stays."""
    one, two = Member("one"), Member("two")
    async with members(one, two):
        with socket.create_server(("127.0.0.1", 0)) as near, socket.create_server(("127.0.0.1", 0)) as far:
            door = LinkDoor(one.mesh.reception, near, patience=0.05)
            await door.start([far])
            host, port = far.getsockname()
            two.mesh.set_peers([peer_url(f"http://{host}:{port}")])
            await two.until_linked(one)
            for listening in (near, far):
                await until_sent_away(listening.getsockname())
            assert ["one"] == [*two.mesh.links]
            assert 1 == two.mesh.counters["links"]
            await two.mesh.stop()
            await door.stop()
