"""What no node would say: whatever can be read may come in, and nothing of it breaks a replica or its answers."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from replicas import WALL, Peer, World, instance

from artemis.cluster import (
    BadMessage,
    Changes,
    Digest,
    Farewell,
    InstanceRow,
    Message,
    More,
    OperationRow,
    Renewals,
    Repair,
    Unnamed,
    decode_message,
    encode_message,
)
from artemis.discovery import Catalog
from artemis.model import encode_canonical
from artemis.registry import Origin

CONTENT = encode_canonical(instance("i"))

numbers = st.sampled_from([0, 1, 2, 3, 5, 2**31, WALL + 2**45, 2**62])
nodes = st.sampled_from(["a", "b", "c", "z" * 1_024])
stamps = st.tuples(st.sampled_from([0, 1, WALL * 1_000, WALL * 1_000 + 10**9, 2**61, 2**62]), nodes)
parts = st.lists(st.tuples(nodes, numbers, numbers), max_size=4)
handles = st.lists(st.sampled_from([0, 1, 7, 2**32 - 1]), max_size=4).map(
    lambda found: b"".join(number.to_bytes(4, "little") for number in found)
)
rows = st.builds(
    InstanceRow,
    service=st.sampled_from(["s", "S", "ß"]),
    instance=st.sampled_from(["i", "j", "I"]),
    version=stamps,
    removed=st.booleans(),
    content=st.sampled_from([CONTENT, b"", b"{}", b'{"java_registry', b'"java_registry"', b"[" * 10_000]),
    renewed=stamps,
    expired=stamps,
    asserted=stamps,
    age=numbers,
    dots=parts,
)
operations = st.builds(
    OperationRow,
    region=nodes,
    service=nodes,
    target=nodes,
    operation=nodes,
    since=stamps,
    version=stamps,
    removed=st.booleans(),
    operator=nodes,
    token=st.none(),
    dots=parts,
)
digests = st.sampled_from([b"", bytes(8), b"12345678" * 3, b"123"])
messages = st.one_of(
    st.builds(Changes, nodes, numbers, numbers, st.lists(st.none() | rows | operations, max_size=3)),
    st.builds(
        Renewals,
        nodes,
        numbers,
        stamps,
        st.integers(-(2**60), 2**60),
        numbers,
        numbers,
        st.lists(st.tuples(numbers, nodes, nodes), max_size=3),
        handles,
    ),
    st.builds(Unnamed, numbers, handles),
    st.builds(Digest, numbers, st.binary(max_size=20) | st.just(bytes(9_000))),
    st.builds(
        Repair,
        numbers,
        st.sampled_from([0, 0, 0, 1]),
        st.booleans(),
        st.lists(rows | operations, max_size=3),
        st.lists(st.sampled_from([0, 1_023, 1_024, 2**62]), max_size=3),
        parts,
        st.lists(st.tuples(nodes, numbers), max_size=3),
        parts,
        st.lists(st.tuples(nodes, numbers), max_size=3),
        numbers,
        digests,
    ),
    st.builds(More, numbers, numbers, numbers, digests),
    st.builds(Farewell, nodes, numbers, st.booleans()),
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(["b", "c"]), messages, st.sampled_from([0, 100, 9_000])), max_size=12))
def test_nothing_that_can_be_read_breaks_a_replica(said: list[tuple[str, Message, int]]) -> None:
    """It goes on, what it says can be read, and what it knows can be shown, saved and replicated to others."""
    world = World("a")
    peer = world["a"]
    catalog = Catalog(peer.registry, wall=0)
    peer.registry.register(instance("i"), world.now)
    for name in "bc":
        peer.replica.connect(name, world.now)
    request = 0
    for name, message, wait in said:
        world.now += wait
        peer.registry.tick(world.now, WALL + world.now, 100)
        peer.replica.tick(world.now, WALL + world.now)
        for _, sent in peer.replica.take():
            assert decode_message(encode_message(sent)) == sent
            request = sent.request if isinstance(sent, Digest) else request
        if isinstance(message, Repair):  # an answer to what it has just asked
            message = Repair(  # noqa: PLW2901
                request,
                message.index,
                message.last,
                message.rows,
                message.buckets,
                message.vector,
                message.base,
                message.floor,
                message.unnamed,
                message.through,
                message.unknown,
            )
        peer.replica.receive(name, decode_message(encode_message(message)), world.now)
        peer.replica.flush(world.now)
    for view in catalog.views():
        assert view.json
    peer.registry.register(instance("new"), world.now)
    peer.replica.tick(world.now, WALL + world.now)
    for _, sent in peer.replica.take():
        assert decode_message(encode_message(sent)) == sent
    assert "new" in peer.shows()
    assert 0 == peer.registry.counters.listener_failures == catalog.listener_failures == catalog.filter_failures


def row(**fields: object) -> InstanceRow:
    """Return the row of a live instance."""
    stamp = (WALL * 1_000, "b")
    values = {"service": "s", "instance": "i", "version": stamp, "removed": False, "content": CONTENT}
    return InstanceRow(**(values | {"renewed": stamp, "expired": (0, ""), "asserted": stamp, "age": 0} | fields))


@pytest.fixture
def alone() -> Peer:
    """Return a node that is connected with b, which says what the test wants."""
    world = World("a")
    world["a"].replica.connect("b", world.now)
    return world["a"]


@pytest.mark.parametrize(
    "fields",
    [
        {"service": "S"},
        {"instance": "other"},
        {"content": b""},
        {"content": b"{}"},
        {"content": b'{"metadata":{"java_registry'},
        {"content": b"[" * 100_000},
        {"removed": True},
        {"renewed": (2**62, "b")},
    ],
    ids=str,
)
def test_a_row_that_is_no_record_is_passed_over(alone: Peer, fields: dict[str, object]) -> None:
    """Its number counts, so that what follows is not held up."""
    alone.replica.receive("b", Changes("b", 1, 1, [row(**fields), row()]), 1_000)
    assert (["i"], 1, 2) == (
        list(alone.shows()),
        alone.replica.counters.strange,
        alone.registry.vector[Origin("b", 1)],
    )


def test_nobody_else_speaks_for_this_node(alone: Peer) -> None:
    """Changes and renewals in its own name, and renewals in that of a third, are counted and dropped."""
    alone.replica.receive("b", Changes("a", 9, 1, [row()]), 1_000)
    alone.replica.receive("b", Changes("b", 1, 0, [row()]), 1_000)
    for node in ("a", "c"):
        alone.replica.receive("b", Renewals(node, 1, (1, node), 0, 9, 1, [(0, "s", "i")], b"\0\0\0\0"), 1_000)
    assert ({}, 4) == (alone.shows(), alone.replica.counters.strange)


@pytest.mark.parametrize(
    "message",
    [
        Changes("b", -1, 1, []),
        Changes("", 1, 1, []),
        Changes("b", 1, 1, [None] * 251),
        Changes("b", 1, 1, [row(version=(2**62 + 1, "b"))]),
        Renewals("b", 1, (-1, "b"), 0, 0, 1, [], b""),
        Renewals("b", 1, (1, "b"), 0, 0, 1, [], bytes(20_001)),
        More(1, 1, 1, bytes(262_145)),
        Repair(1, 0, True, [row(dots=[("c", epoch, 1) for epoch in range(250)])] * 49),
        Repair(1, 0, True, [row(service="x" * 1_025)]),
        Repair(1, 0, True, [], [], [("b", 1, -5)]),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_is_out_of_bounds_cannot_be_read(message: Message) -> None:
    """The link is closed, as with any bad message."""
    with pytest.raises(BadMessage):
        decode_message(encode_message(message))


LATEST = WALL + 1_000 + 2**45
"""The last epoch, and as milliseconds the last stamp, that a node at the start of a world believes in."""


@pytest.mark.parametrize("value", [LATEST * 1_000, LATEST * 1_000 + 1, 2**61, 2**62])
def test_no_stamp_leaves_those_that_must_follow_without_room(value: int) -> None:
    """One from a thousand years ahead is the last that counts, and what nodes decide after it is believed all the same,
    soon at least."""
    world = World("ab")
    replica = world["a"].replica
    replica.connect("c", world.now)
    replica.receive("c", Changes("c", 1, 1, [row(version=(value, "c"))]), world.now)
    replica.receive("c", Renewals("c", 1, (value, "c"), 0, 1, 1, [], b""), world.now)
    replica.disconnect("c")
    assert (value > LATEST * 1_000) == (replica.counters.strange > 0)
    world.run(4_000)
    for name in "ab":
        world[name].registry.register(instance(f"at-{name}"), world.now)
    world.run(200)
    assert {"at-a", "at-b"} <= set(world["a"].shows())
    assert world["a"].shows() == world["b"].shows()


@pytest.mark.parametrize("epoch", [WALL + 2**45, 2**61, 2**62])
@pytest.mark.parametrize("part", ["base", "unnamed", "vector", "floor"])
def test_no_epoch_shuts_a_node_out(part: str, epoch: int) -> None:
    """Whatever a peer says of a third node, that one is heard, or heard again as soon as it knows."""
    world = World("abc")
    said: dict[str, object] = {part: [("b", epoch)] if part in {"base", "unnamed"} else [("b", epoch, 1)]}
    lied = False
    while not lied:
        world.now += 100
        for name in "ab":
            world[name].tick(world.now, WALL + world.now)
        for _, message in world["a"].replica.take():
            if isinstance(message, Digest):
                world["a"].replica.receive("b", Repair(message.request, 0, True, [], **said), world.now)
                world["a"].replica.receive("c", Repair(message.request, 0, True, [], **said), world.now)
                lied = True
    world.remove("c")
    world.run(2 * world.timings.lifetime)
    world["b"].registry.register(instance("i"), world.now)
    world.run(6_000, beats=[("b", "i")])
    assert ["i"] == list(world["a"].shows())


def asked(alone: Peer, now: int) -> dict[str | None, Digest]:
    """Let a tick pass, and return the questions that were put, by peer."""
    alone.replica.tick(now, WALL + now)
    return {to: message for to, message in alone.replica.take() if isinstance(message, Digest)}


def test_a_peer_that_always_knows_more_does_not_keep_others_from_being_asked(alone: Peer) -> None:
    """Whoever says at every beat that something of it is missing is asked again and again; so is everybody else."""
    alone.replica.connect("c", 1_000)
    questions = {"b": 0, "c": 0}
    for now in range(1_000, 31_000, 100):
        alone.replica.receive("b", Renewals("b", 1, (1, "b"), 0, 2**62, 1, [], b""), now)
        for peer, question in asked(alone, now).items():
            assert peer is not None
            questions[peer] += 1
            alone.replica.receive(peer, Repair(question.request, 0, True, []), now)
    assert questions["b"] > 100
    assert questions["c"] > 2


def test_an_answer_that_only_claims_to_get_on_is_given_up_soon(alone: Peer) -> None:
    """Buckets that it was not told of and digests of no bucket are nothing: some parts later others are asked."""
    ((_, question),) = asked(alone, 4_000).items()
    for index in range(100):
        part = Repair(question.request, index, False, [], [0] * 8, through=2**62, unknown=bytes(range(64)))
        alone.replica.receive("b", part, 4_000)
    assert 1 == alone.replica.counters.exchanges_given_up
    assert alone.replica.state().exchanging is None


@pytest.mark.parametrize("rows", [[], [row()]], ids=["empty", "full"])
def test_an_answer_that_never_ends_is_given_up(alone: Peer, rows: list[InstanceRow]) -> None:
    """Nobody else could be asked for as long as it goes on."""
    alone.replica.connect("c", 1_000)
    now, given_up = 1_000, 0
    while not given_up and now < 10_000_000:
        for peer, question in asked(alone, now).items():
            if peer == "b":
                request, index = question.request, 0
            else:
                alone.replica.receive("c", Repair(question.request, 0, True, []), now)
        if alone.replica.state().exchanging == "b":
            alone.replica.receive("b", Repair(request, index, False, rows), now)
            index += 1
        now += 4_000
        given_up = alone.replica.counters.exchanges_given_up
    assert 1 == given_up
    assert "c" in {peer for later in range(now, now + 20_000, 100) for peer in asked(alone, later)}


def test_a_peer_that_claims_ever_more_lives_does_not_make_answers_that_nobody_can_read(alone: Peer) -> None:
    """Beyond some thousands further ones are counted and dropped, and lives that are known go on."""
    for epoch in range(1, 6_000):
        alone.replica.receive("b", Changes("b", epoch, 1, [None]), 1_000)
    alone.replica.receive("b", Changes("b", 1, 2, [row()]), 1_000)
    alone.replica.receive("b", Digest(1, b""), 1_000)
    answers = [sent for _, sent in alone.replica.take() if isinstance(sent, Repair)]
    assert [5_000] == [len(decode_message(encode_message(answer)).vector) for answer in answers]
    assert (["i"], True) == (list(alone.shows()), alone.replica.counters.strange > 900)


def repaired(alone: Peer, *rows: InstanceRow, **said: object) -> None:
    """Let b answer with these rows when it is asked next, and with nothing but them."""
    now = alone.registry.wall(1_000) - WALL + 3_000
    question = asked(alone, now)["b"]
    alone.replica.receive("b", Repair(question.request, 0, True, list(rows), **said), now)


def test_a_number_far_beyond_all_that_is_known_of_its_node_is_not_named(alone: Peer) -> None:
    """Neither the record nor a cursor names what will not come for years: the next change of that node covers it."""
    repaired(alone, row(dots=[("c", 1, 2**61), ("d", 1, 7)]), vector=[("d", 1, 6)])
    c, d = Origin("c", 1), Origin("d", 1)
    assert [(c, 1), (d, 7)] == [(dot.origin, dot.seq) for dot in alone.registry.find("s", "i").record.dots]
    assert {c: 1, d: 7} == alone.registry.ahead
    assert (["i"], 1) == (list(alone.shows()), alone.replica.counters.dots_refused)
    alone.replica.receive("b", Changes("c", 1, 1, [None]), 4_000)
    assert {d: 7} == alone.registry.ahead


def test_what_is_named_beyond_the_vector_is_bounded(alone: Peer) -> None:
    """Whatever lives of nodes rows name: no more than an answer of this node could; records of others stay away."""
    question = asked(alone, 1_100)["b"]
    for index in range(12):
        dots = [(f"n{index}", epoch, 1) for epoch in range(1, 1_001)]
        names = row(instance=f"i{index}", content=encode_canonical(instance(f"i{index}")), dots=dots)
        alone.replica.receive("b", Repair(question.request, index, False, [names]), 1_100)
    assert 10_000 == len(alone.registry.ahead)
    assert 2_000 == alone.replica.counters.dots_refused


def test_an_answer_that_names_lives_without_number_is_taken_in_as_far_as_it_can_be_told_on(alone: Peer) -> None:
    """An answer of this node is read by others, whatever it was told."""
    for node in "cd":
        lives = [(node, epoch, 1) for epoch in range(1, 10_001)]
        repaired(alone, vector=lives, floor=lives)
    alone.replica.receive("b", Digest(1, b""), 9_000)
    (answer,) = [sent for _, sent in alone.replica.take() if isinstance(sent, Repair)]
    assert answer == decode_message(encode_message(answer))
    assert alone.replica.counters.strange > 10_000


def test_an_asker_who_tells_of_more_than_can_be_kept_is_told_nothing_more(alone: Peer) -> None:
    """Nobody has that many records in so few buckets."""
    alone.replica.receive("b", Digest(1, b""), 1_000)
    for index in range(1, 10):
        told = b"".join((number << 10 | index - 1).to_bytes(8, "little") for number in range(1, 20_000))
        alone.replica.receive("b", More(1, 10 + index, 1, told), 1_000)
        alone.replica.receive("b", More(1, index, 1, told), 1_000)
    assert all(len(encode_message(sent)) < 1_000_000 for _, sent in alone.replica.take())


def test_a_copy_is_known_to_come_in_from_its_first_part_to_its_last(alone: Peer) -> None:
    """So a node that starts knows that waiting is worth it."""
    question = asked(alone, 1_100)["b"]
    came = [alone.replica.came]
    for index, last in ((0, False), (1, False), (2, True)):
        alone.replica.receive("b", Repair(question.request, index, last, [row()]), 1_200 + index)
        came.append(alone.replica.came)
    assert [None, 1_200, 1_201, None] == came
