"""The parts of the engine over NATS that decide without any server: names, identity, clock, answers, puts, reading."""

import asyncio
import base64
import binascii
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from artemis.cluster.engine.port import Put, Stored
from artemis.cluster.messages import BadMessage
from artemis.cluster.nats.answers import Fault, Outcome, Place, read_ack, read_place
from artemis.cluster.nats.beats import Envelope, read_envelope
from artemis.cluster.nats.clock import EngineClock, stamp_of
from artemis.cluster.nats.ending import end
from artemis.cluster.nats.following import Following, Verdict
from artemis.cluster.nats.identity import FORMAT, Identity, Stream, config_of, incarnation, objection
from artemis.cluster.nats.login import Login, LoginError
from artemis.cluster.nats.names import MAX_KEY, Names, is_key, token
from artemis.cluster.nats.puts import Puts, PutTimings
from artemis.cluster.nats.servers import BadServers, Servers, parse_servers
from artemis.cluster.nats.trouble import EngineState, TroubleError

SEED = bytes(range(32))


def put(number: int) -> Put:
    return Put(number, f"i.k{number}", b"v", 0)


def stream(**changes: object) -> Stream:
    names = Names.of("prod")
    identity = Identity(format=FORMAT, cluster="prod", region="eu", id="1")
    config = config_of(names.stream, names.prefix, identity, max_entries=10, replicas=1)
    return Stream(config=msgspec.structs.replace(config, **changes), created="2026-01-01T00:00:00.000000001Z")


def seed_text(seed: bytes = SEED, kind: int = 20) -> str:
    raw = bytes([18 << 3 | kind >> 2, (kind << 3 & 31) << 3]) + seed
    return base64.b32encode(raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")).decode().rstrip("=")


# -- servers and names


def test_servers_are_read_with_their_ports() -> None:
    """A list of hosts needs the scheme once and may repeat it, and the usual port is not given."""
    assert Servers(False, (("a", 4222), ("b", 5), ("::1", 6))) == parse_servers("nats://a, nats://b:5,[::1]:6,a")
    assert "tls://[::1]:6" == parse_servers("tls://a,[::1]:6").url(3)
    assert Servers(False, (("a", 1), ("b", 2), ("c", 4222))) == parse_servers("nats://a:1,nats://b:2/, c")
    assert Servers(True, (("a", 1), ("b", 4222))) == parse_servers("tls://a:1, tls://b")


@pytest.mark.parametrize(
    "text", ["a:1", "http://a", "nats://", "nats://u:p@a", "nats://a:x", "nats://a/b", "nats://a:0"]
)
def test_what_is_no_server_is_refused(text: str) -> None:
    """The text of the refusal is for whoever gave the option."""
    with pytest.raises(BadServers):
        parse_servers(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nats://a:1,tls://b:2", "'tls://b:2' is no server of the kind nats://"),
        ("tls://a:1,b, nats://c", "'nats://c' is no server of the kind tls://"),
        ("nats://a,http://b:80", "all as tls://HOST:PORT"),
        ("nats://a,nats://tls://b", "no server of the kind nats://"),
        ("nats://a,", "leave out what is empty"),
        ("tls://", "leave out what is empty"),
    ],
)
def test_a_list_of_servers_says_what_is_wrong_with_it(text: str, words: str) -> None:
    """Servers are all with TLS or all without, and no place in the list is empty."""
    with pytest.raises(BadServers, match=words):
        parse_servers(text)


@given(st.text())
def test_servers_of_any_text(text: str) -> None:
    """Nothing but BadServers is raised, whatever is given."""
    for given_text in (text, f"nats://{text}"):
        try:
            assert parse_servers(given_text).addresses
        except BadServers:
            continue


@given(st.text(min_size=1), st.text(min_size=1))
def test_names_become_one_part_of_a_subject(one: str, other: str) -> None:
    """Any name has a literal token of its own."""
    assert is_key(token(one))
    assert "." not in token(one)
    assert (one == other) == (token(one) == token(other))


def test_keys_are_literal() -> None:
    """What a server would take for a pattern is no key."""
    assert is_key("i.orders.a")
    assert [] == [
        key for key in ("", "*", "a.>", "a..b", ".a", "a.", "a b", "a\n", "Ä", "a" * (MAX_KEY + 1)) if is_key(key)
    ]


# -- whose a bucket is


