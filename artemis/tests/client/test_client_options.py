"""The numbers of a client and their ranges."""

import pytest

from artemis.client import ClientOptions


@pytest.mark.parametrize(
    "name", ["heartbeat_interval", "poll_interval", "attempt_timeout", "lost_after", "close_timeout"]
)
def test_times_are_more_than_nothing(name: str) -> None:
    """The error names the option."""
    with pytest.raises(ValueError, match=f"{name} must be more than 0"):
        ClientOptions(**{name: 0.0})


@pytest.mark.parametrize("name", ["backoff", "node_rest"])
def test_waits_are_not_negative(name: str) -> None:
    """Zero is allowed."""
    with pytest.raises(ValueError, match=f"{name} must not be negative"):
        ClientOptions(**{name: -1.0})


@pytest.mark.parametrize(
    "name", ["attempts", "batch_size", "max_services", "max_instances", "max_answer_bytes", "event_buffer"]
)
def test_bounds_leave_room_for_one(name: str) -> None:
    """The error names the option."""
    with pytest.raises(ValueError, match=f"{name} must be at least 1"):
        ClientOptions(**{name: 0})


def test_the_limit_of_a_wait_is_not_below_its_start() -> None:
    """Otherwise one of the two would act as something else than it says."""
    with pytest.raises(ValueError, match="backoff_limit"):
        ClientOptions(backoff=2.0, backoff_limit=1.0)
