"""The handshake, step by step and without sockets: who is refused, and what a proof proves."""

import msgspec
import pytest

from artemis.cluster.mesh.handshake import (
    Accepting,
    Dialling,
    Party,
    Peer,
    RefusedError,
    Skew,
    Terms,
    TwinError,
    skew,
)
from artemis.cluster.mesh.wire import (
    BadGreeting,
    Code,
    Hello,
    Proof,
    Refusal,
    decode_greeting,
    encode_greeting,
)
from artemis.cluster.mesh.wording import quoted
from artemis.cluster.messages import Versions

SECRET = b"a secret of some length"
ONE = Party(cluster="c", region="r1", zone="z1", node="one", epoch=7, url="http://10.0.0.1:8080")
TWO = Party(cluster="c", region="R1", zone="z2", node="two", epoch=9, url="http://10.0.0.2:8080")


OURS = Versions(1, 1)


def terms(
    me: Party, secret: bytes = SECRET, *, loopback: bool = False, max_skew: int = 2_500, versions: Versions = OURS
) -> Terms:
    """Terms of a node that meets others beyond loopback."""
    return Terms(me=me, secret=secret, max_skew=max_skew, loopback=loopback, versions=versions)


def sides(one: Terms | None = None, two: Terms | None = None, *, nonces: bytes = b"ab") -> tuple[Dialling, Accepting]:
    """Both sides of a handshake that begins at 1 000 on the monotonic clocks."""
    dialling = Dialling(one or terms(ONE), nonces[:1] * 32, 1_000, 50_000)
    return dialling, Accepting(two or terms(TWO), nonces[1:] * 32)


def shake(dialling: Dialling, accepting: Accepting, *, ahead: int = 0, rtt: int = 20) -> tuple[Peer, Peer]:
    """Carry it out, with half of `rtt` each way; returns whom each side met."""
    half = rtt // 2
    answer = accepting.greeted(dialling.hello, 1_000 + half, 50_000 + half + ahead)
    proof = dialling.answered(answer, 1_000 + rtt, 50_000 + rtt)
    met_by_two = accepting.proved(proof, 1_000 + rtt + half)
    met_by_one = dialling.proven(accepting.proof(50_000 + ahead))
    return met_by_one, met_by_two


def test_two_nodes_meet():
    """Both know who the other is, how long a round trip takes, and which version of the messages both speak."""
    met_by_one, met_by_two = shake(*sides())
    assert (TWO, OURS.newest, 20) == (met_by_one.party, met_by_one.protocol, met_by_one.rtt)
    assert (ONE, OURS.newest, 20) == (met_by_two.party, met_by_two.protocol, met_by_two.rtt)


def altered(party: Party, **changes: object) -> Terms:
    """Terms of a node that differs."""
    return terms(msgspec.structs.replace(party, **changes))


@pytest.mark.parametrize(
    ("one", "two", "code", "says"),
    [
        (
            terms(ONE),
            altered(TWO, cluster="d"),
            Code.CLUSTER,
            "give nodes that belong together the same --cluster-name",
        ),
        (terms(ONE), altered(TWO, region="r2"), Code.REGION, "a cluster is of one region"),
        (terms(ONE), terms(ONE), Code.MYSELF, "has met itself"),
        (terms(ONE, b""), terms(TWO), Code.SECRET, "node one (http://10.0.0.1:8080) has none"),
        (terms(ONE), terms(TWO, b""), Code.SECRET, "node two (http://10.0.0.2:8080) has none"),
        (terms(ONE, b""), terms(TWO, b""), Code.INSECURE, "give all --cluster-secret-file"),
        (altered(ONE, url="http://127.0.0.1:1"), terms(TWO), Code.SELF_URL, "set its --self-url"),
        (altered(ONE, url="file:///etc"), terms(TWO), Code.SELF_URL, "set the --self-url of that node"),
    ],
    ids=str,
)
def test_who_does_not_belong_is_refused_at_the_greeting(one, two, code, says):
    """The refusal has a code, and a sentence that tells the operator what to do."""
    dialling, accepting = sides(one, two)
    with pytest.raises(RefusedError, match=r".") as caught:
        accepting.greeted(dialling.hello, 1_000, 50_000)
    assert code == caught.value.refusal.code
    assert says in caught.value.refusal.text


