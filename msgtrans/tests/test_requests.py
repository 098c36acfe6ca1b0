"""Message ids and waiting requests, without a clock."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msgtrans import ConfigurationError, LocalProtocolError, PendingRequests, ResourceError
from msgtrans.requests import rounded

SECONDS = r"timeout: is .*; use (0 or )?a positive, finite number of seconds"


def pending(first_id: int = 1, timeout: float = 10.0, limit: int = 100) -> PendingRequests[str]:
    return PendingRequests(first_id, timeout, limit)


def test_ids_wrap_and_skip_zero_and_pending_ones() -> None:
    """After 2**32 - 1 comes 1, and an id that still waits is passed over."""
    requests = pending(first_id=0xFFFFFFFE)
    requests.add("one", 0.0, message_id=1)
    requests.add("three", 0.0, timeout=1.0, message_id=3)
    assert [0xFFFFFFFE, 0xFFFFFFFF, 2, 4] == [requests.next_id() for _ in range(4)]


def test_a_chosen_id_must_be_free_and_in_range() -> None:
    """A caller's own id is refused when it is pending, 0, or beyond 32 bits."""
    requests = pending()
    requests.add("seven", 0.0, message_id=7)
    for wrong in (7, 0, 1 << 32):
        with pytest.raises(LocalProtocolError):
            requests.claim(wrong)


def test_answers_come_in_any_order_and_once() -> None:
    """Each waiter is taken once; a stray or late id gives nothing."""
    requests = pending()
    for number in range(1, 1001):
        requests.limit = 1001
        assert requests.add(str(number), 0.0, timeout=None if number % 2 else 3.0)[0] == number
    assert len(requests) == 1000
    assert ["1000", "1", "500"] == [requests.pop(number) for number in (1000, 1, 500)]
    assert requests.pop(500) is None
    assert requests.pop(5000) is None
    assert len(requests) == 997


def test_expiry_takes_only_what_is_due() -> None:
    """Waiters go at their deadline, whatever their timeout, with the timeout they had."""
    requests = pending(timeout=10.0)
    requests.add("default", 0.0)
    requests.add("short", 0.0, timeout=0.5)
    requests.add("later short", 1.0, timeout=0.5)
    assert requests.next_deadline() == 0.5
    assert requests.expire(0.4) == []
    assert requests.expire(0.5) == [("short", 0.5)]
    assert requests.next_deadline() == 1.5
    assert requests.expire(10.0) == [("default", 10.0), ("later short", 0.5)]
    assert requests.next_deadline() is None
    assert len(requests) == 0


def test_the_number_of_waiting_requests_is_bounded() -> None:
    """At the limit the error names the resource, how many there are and how many there may be."""
    requests = pending(limit=2)
    requests.add("x", 0.0)
    requests.add("x", 0.0, timeout=1.0)
    with pytest.raises(ResourceError) as caught:
        requests.add("x", 0.0)
    assert (caught.value.current, caught.value.limit) == (2, 2)


def test_draining_gives_every_waiter() -> None:
    """When a session ends, all its waiters come out, whatever their timeout."""
    requests = pending()
    requests.add("one", 0.0)
    requests.add("two", 0.0, timeout=1.0)
    assert sorted(requests.drain()) == ["one", "two"]
    assert len(requests) == 0
    assert requests.pop(2) is None


@pytest.mark.parametrize("timeout", [0, -1.0, math.inf, math.nan, True, "1", b"1"])
def test_senseless_timeouts_are_refused(timeout: float) -> None:
    """A timeout is a positive, finite number of seconds; True is none, even where the default is 1."""
    requests = pending(timeout=1.0)
    with pytest.raises(ConfigurationError, match=SECONDS):
        requests.add("x", 0.0, timeout=timeout)
    assert len(requests) == 0


@given(st.floats(1e-6, 1e6))
def test_rounding_is_upward_and_small(timeout: float) -> None:
    """A timeout is never shortened, and lengthened by at most 1/64."""
    assert timeout <= rounded(timeout) <= timeout * (1 + 1 / 64)


@given(st.lists(st.tuples(st.sampled_from([None, 0.25, 0.3, 7.0]), st.booleans(), st.floats(0, 2)), max_size=60))
def test_against_a_plain_model(steps: list[tuple[float | None, bool, float]]) -> None:
    """Adding, answering and expiring agree with a dict of deadlines."""
    requests, model, now = pending(timeout=1.0), {}, 0.0
    for number, (timeout, answer_oldest, advance) in enumerate(steps, start=1):
        message_id, model[number] = requests.add(str(number), now, timeout)
        assert message_id == number
        assert model[number] == now + (1.0 if timeout is None else rounded(timeout))
        if answer_oldest:
            oldest = min(model)
            del model[oldest]
            assert requests.pop(oldest) == str(oldest)
        now += advance
        due = {str(key) for key, deadline in model.items() if deadline <= now}
        assert due == {waiter for waiter, _ in requests.expire(now)}
        model = {key: deadline for key, deadline in model.items() if deadline > now}
        assert requests.next_deadline() == min(model.values(), default=None)
        assert len(requests) == len(model)
        assert all(number in requests for number in model)