def test_a_bucket_of_ours_is_taken() -> None:
    """What a node creates is what nodes accept, also with other limits."""
    assert "" == objection(stream(), "$KV.artemis_prod.", "prod", "eu")
    assert "" == objection(stream(num_replicas=3, max_msgs=5), "$KV.artemis_prod.", "prod", "eu")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"description": "mine"}, "somebody else's"),
        ({"description": '{"kind":"artemis","format":1,"cluster":"x","region":"eu","id":"1"}'}, "cluster 'x'"),
        ({"description": '{"kind":"artemis","format":1,"cluster":"prod","region":"x","id":"1"}'}, "region 'x'"),
        ({"description": '{"kind":"artemis","format":2,"cluster":"prod","region":"eu","id":"1"}'}, "format 2"),
        ({"max_bytes": 1000}, "max_bytes"),
        ({"allow_rollup_hdrs": True}, "allow_rollup_hdrs"),
        ({"deny_delete": False}, "deny_delete"),
        ({"max_msg_size": 100}, "max_msg_size"),
    ],
)
def test_other_streams_are_not(changes: dict[str, object], word: str) -> None:
    """A bucket of somebody else, or one that would lose records, is refused with the reason."""
    assert word in objection(stream(**changes), "$KV.artemis_prod.", "prod", "eu")


def test_an_incarnation_is_told_by_the_nanosecond() -> None:
    """A bucket that was made anew is another one, even with the same description."""
    one = stream()
    assert incarnation(one) != incarnation(msgspec.structs.replace(one, created="2026-01-01T00:00:00.000000002Z"))


# -- the engine's clock


def test_stamps_are_read_to_the_millisecond() -> None:
    """Any number of decimals up to nine will do, and nothing else."""
    assert 1_000 == stamp_of("1970-01-01T00:00:01Z")
    assert 1_120 == stamp_of("1970-01-01T00:00:01.12Z")
    assert 1_123 == stamp_of("1970-01-01T00:00:01.123999999Z")
    for text in ("", "1970-01-01", "1970-01-01T00:00:01+00:00", "1970-13-01T00:00:01Z"):
        with pytest.raises(ValueError):
            stamp_of(text)


def test_an_entry_lies_since_its_stamp() -> None:
    """How long an entry has lain is told by the engine's clock alone, and never negative."""
    clock = EngineClock()
    assert 0 == clock.at(5)
    clock.start(1_000_000, 50)
    clock.seen(999_000, 60)
    assert 1_000 + 10 == clock.lain(999_000, 60)
    clock.seen(1_000_200, 60)
    assert 0 == clock.lain(1_000_300, 60)
    assert 1_000_240 == clock.at(100)


# -- answers


@pytest.mark.parametrize(
    ("data", "outcome"),
    [
        (b'{"stream":"KV_x", "seq":7}', Outcome.STORED),
        (b'{"stream":"KV_x", "seq":7, "duplicate": true}', Outcome.STORED),
        (b'{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 2"},"seq":0}', Outcome.CONFLICTED),
        (b'{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"}}', Outcome.FULL),
        (b'{"error":{"code":503,"err_code":10077,"description":"open 1.blk: no such file"}}', Outcome.ABSENT),
        (b'{"error":{"code":503,"err_code":10023,"description":"insufficient resources"}}', Outcome.FULL),
        (b'{"error":{"code":503,"err_code":10008,"description":"unavailable"}}', Outcome.ABSENT),
        (b'{"error":{"code":400,"err_code":10054,"description":"too large"}}', Outcome.REFUSED),
        (b"+OK", Outcome.REFUSED),
    ],
)
def test_outcomes_of_puts(data: bytes, outcome: Outcome) -> None:
    """The engine's numbers decide, as its texts may change; one number has two meanings."""
    assert outcome is read_ack(data, None).outcome


def test_no_responders_are_no_refusal() -> None:
    """Nobody keeps the bucket at this moment: the put may be done later."""
    assert Outcome.ABSENT is read_ack(b"", "503").outcome


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        (Fault(503, 10039, "x"), EngineState.REFUSED),
        (Fault(503, 10023, "x"), EngineState.REFUSED),
        (Fault(400, 10065, "x"), EngineState.FOREIGN),
        (Fault(400, 10005, "x"), EngineState.NO_QUORUM),
        (Fault(503, 10008, "x"), EngineState.NO_QUORUM),
        (Fault(400, 10052, "x"), EngineState.REFUSED),
    ],
)
def test_errors_become_states(fault: Fault, state: EngineState) -> None:
    """Some errors pass by themselves, others need an operator, and are tried less often."""
    trouble = fault.trouble("x")
    assert state is trouble.state
    assert (state in (EngineState.REFUSED, EngineState.FOREIGN)) == trouble.lasting