@pytest.mark.parametrize(
    ("one", "two", "stays"),
    [
        ({"epoch": 9}, {"epoch": 7}, "one"),
        ({"epoch": 7}, {"epoch": 9}, "two"),
        ({"epoch": 9, "up": False}, {"epoch": 7}, "two"),
        ({"epoch": 7}, {"epoch": 9, "up": False}, "one"),
        ({"epoch": 7, "up": False}, {"epoch": 9, "up": False}, "two"),
        ({"epoch": 7}, {"epoch": 7}, "two"),
        ({"epoch": 7, "links": 2}, {"epoch": 9}, "one"),
        ({"epoch": 7, "links": 2}, {"epoch": 9, "links": 3}, "two"),
        ({"epoch": 7, "links": 2}, {"epoch": 9, "links": 2}, "two"),
        ({"epoch": 9, "links": 2, "up": False}, {"epoch": 7}, "two"),
    ],
)
def test_of_two_nodes_with_one_id_both_know_which_one_stays(one: dict, two: dict, stays: str):
    """One that serves rather than one that starts, then the one with more links to members, then the later one; by the
    same sentence, after both proofs."""
    pair = []
    for party, told in ((ONE, one), (TWO, two)):
        side = altered(party, node="same", epoch=told["epoch"])
        pair.append(msgspec.structs.replace(side, up=told.get("up", True), links=told.get("links", 0)))
    dialling, accepting = sides(*pair)
    proof = dialling.answered(accepting.greeted(dialling.hello, 1_000, 50_000), 1_020, 50_020)
    with pytest.raises(TwinError, match=r".") as dialled:
        accepting.proved(proof, 1_030)
    with pytest.raises(TwinError, match=r"stays, .* ends") as dialler:
        dialling.proven(accepting.proof(50_030))
    assert (stays == "one", stays == "two") == (dialler.value.stays, dialled.value.stays)
    assert dialler.value.refusal == dialled.value.refusal


def test_a_stranger_with_our_id_proves_it_first():
    """Who does not know the secret ends no node."""
    dialling, accepting = sides(one=terms(msgspec.structs.replace(ONE, node="two"), b"another secret of some length"))
    proof = dialling.answered(accepting.greeted(dialling.hello, 1_000, 50_000), 1_000, 50_000)
    with pytest.raises(RefusedError, match=r"secrets of .* differ"):
        accepting.proved(proof, 1_000)


def test_the_dialler_judges_for_itself_too():
    """A peer that lets everybody in is refused all the same."""
    dialling, _ = sides()
    _, lenient = sides(altered(ONE, cluster="d"), altered(TWO, cluster="d"))
    answer = lenient.greeted(Dialling(altered(ONE, cluster="d"), b"x" * 32, 0, 0).hello, 0, 0)
    with pytest.raises(RefusedError, match="--cluster-name"):
        dialling.answered(answer, 1_000, 50_000)


def test_on_loopback_no_secret_is_needed():
    """Nodes of one machine meet without a secret."""
    dialling, accepting = sides(terms(ONE, b"", loopback=True), terms(TWO, b"", loopback=True))
    assert "two" == shake(dialling, accepting)[0].party.node


def test_another_secret_is_refused_by_the_side_that_was_dialled():
    """The dialler proves first, so that a stranger gets nothing to try secrets on."""
    dialling, accepting = sides(one=terms(ONE, b"another secret of some length"))
    proof = dialling.answered(accepting.greeted(dialling.hello, 1_000, 50_000), 1_000, 50_000)
    with pytest.raises(RefusedError, match=r"secrets of .* differ") as caught:
        accepting.proved(proof, 1_000)
    assert Code.SECRET == caught.value.refusal.code


def test_another_secret_is_refused_by_the_dialler():
    """Whoever lets everybody in does not prove anything by that."""
    dialling, accepting = sides(two=terms(TWO, b"another secret of some length"))
    dialling.answered(accepting.greeted(dialling.hello, 1_000, 50_000), 1_000, 50_000)
    with pytest.raises(RefusedError, match=r"secrets of .* differ"):
        dialling.proven(accepting.proof(50_000))


def test_a_proof_fits_no_other_handshake():
    """What was recorded is worth nothing, because the other side's nonce is fresh."""
    dialling, accepting = sides()
    recorded = dialling.answered(accepting.greeted(dialling.hello, 1_000, 50_000), 1_000, 50_000)
    _, again = sides(nonces=b"ac")
    again.greeted(dialling.hello, 1_000, 50_000)
    with pytest.raises(RefusedError, match="secrets"):
        again.proved(recorded, 1_000)


def test_a_proof_cannot_be_sent_back():
    """The dialler's own proof is none for the other side."""
    dialling, accepting = sides()
    own = dialling.answered(accepting.greeted(dialling.hello, 1_000, 50_000), 1_000, 50_000)
    with pytest.raises(RefusedError, match="secrets"):
        dialling.proven(own)


