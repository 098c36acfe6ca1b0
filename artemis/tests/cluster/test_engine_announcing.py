"""Who is there around an engine: who becomes a member, who is refused and why, and two nodes with one id."""

import msgspec
import pytest

from artemis.cluster.addresses import PeerUrl
from artemis.cluster.engine.announcing import MOST_NODES, MOST_REFUSED, Announcing, reasons
from artemis.cluster.engine.port import Position
from artemis.cluster.engine.signs import MAX_SIGN, Question, Sign, encode_sign
from artemis.cluster.mesh.handshake import Party, Peer, Skew
from artemis.cluster.mesh.listener import MeshListener
from artemis.cluster.mesh.wire import Code, Refusal
from artemis.cluster.messages import Versions
from artemis.cluster.standing import Standing

WALL = 1_700_000_000_000
UP = Standing(status="up", registry=True, discovery=True)
STARTING = Standing(status="starting")
BEAT, PATIENCE = 1_000, 3_000


class Ears(MeshListener):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.objection = ""
        self.members: dict[str, Peer] = {}
        self.standings: dict[str, Standing] = {}
        self.skews: dict[str, Skew] = {}
        self.refused: list[tuple[str, str]] = []
        self.farewells: list[tuple[str, int, bool]] = []
        self.twins: list[tuple[str, bool]] = []
        self.lost_ones: list[str] = []
        self.answers: list[tuple[str, int]] = []

    def met(self, peer: Peer, dialled: PeerUrl | None) -> str:
        assert dialled is None
        if not self.objection:
            self.members[peer.party.node] = peer
        return self.objection

    def lost(self, peer: Peer) -> None:
        self.lost_ones.append(peer.party.node)

    def told(self, node: str, standing: Standing) -> None:
        self.standings[node] = standing

    def measured(self, node: str, skew: Skew) -> None:
        self.skews[node] = skew

    def answered(self, node: str, asked: int) -> None:
        self.answers.append((node, asked))

    def farewell(self, node: str, epoch: int, leaving: bool) -> None:
        self.farewells.append((node, epoch, leaving))

    def turned_away(self, where: str, reason: Refusal) -> None:
        self.refused.append((where, str(reason.code)))

    def twin(self, text: str, stays: bool) -> None:
        self.twins.append((text, stays))


class Voice:
    """One node around the engine."""

    def __init__(self, air: "Air", name: str, **of: object) -> None:
        self.ears = Ears()
        self.epoch = int(str(of.pop("epoch", WALL)))
        self.ahead = int(str(of.pop("ahead", 0)))
        versions = of.pop("versions", Versions(1, 1))
        assert isinstance(versions, Versions)
        self.standing, self.bucket = UP, "the one"
        party = Party(cluster="c", region="r", zone="z", node=name, epoch=self.epoch, url=f"http://{name}:1")
        self.me = msgspec.structs.replace(party, **of)
        self.announcing = Announcing(
            self.me, self.ears, beat=BEAT, patience=PATIENCE, max_skew=lambda: 2_500, versions=versions
        )
        self.deaf = False
        self.air = air

    @property
    def wall(self) -> int:
        return WALL + self.air.now + self.ahead

    def tick(self) -> None:
        self.announcing.tick(self.standing, 7, Position(self.bucket, 11, 0), self.air.now, self.wall)

    def hear(self, node: str, epoch: int, data: bytes) -> None:
        self.announcing.heard(node, epoch, data, self.air.now, self.wall)


class Air:
    """What all nodes hear of each other, each message after 5 ms."""

    def __init__(self) -> None:
        self.now = 0
        self.voices: list[Voice] = []
        self.said: list[tuple[str, str | None]] = []

    def add(self, name: str, **of: object) -> Voice:
        voice = Voice(self, name, **of)
        self.voices.append(voice)
        return voice

    def run(self, milliseconds: int = 1_000) -> None:
        """Let time pass."""
        until = self.now + milliseconds
        while self.now < until:
            for voice in self.voices:
                voice.tick()
            for _ in range(4):
                self.carry()
            self.now += 80

    def carry(self) -> None:
        packets = [(voice, *packet) for voice in self.voices for packet in voice.announcing.take()]
        self.now += 5
        for sender, to, data in packets:
            self.said.append((sender.me.node, to))
            for voice in self.voices:
                if voice is not sender and not voice.deaf and to in (None, voice.me.node):
                    voice.hear(sender.me.node, sender.epoch, data)


@pytest.fixture
def air() -> Air:
    """Give the air between nodes."""
    return Air()


