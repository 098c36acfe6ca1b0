"""What a Java peer is still to be told, what its answers mean, and what it says of itself (spec 6.3, 7.3, 7.4)."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artemis.cluster.java.answers import judge, unanswered
from artemis.cluster.java.dues import Batch, DueLimits, Dues, Failure, Kind
from artemis.cluster.java.standing import standing_of

A, B, C = ("s", "a"), ("s", "b"), ("s", "c")
REGISTER, HEARTBEAT, UNREGISTER = Kind.REGISTER, Kind.HEARTBEAT, Kind.UNREGISTER


def told(batch: Batch | None) -> tuple[str, list[str]] | None:
    """Return the kind of a batch and the names in it."""
    return None if batch is None else (str(batch.kind), [name for _, name in batch.dues])


def test_registrations_leave_at_once_and_heartbeats_in_batches():
    """A batch of heartbeats waits until it is full, or until its oldest waited two seconds."""
    dues = Dues(DueLimits(batch=2))
    dues.put(HEARTBEAT, A, b"a", 0)
    dues.put(REGISTER, B, b"b", 10)
    assert ("register", ["b"]) == told(dues.take(10))
    assert None is dues.take(10)
    assert 1_990 == dues.due_in(10)
    assert ("heartbeat", ["a"]) == told(dues.take(2_000))
    dues.put(HEARTBEAT, A, b"a", 2_000)
    dues.put(HEARTBEAT, B, b"b", 2_001)
    assert ("heartbeat", ["a", "b"]) == told(dues.take(2_001))
    assert (None, 0) == (dues.due_in(2_001), len(dues))


def test_a_removal_takes_the_place_of_everything_that_waits_for_the_instance():
    """No heartbeat or registration is sent after it, so none brings the instance back (defect 14)."""
    dues = Dues()
    dues.put(REGISTER, A, b"a", 0)
    dues.put(HEARTBEAT, A, b"a", 0)
    dues.put(UNREGISTER, A, b"a", 1)
    dues.put(HEARTBEAT, A, b"a", 2)
    assert ("unregister", ["a"]) == told(dues.take(2))
    assert (0, 1) == (len(dues), dues.counters["replaced"])


def test_all_that_failed_is_told_again_unless_something_newer_waits():
    """In its order and before what came later; not only the first of it (defect 13)."""
    dues = Dues()
    for key in (A, B, C):
        dues.put(REGISTER, key, b"1", 0)
    batch = dues.take(0)
    assert batch is not None
    dues.put(UNREGISTER, B, b"2", 1)
    dues.settle(batch, dict.fromkeys(batch.dues, Failure.LATER), 1)
    assert None is dues.take(50)
    assert 51 == dues.due_in(50)
    assert ("register", ["a", "c"]) == told(dues.take(101))
    assert ("unregister", ["b"]) == told(dues.take(101))
    assert (2, 1) == (dues.counters["later"], dues.counters["replaced"])


def test_what_was_lost_as_a_registration_goes_as_one_with_the_next_heartbeat():
    """Java nodes take no content from heartbeats; it expires after five seconds, or is refused."""
    dues = Dues()
    dues.put(REGISTER, A, b"1", 0)
    assert None is dues.take(5_000)
    assert 1 == dues.counters["expired"]
    dues.put(HEARTBEAT, A, b"1", 6_000)
    batch = dues.take(6_000)
    assert ("register", ["a"]) == told(batch)
    assert batch is not None
    dues.settle(batch, {A: Failure.DROPPED}, 6_000)
    assert (1, 0) == (dues.counters["refused"], len(dues))
    dues.put(HEARTBEAT, A, b"1", 7_000)
    assert ("register", ["a"]) == told(dues.take(7_000))


def test_what_waits_is_bounded():
    """The oldest heartbeat goes first, and is counted."""
    dues = Dues(DueLimits(most=2))
    dues.put(REGISTER, A, b"1", 0)
    dues.put(HEARTBEAT, B, b"1", 0)
    dues.put(REGISTER, C, b"1", 0)
    assert (2, 1) == (len(dues), dues.counters["overflowed"])
    assert ("register", ["a", "c"]) == told(dues.take(0))


def test_a_request_stays_below_its_size():
    """Except for one instance that is larger by itself."""
    dues = Dues(DueLimits(size=10))
    for key in (A, B, C):
        dues.put(REGISTER, key, b"123456", 0)
    assert ("register", ["a"]) == told(dues.take(0))


@given(st.lists(st.tuples(st.sampled_from(list(Kind)), st.sampled_from([A, B, C]), st.integers(0, 900)), max_size=30))
def test_the_last_word_on_an_instance_is_what_a_client_said_last(asked):
    """Whatever fails in between: a peer that takes things again ends with what was asked last."""
    dues = Dues(DueLimits(lifetime=10**9))
    last: dict[tuple[str, str], Kind] = {}
    there: dict[tuple[str, str], bool] = {}
    now = 0
    for kind, key, later in asked:
        if kind is HEARTBEAT and last.get(key, UNREGISTER) is UNREGISTER:
            continue  # no client is granted that
        now += later
        dues.put(kind, key, b"x", now)
        last[key] = REGISTER if kind is HEARTBEAT else kind
        batch = dues.take(now)
        if batch is not None:
            failed = dict.fromkeys(batch.dues, Failure.LATER) if later % 2 else {}
            there |= {done: batch.kind is not UNREGISTER for done in batch.dues if not failed}
            dues.settle(batch, failed, now)
    for _ in range(50):
        now += 2_000
        batch = dues.take(now)
        if batch is not None:
            there |= dict.fromkeys(batch.dues, batch.kind is not UNREGISTER)
            dues.settle(batch, {}, now)
    assert {key: kind is REGISTER for key, kind in last.items()} == there
    assert 0 == len(dues)


def batch_of(*keys: tuple[str, str]) -> Batch:
    """Return a batch of these instances."""
    dues = Dues()
    for key in keys:
        dues.put(REGISTER, key, b"{}", 0)
    batch = dues.take(0)
    assert batch is not None
    return batch


def answer(status: str, code: str, failed: object = None) -> bytes:
    """Return the answer of a Java node."""
    return json.dumps({"failedInstances": failed, "responseStatus": {"status": status, "errorCode": code}}).encode()


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (answer("success", "success"), {}),
        (answer("fail", "service-unavailable"), {A: Failure.DROPPED, B: Failure.DROPPED}),
        (answer("fail", "rate-limited"), {A: Failure.LATER, B: Failure.LATER}),
        (answer("fail", "whatever"), {A: Failure.LATER, B: Failure.LATER}),
        (b"<html>", {A: Failure.LATER, B: Failure.LATER}),
        (b"null", {A: Failure.LATER, B: Failure.LATER}),
        (b"{}", {A: Failure.LATER, B: Failure.LATER}),
        (
            answer(
                "partial_fail",
                "partial_fail",
                [None, {"errorCode": "no-permission", "instance": {"serviceId": "S", "instanceId": "A"}}],
            ),
            {A: Failure.DROPPED},
        ),
    ],
)
def test_answers_mean_what_they_mean_to_java_nodes(body, outcome):
    """Some codes are for good, all else passes; nonsense is no answer (spec 7.4)."""
    assert outcome == judge(batch_of(A, B), body).failed


def test_no_answer_means_that_all_is_told_again():
    """It may have been taken; telling it twice changes nothing."""
    judged = unanswered(batch_of(A), "no answer in time")
    assert ({A: Failure.LATER}, "unknown: no answer in time") == (judged.failed, judged.why)


def status(word: str | None, flag: bool | None = None, **node: object) -> bytes:
    """Return the status page of a Java node."""
    told = {"status": word, "canServiceRegistry": flag, "canServiceDiscovery": flag}
    place = {"zone": {"regionId": "R1", "zoneId": "z2"}, **node}
    return json.dumps({"nodeStatus": {**told, "node": place}, "responseStatus": {"status": "success"}}).encode()


@pytest.mark.parametrize(
    ("body", "state", "serves"),
    [
        (status("up"), "up", True),
        (status("down", True), "down", False),
        (status("starting"), "starting", False),
        (status("starting", True), "starting", True),
        (status(None, True), "unknown", True),
        (status("up", zone={"regionId": "r2"}), "refused", False),
        (status("up", nodeId="n1"), "refused", False),
        (b'{"responseStatus":{"status":"fail"}}', "unknown", False),
        (b"[]", "unknown", False),
        (b"null", "unknown", False),
    ],
)
def test_a_status_says_whether_a_peer_serves(body, state, serves):
    """Up serves and down does not, in between the flags decide; other regions and other products are refused."""
    standing = standing_of(body, "r1")
    assert (state, serves, serves) == (standing.state, standing.registry, standing.discovery)
    assert (state == "up") == (standing.why == "")