def test_a_greeting_cannot_be_altered_on_the_way():
    """The proofs cover every byte of both greetings, so nobody in between can change what was offered."""
    dialling, accepting = sides()
    hello = decode_greeting(dialling.hello)
    assert isinstance(hello, Hello)
    altered = encode_greeting(msgspec.structs.replace(hello, zone="elsewhere"))
    proof = dialling.answered(accepting.greeted(altered, 1_000, 50_000), 1_000, 50_000)
    with pytest.raises(RefusedError, match="secrets"):
        accepting.proved(proof, 1_000)


def test_the_clock_in_a_proof_cannot_be_altered():
    """The wall clock that comes with a proof is covered by it."""
    dialling, accepting = sides()
    proof = decode_greeting(dialling.answered(accepting.greeted(dialling.hello, 1_000, 50_000), 1_000, 50_000))
    assert isinstance(proof, Proof)
    with pytest.raises(RefusedError, match="secrets"):
        accepting.proved(encode_greeting(msgspec.structs.replace(proof, wall=60_000)), 1_000)


@pytest.mark.parametrize("ahead", [-2_520, 2_520])
def test_clocks_that_are_apart_are_refused_by_both(ahead):
    """An eighth of the TTL is the limit; the side that was dialled says who it is that it refuses."""
    dialling, accepting = sides()
    answer = accepting.greeted(dialling.hello, 1_010, 50_010 + ahead)
    proof = dialling.answered(answer, 1_020, 50_020)
    with pytest.raises(RefusedError, match=r"or more (ahead of|behind) the clock here") as caught:
        accepting.proved(proof, 1_030)
    assert Code.CLOCK == caught.value.refusal.code
    assert ONE == caught.value.peer.party
    with pytest.raises(RefusedError, match=r"or more (ahead of|behind) the clock here") as caught:
        dialling.proven(accepting.proof(50_000))
    assert TWO == caught.value.peer.party


def test_clocks_are_judged_by_what_is_certain():
    """A slow round trip may hide a difference, but never makes one."""
    rtt = 3_000
    met_by_one, met_by_two = shake(*sides(), ahead=3_900, rtt=rtt)
    assert 2_500 >= met_by_one.skew.least
    assert 2_500 >= met_by_two.skew.least
    with pytest.raises(RefusedError, match="clock"):
        shake(*sides(), ahead=4_100, rtt=rtt)


def test_a_skew_is_known_to_within_half_a_round_trip():
    """The other's clock was read at some moment of the round trip."""
    assert Skew(0, 10) == skew(50_010, 50_000, 20)
    assert Skew(-300, 0) == skew(49_700, 50_000, 0)
    assert 290 == skew(50_310, 50_000, 20).least


def test_steps_come_once_and_in_order():
    """A second greeting, a proof before it, and other things in their place are refused."""
    dialling, accepting = sides()
    with pytest.raises(RefusedError, match="two steps"):
        accepting.proved(encode_greeting(Proof(proof=b"p" * 32, wall=1)), 1_000)
    with pytest.raises(RefusedError, match="two steps"):
        dialling.proven(encode_greeting(Proof(proof=b"p" * 32, wall=1)))
    answer = accepting.greeted(dialling.hello, 1_000, 50_000)
    with pytest.raises(RefusedError, match="two steps"):
        accepting.greeted(dialling.hello, 1_000, 50_000)
    with pytest.raises(RefusedError, match="two steps"):
        accepting.proved(dialling.hello, 1_000)
    with pytest.raises(RefusedError, match="two steps"):
        dialling.answered(dialling.answered(answer, 1_000, 50_000), 1_000, 50_000)


def test_a_refusal_of_the_other_side_is_passed_on():
    """The dialler says what it was told, in one printable line."""
    dialling, _ = sides()
    with pytest.raises(RefusedError, match=r"no \\x1b\[31m, thanks") as caught:
        dialling.answered(encode_greeting(Refusal("in-future", "no \x1b[31m, thanks")), 1_000, 50_000)
    assert "in-future" == caught.value.refusal.code