def test_the_place_of_an_entry() -> None:
    """Replies of this and of later servers tell where an entry lies; others tell nothing."""
    assert Place(50, 7, 1_000, 3) == read_place("$JS.ACK.KV_x.c.1.50.7.1000000000.3")
    assert Place(50, 7, 1_000, 3) == read_place("$JS.ACK.dom.hash.KV_x.c.1.50.7.1000000000.3.rand")
    assert [None] * 3 == [read_place(text) for text in ("", "$JS.ACK.KV_x.c.1.x.7.1.3", "$JS.FC.KV_x.c.1.50.7.1.3")]


@given(st.binary())
def test_strange_bytes_are_read_as_nothing(data: bytes) -> None:
    """Whatever other nodes and the engine send, nothing unexpected is raised."""
    assert read_ack(data, None).outcome in Outcome
    with pytest.raises(BadMessage):
        read_envelope(b"\x00" + data)


def test_an_envelope_is_read_as_written() -> None:
    """Who says it comes with it."""
    envelope = Envelope("n", 5, "beat", b"hello")
    assert envelope == read_envelope(msgspec.msgpack.encode(envelope))


# -- puts under way


def test_a_window_bounds_what_is_under_way() -> None:
    """What does not fit waits, in order, for answers to what does."""
    puts = Puts(window=2)
    for number in range(3):
        puts.add(put(number))
    assert [0, 1] == [each.number for each in puts.take(0)]
    assert [] == puts.take(0)
    assert put(1) == puts.answered(1, 5)
    assert [2] == [each.number for each in puts.take(5)]
    assert (2, 0) == (puts.under_way, puts.waiting)


def test_a_put_without_an_answer_is_repeated_and_at_last_forgotten() -> None:
    """It is repeated while the engine knows its name; after that nobody knows what became of it."""
    puts = Puts(timings=PutTimings(answer=100, forgotten=250))
    puts.add(put(1))
    puts.take(0)
    assert [[], [put(1)], [], [put(1)]] == [puts.again(now) for now in (99, 100, 150, 200)]
    assert [] == puts.forgotten(249)
    assert [1] == puts.forgotten(250)
    assert None is puts.answered(1, 260)
    assert 2 == puts.repeated


def test_silence_is_counted_from_the_last_answer() -> None:
    """With nothing under way there is nobody to be silent."""
    puts = Puts()
    assert 0 == puts.unheard(1_000)
    for number in range(2):
        puts.add(put(number))
    puts.take(1_000)
    assert 500 == puts.unheard(1_500)
    puts.answered(0, 1_500)
    assert 100 == puts.unheard(1_600)
    puts.answered(1, 1_600)
    assert 0 == puts.unheard(9_000)


# -- what a consumer brings


def test_entries_follow_each_other_with_holes() -> None:
    """The stream's numbers may jump, as old entries disappear; the consumer's own may not."""
    following = Following(10, 0, 100)
    assert Verdict.NEXT is following.delivered(Place(15, 1, 0, 0), 1)
    assert Verdict.NEXT is following.delivered(Place(16, 2, 0, 0), 2)
    assert Verdict.LATE is following.delivered(Place(16, 2, 0, 0), 3)
    assert Verdict.GAP is following.delivered(Place(20, 4, 0, 0), 4)
    assert 16 == following.sequence


def test_an_earlier_entry_means_another_stream() -> None:
    """Numbers of one stream never fall."""
    assert Verdict.GAP is Following(10, 0, 100).delivered(Place(10, 1, 0, 0), 1)


def test_heartbeats_tell_what_was_lost_at_the_end() -> None:
    """A heartbeat counts what was sent, and says up to where nothing is left."""
    following = Following(0, 0, 100)
    following.delivered(Place(3, 1, 0, 0), 0)
    assert Verdict.NEXT is following.idle(1, 9, 0)
    assert 9 == following.sequence
    assert Verdict.GAP is following.idle(2, 9, 0)
    assert Verdict.LATE is following.idle(0, 9, 0)


def test_silence_is_noticed() -> None:
    """Unless it was this node that did not read."""
    following = Following(0, 0, 100)
    assert [False, True] == [following.silent(now) for now in (99, 100)]
    following.busy(100)
    assert not following.silent(150)