def test_nodes_find_each_other_at_once(air: Air) -> None:
    """Within a fraction of a beat each is a member of the other, with its standing and its clock."""
    a, b = air.add("a"), air.add("b", ahead=700)
    air.run(200)
    assert ({"b"}, {"a"}) == (set(a.ears.members), set(b.ears.members))
    assert (UP, UP) == (a.ears.standings["b"], b.ears.standings["a"])
    skew = a.ears.skews["b"]
    assert abs(skew.offset - 700) <= skew.error <= 5


def test_who_comes_later_need_not_wait_for_a_beat(air: Air) -> None:
    """Whoever hears a first sign answers with one of its own."""
    a = air.add("a")
    air.run(300)
    b = air.add("b")
    air.run(300)
    assert ["a"] == [*b.announcing.links()]
    assert ["b"] == [*a.announcing.links()]


def test_what_a_node_says_is_taken_in_once_it_is_a_member(air: Air) -> None:
    """Not before both directions are known to work, and not when it falls silent for good."""
    a, b = air.add("a"), air.add("b")
    b.deaf = True
    air.run(3_000)
    assert (False, set()) == (a.announcing.admits("b"), set(a.ears.members))
    b.deaf = False
    air.run(2_000)
    assert a.announcing.admits("b")
    air.voices.remove(b)
    air.run(PATIENCE + 500)
    assert ([], 1) == ([*a.announcing.links()], len(a.announcing.states(air.now)))
    air.run(70_000)
    assert (False, []) == (a.announcing.admits("b"), a.announcing.states(air.now))


def test_a_node_that_stood_still_asks_all_others_at_once_until_they_have_answered(air: Air) -> None:
    """What comes of one after its answer, it has said after the question."""
    a = air.add("a")
    for name in "bcd":
        air.add(name)
    air.run(3_000)
    a.ears.answers.clear()
    since = air.now
    a.announcing.resumed()
    a.air.voices[3].deaf = True
    air.run(200)
    assert {"b", "c"} == {node for node, asked in a.ears.answers if asked >= since}
    a.air.voices[3].deaf = False
    air.run(2 * BEAT)
    assert {"b", "c", "d"} == {node for node, asked in a.ears.answers if asked >= since}


@pytest.mark.parametrize(
    ("of", "code", "word"),
    [
        ({"region": "other"}, Code.REGION, "--cluster-name"),
        ({"cluster": "other"}, Code.CLUSTER, "--cluster-name"),
        ({"versions": Versions(3, 4)}, Code.VERSION, "take node b"),
        ({"url": "nonsense"}, Code.SELF_URL, "--self-url"),
        ({"url": "http://127.0.0.1:1"}, Code.SELF_URL, "--self-url"),
        ({"ahead": 4_000}, Code.CLOCK, "same time server"),
        ({"ahead": -4_000}, Code.CLOCK, "same time server"),
    ],
)
def test_who_does_not_belong_to_us_is_refused_with_a_reason(
    air: Air, of: dict[str, object], code: str, word: str
) -> None:
    """Once in the log however often it is heard, and with what to do."""
    a = air.add("a")
    air.add("b", **of)
    air.run(4_000)
    assert ({}, [code]) == (a.ears.members, [reason for _, reason in a.ears.refused])
    (sentence,) = reasons(a.announcing.refusals)
    assert word in sentence
    assert {("them", code): 1} == a.announcing.refused
    assert not a.announcing.admits("b")
    (state,) = a.announcing.states(air.now)
    assert (False, code, sentence) == (state.connected, state.refusal, state.error)


def test_a_region_in_other_letters_is_the_same(air: Air) -> None:
    """As everywhere."""
    a = air.add("a")
    air.add("b", region="R")
    air.run(300)
    assert {"b"} == set(a.ears.members)


def test_who_is_no_member_for_the_membership_is_refused(air: Air) -> None:
    """With its words, and asked again now and then."""
    a = air.add("a")
    a.ears.objection = "there are too many"
    air.add("b")
    air.run(1_000)
    assert ["there are too many"] == reasons(a.announcing.refusals)
    a.ears.objection = ""
    air.run(6_000)
    assert ({"b"}, []) == (set(a.ears.members), reasons(a.announcing.refusals))


def test_a_clock_that_was_set_right_is_noticed(air: Air) -> None:
    """Within some seconds both are members."""
    a, b = air.add("a"), air.add("b", ahead=60_000)
    air.run(1_000)
    assert {} == a.ears.members
    b.ahead = 0
    air.run(7_000)
    assert ({"b"}, {"a"}) == (set(a.ears.members), set(b.ears.members))