def test_only_a_refusal_of_one_with_the_secret_has_a_proof():
    """It is checked, and holds for this handshake and these words."""
    dialling, accepting = sides()
    proof = dialling.answered(accepting.greeted(dialling.hello, 1_000, 50_000), 1_000, 50_000)
    accepting.proved(proof, 1_000)
    said = decode_greeting(accepting.refusal(Refusal("node-id", "it is taken")))
    _, stranger = sides()
    stranger.greeted(dialling.hello, 1_001, 50_001)
    elsewhere = decode_greeting(stranger.refusal(Refusal("node-id", "it is taken")))
    for refusal, believed in [
        (said, True),
        (Refusal("node-id", "it is taken"), False),
        (Refusal("node-id", "it is not taken", said.proof), False),
        (Refusal("clock", "it is taken", said.proof), False),
        (elsewhere, False),
    ]:
        with pytest.raises(RefusedError, match="taken") as caught:
            dialling.proven(encode_greeting(refusal))
        assert believed == bool(caught.value.refusal.proof)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"\x80",
        b'{"responseStatus":{"status":"fail"}}',
        b"\xc1" * 40,
        b"x" * 20_000,
        msgspec.msgpack.encode({"kind": "hello"}),
        msgspec.msgpack.encode({"kind": "proof", "proof": b"short", "wall": 1}),
        msgspec.msgpack.encode({"kind": "proof", "proof": b"p" * 32, "wall": -1}),
    ],
)
def test_what_is_no_greeting_is_refused(data):
    """Whatever the bytes are, there is an answer."""
    with pytest.raises(BadGreeting):
        decode_greeting(data)
    with pytest.raises(RefusedError, match="is a node of a cluster there") as caught:
        Accepting(terms(TWO), b"n" * 32).greeted(data, 0, 0)
    assert Code.MALFORMED == caught.value.refusal.code


def future(**changes: object) -> bytes:
    """The greeting of a node of a later version, which has a field that we do not know."""
    hello = decode_greeting(Dialling(terms(ONE), b"f" * 32, 0, 50_000).hello)
    return msgspec.msgpack.encode({**msgspec.to_builtins(hello, builtin_types=(bytes,)), "colour": "blue", **changes})


def test_the_highest_common_version_is_taken():
    """A newer node that still speaks our version is met in ours."""
    accepting = Accepting(terms(TWO), b"n" * 32)
    answer = decode_greeting(accepting.greeted(future(newest=OURS.newest + 5), 0, 50_000))
    assert isinstance(answer, Hello)
    assert OURS.newest == answer.newest


def test_no_common_version_is_refused():
    """A newer node that forgot our version is refused, with both ranges and which of the two is to be updated."""
    with pytest.raises(RefusedError) as caught:
        Accepting(terms(TWO), b"n" * 32).greeted(future(oldest=8, newest=9), 0, 0)
    assert Code.VERSION == caught.value.refusal.code
    assert (
        "node one (http://10.0.0.1:8080) speaks versions 8 to 9 of the messages between nodes, "
        "node two (http://10.0.0.2:8080) version 1; update node two (http://10.0.0.2:8080) to a release that speaks "
        "version 8, or take node one (http://10.0.0.1:8080) back to one that speaks version 1; "
        "nothing is lost meanwhile, what both know is merged then"
    ) == str(caught.value)


@pytest.mark.parametrize(
    ("one", "two", "agreed"),
    [((1, 1), (1, 2), 1), ((1, 2), (1, 2), 2), ((1, 2), (2, 2), 2), ((2, 5), (1, 4), 4), ((3, 3), (3, 9), 3)],
)
def test_both_sides_agree_on_the_highest_version_that_both_speak(one, two, agreed):
    """Whoever dials."""
    for first, second in ((one, two), (two, one)):
        dialling, accepting = sides(
            terms(ONE, versions=Versions(*first)), terms(TWO, versions=Versions(*second)), nonces=b"cd"
        )
        assert [agreed, agreed] == [peer.protocol for peer in shake(dialling, accepting)]


@pytest.mark.parametrize("newer_dials", [True, False])
def test_of_no_common_version_both_sides_say_the_same(newer_dials):
    """The side that was dialled sees it, and tells the other one; so does a dialler that is answered nevertheless."""
    old, new = terms(ONE, versions=Versions(1, 1)), terms(TWO, versions=Versions(2, 2))
    dialling, accepting = sides(new, old) if newer_dials else sides(old, new)
    with pytest.raises(RefusedError, match=r"update node one \(http://10.0.0.1:8080\) to") as seen:
        accepting.greeted(dialling.hello, 0, 50_000)
    with pytest.raises(RefusedError) as told:
        dialling.answered(encode_greeting(seen.value.refusal), 0, 50_000)
    assert (Code.VERSION, str(seen.value)) == (told.value.refusal.code, str(told.value))


def test_what_strangers_say_is_cut_and_quoted():
    """A log line stays one line, whatever a node calls itself."""
    assert "two" == quoted("two")
    assert r"'a\nb'" == quoted("a\nb")
    assert 120 == len(quoted("x" * 2_000))