# -- who a node is


def test_a_login_is_read_from_its_file(tmp_path: Path) -> None:
    """User and password, or a token; each file says that others can read it."""
    file = tmp_path / "login"
    file.write_text("ann\nsecret\n")
    file.chmod(0o600)
    proof = Login(password=file).read()
    assert ("ann", "secret") == (proof.user, proof.password)
    assert "secret" not in repr(proof)
    assert "ann" == Login(token=file).read().token
    assert [] == Login(token=file).exposed()
    file.chmod(0o644)
    assert [file] == Login(token=file).exposed()


def test_credentials_sign_with_their_seed(tmp_path: Path) -> None:
    """The seed in a file of credentials signs what a server has made up, as its public key tells."""
    file = tmp_path / "creds"
    file.write_text(
        f"-----BEGIN NATS USER JWT-----\nabc.def\n------END NATS USER JWT------\n\n*** keep it ***\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed_text()}\n------END USER NKEY SEED------\n"
    )
    proof = Login(credentials=file).read()
    assert "abc.def" == proof.jwt
    signature = base64.urlsafe_b64decode(proof.sign("nonce") + b"==")
    Ed25519PrivateKey.from_private_bytes(SEED).public_key().verify(signature, b"nonce")


def test_files_that_do_not_do(tmp_path: Path) -> None:
    """Each refusal names the file and what it ought to be."""
    file = tmp_path / "login"
    with pytest.raises(LoginError, match="cannot read"):
        Login(token=file).read()
    file.write_text("\n")
    for login in (Login(token=file), Login(password=file), Login(credentials=file)):
        with pytest.raises(LoginError, match="login"):
            login.read()
    account, broken = seed_text(kind=0), seed_text()[:-4] + "AAAA"
    for seed in (account, broken, "!"):
        file.write_text(
            f"-----BEGIN NATS USER JWT-----\na\n------END X------\n-----BEGIN USER NKEY SEED-----\n{seed}\n------END X"
        )
        with pytest.raises(LoginError, match="seed"):
            Login(credentials=file).read()
    with pytest.raises(LoginError, match="one file"):
        Login(token=file, password=file)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (bytes(range(1, 9)), "without control characters"),
        (b"\x1c\x1d\nsecret\n", "without control characters"),
        (b"se\x00cret\nsecret\n", "without control characters"),
        ("se\x85cret\nsecret\n".encode(), "without control characters"),
        (b"\x1f\x8b\x08\x00\x80\xff", "is no text in UTF-8"),
    ],
)
def test_a_login_that_is_no_text_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    """A file of something else is no token and no password, whatever the server would say to it."""
    file = tmp_path / "login"
    file.write_bytes(content)
    with pytest.raises(LoginError, match=words):
        Login(token=file).read()
    file.write_bytes(b"ann\n" + content)
    with pytest.raises(LoginError, match=words):
        Login(password=file).read()


def test_a_login_may_have_any_letters_and_ends_of_lines(tmp_path: Path) -> None:
    """What is behind the lines that count is not looked at."""
    file = tmp_path / "login"
    file.write_bytes("änn b\r\n¡pässword! \r\n\x00".encode())
    proof = Login(password=file).read()
    assert ("änn b", "¡pässword!") == (proof.user, proof.password)
    assert "änn b" == Login(token=file).read().token


def test_a_trouble_has_words() -> None:
    """What an operator reads is the text of the error."""
    assert "no room" == str(TroubleError(EngineState.FULL, "no room"))
    assert EngineState.FULL.open
    assert not EngineState.NO_QUORUM.open
    assert "n" == Stored("n", 1, 2, 3, "one").node


async def test_a_task_that_takes_a_cancellation_for_its_own_ends_all_the_same() -> None:
    """One cancellation may get lost in somebody else's code; the next one does not."""
    taken = []

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            taken.append(1)
        await asyncio.Event().wait()

    task = asyncio.get_running_loop().create_task(stubborn())
    await asyncio.sleep(0)
    await end([task], pause=0.01)
    assert task.cancelled()
    assert [1] == taken


@pytest.mark.parametrize("kind", ["password", "token", "credentials"])
def test_a_login_from_a_pipe_or_device_is_refused(kind: str) -> None:
    """It could be read once at most, and without a writer the whole node would wait."""
    with pytest.raises(LoginError, match="is no regular file, and it is read anew"):
        Login(**{kind: Path("/dev/zero")}).read()