def test_a_member_whose_clock_was_set_wrong_is_none_any_more(air: Air) -> None:
    """Both notice, and it is one again when its clock is right."""
    a, b = air.add("a"), air.add("b")
    air.run(1_000)
    b.ahead = 60_000
    air.run(3_000)
    assert (["b"], ["a"]) == (a.ears.lost_ones, b.ears.lost_ones)
    assert ([], False) == ([*a.announcing.links()], a.announcing.admits("b"))
    b.ahead = 0
    air.run(7_000)
    assert (["b"], []) == ([*a.announcing.links()], reasons(a.announcing.refusals))


def test_who_came_later_leaves_the_bucket_to_those_it_does_not_understand(air: Air) -> None:
    """Until they are gone."""
    a, b = air.add("a", epoch=WALL), air.add("b", epoch=WALL + 1, versions=Versions(2, 2))
    air.run(500)
    assert ("", True) == (a.announcing.barred, "speaks version 1 of the messages" in b.announcing.barred)
    air.voices.remove(a)
    air.run(PATIENCE + 500)
    assert "" == b.announcing.barred


def test_a_sign_of_a_far_future_is_refused_by_its_version(air: Air) -> None:
    """Although nothing else of it can be read."""
    a = air.add("a")
    a.hear("b", WALL, msgspec.msgpack.encode({"kind": "sign", "oldest": 9, "newest": 9, "url": "http://b:1"}))
    a.hear("c", WALL, msgspec.msgpack.encode({"kind": "shout", "oldest": 9, "newest": 9}))
    assert [Code.VERSION, Code.VERSION] == [reason for _, reason in a.ears.refused]
    assert 0 == a.announcing.counters["signs_bad"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode([1, 2]),
        msgspec.msgpack.encode({"kind": "sign"}),
        msgspec.msgpack.encode({"kind": "question", "number": -1}),
        b"\x81" * 100_000,
        b"x" * (MAX_SIGN + 1),
    ],
)
def test_nonsense_is_counted(air: Air, data: bytes) -> None:
    """And nothing comes of it."""
    a = air.add("a")
    a.hear("b", WALL, data)
    assert (1, [], []) == (a.announcing.counters["signs_bad"], a.announcing.take(), a.announcing.states(0))


def test_answers_to_questions_that_nobody_asked_say_nothing(air: Air) -> None:
    """A clock is not measured by them."""
    a, b = air.add("a"), air.add("b")
    air.run(300)
    a.ears.skews.clear()
    a.hear("b", WALL, msgspec.msgpack.encode({"kind": "answer", "number": 77_777, "wall": 5}))
    a.hear("x", WALL, msgspec.msgpack.encode({"kind": "answer", "number": 1, "wall": 5}))
    assert ({}, {"b"}) == (a.ears.skews, set(a.ears.members))
    assert "a" in b.ears.members


def test_there_are_bounds(air: Air) -> None:
    """On nodes that are there and on reasons; who is gone makes room."""
    a = air.add("a")
    a.tick()
    for n in range(MOST_NODES + 5):
        a.hear(f"n{n}", WALL, sign(f"n{n}"))
    assert (MOST_NODES, 5) == (len(a.announcing.states(0)), a.announcing.counters["signs_crowded"])
    for n in range(MOST_REFUSED + 5):
        a.hear(f"n{n}", WALL, sign(f"n{n}", region="other"))
    assert MOST_REFUSED == len(a.announcing.refusals)
    air.now += PATIENCE + 1
    a.hear("late", WALL, sign("late"))
    assert "late" in {state.node for state in a.announcing.states(air.now)}


def test_every_beat_one_of_the_others_is_asked_for_its_clock(air: Air) -> None:
    """In turn, so that a node asks as much in a large cluster as in a small one."""
    nodes = [air.add(name) for name in "abcd"]
    air.run(1_000)
    air.said.clear()
    before = nodes[0].announcing.counters["questions"]
    air.run(6 * BEAT)
    assert 6 == nodes[0].announcing.counters["questions"] - before
    assert {"b", "c", "d"} == {to for sender, to in air.said if sender == "a" and to is not None}


def test_a_change_of_the_standing_is_said_at_once(air: Air) -> None:
    """Not with the next beat."""
    a, b = air.add("a"), air.add("b")
    air.run(500)
    b.standing = STARTING
    assert not b.announcing.told(STARTING)
    air.run(300)
    assert b.announcing.told(STARTING)
    assert STARTING == a.ears.standings["b"]


@pytest.mark.parametrize("leaving", [False, True])
def test_a_farewell_counts_for_the_life_that_says_it(air: Air, leaving: bool) -> None:
    """One of a life that was never met ends nobody."""
    a, b = air.add("a"), air.add("b")
    air.run(300)
    air.voices.remove(b)
    a.hear("b", WALL + 5, b.announcing.farewell(leaving=leaving))
    assert ([], ["b"]) == (a.ears.farewells, [*a.announcing.links()])
    a.hear("b", WALL, b.announcing.farewell(leaving=leaving))
    assert ([("b", WALL, leaving)], []) == (a.ears.farewells, [*a.announcing.links()])


def test_a_later_life_takes_the_place_of_the_one_before(air: Air) -> None:
    """Also without a farewell; what still comes of the earlier one counts no more."""
    a, old = air.add("a"), air.add("b")
    air.run(300)
    air.voices.remove(old)
    air.add("b", epoch=WALL + 9)
    air.run(300)
    assert WALL + 9 == a.ears.members["b"].party.epoch
    a.hear("b", WALL, sign("b"))
    assert (WALL + 9, 1) == (a.announcing.states(air.now)[0].epoch, a.announcing.counters["signs_outdated"])


def test_a_copy_that_starts_elsewhere_does_not_take_the_place_of_a_node_that_serves(air: Air) -> None:
    """For a third node, although it started later."""
    a, _ = air.add("a"), air.add("b")
    air.run(300)
    a.hear("b", WALL + 9, sign("elsewhere", standing=STARTING))
    assert "http://b:1" == a.announcing.states(air.now)[0].url


def test_nodes_that_have_read_different_buckets_are_told_of(air: Air) -> None:
    """As servers that do not share one JetStream may pass on signs of life all the same."""
    a, b = air.add("a"), air.add("b")
    air.run(1_500)
    assert [] == a.announcing.apart()
    b.bucket = "another"
    air.run(1_500)
    (sentence,) = a.announcing.apart()
    assert "http://b:1) and node a" in sentence
    b.bucket = ""
    air.run(1_500)
    assert [] == a.announcing.apart()


# -- two with one id


def test_a_copy_that_starts_ends_and_the_node_that_serves_stays(air: Air) -> None:
    """And the copy knows at the first word that somebody has its id."""
    node = air.add("n", epoch=WALL)
    air.run(500)
    copy = air.add("n", epoch=WALL + 9, url="http://copy:1")
    copy.standing = STARTING
    air.run(300)
    assert f"it is in use by http://n:1, started as {WALL}" == copy.announcing.taken
    air.run(2 * BEAT)
    assert ([True], [False]) == ([stays for _, stays in node.ears.twins], [stays for _, stays in copy.ears.twins][:1])
    assert "http://n:1 stays, http://copy:1 ends" in copy.ears.twins[0][0]


def test_of_two_that_serve_the_later_stays(air: Air) -> None:
    """As another machine has taken the place of the one that was cut off."""
    early, late = air.add("n", epoch=WALL), air.add("n", epoch=WALL + 9, url="http://late:1")
    air.run(2 * BEAT + 200)
    assert (False, True) == (early.ears.twins[0][1], late.ears.twins[0][1])


def test_one_late_word_of_a_former_life_ends_nobody(air: Air) -> None:
    """It may have been on its way when that ended."""
    a = air.add("a", epoch=WALL + 9)
    a.tick()
    a.hear("a", WALL, sign("copy"))
    air.run(PATIENCE + 500)
    assert ([], "") == (a.ears.twins, a.announcing.taken)


@pytest.mark.parametrize("epoch", [WALL, WALL + 9])
def test_own_words_that_come_back_late_end_nobody(air: Air, epoch: int) -> None:
    """They may have waited behind a cut, as many as there were, until after it or after a restart."""
    a = air.add("a", epoch=WALL + 9)
    a.standing = STARTING
    a.tick()
    for _ in range(5):
        a.hear("a", epoch, sign("a"))
    assert ([], "") == (a.ears.twins, a.announcing.taken)


def test_a_twin_that_says_farewell_is_none_any_more(air: Air) -> None:
    """A node that waits for it goes on at once."""
    a = air.add("a", epoch=WALL + 9)
    a.tick()
    a.hear("a", WALL, sign("copy"))
    assert a.announcing.taken
    a.hear("a", WALL, sign("copy", ends="stopping"))
    assert "" == a.announcing.taken


def sign(name: str, **of: object) -> bytes:
    """The bytes of a sign of life."""
    own = Sign(cluster="c", region="r", zone="z", url=f"http://{name}:1", standing=UP)
    return encode_sign(msgspec.structs.replace(own, **of))


def test_questions_are_answered_with_the_clock(air: Air) -> None:
    """To whoever asks."""
    a = air.add("a")
    a.hear("b", WALL, encode_sign(Question(number=3)))
    ((to, data),) = a.announcing.take()
    assert ("b", {"kind": "answer", "number": 3, "wall": WALL}) == (to, msgspec.msgpack.decode(data))
