"""The numbers of a client and their ranges."""

import dataclasses

import pytest

from artemis.client import ClientOptions
from artemis.client import options as ranges


@pytest.mark.parametrize("name", ranges.POSITIVE)
def test_times_are_more_than_nothing(name: str) -> None:
    """The error names the option."""
    with pytest.raises(ValueError, match=f"{name} must be more than 0"):
        ClientOptions(**{name: 0.0})


@pytest.mark.parametrize("name", ranges.NOT_NEGATIVE)
def test_waits_are_not_negative(name: str) -> None:
    """Zero is allowed."""
    with pytest.raises(ValueError, match=f"{name} must not be negative"):
        ClientOptions(**{name: -1.0})


@pytest.mark.parametrize("name", ranges.COUNTS)
def test_bounds_leave_room_for_one(name: str) -> None:
    """The error names the option."""
    with pytest.raises(ValueError, match=f"{name} must be at least 1"):
        ClientOptions(**{name: 0})


@pytest.mark.parametrize("name", ["backoff", "link_backoff", "node_rest"])
def test_the_limit_of_a_wait_is_not_below_its_start(name: str) -> None:
    """Otherwise one of the two would act as something else than it says."""
    with pytest.raises(ValueError, match=f"{name}_limit"):
        ClientOptions(**{name: 2.0, f"{name}_limit": 1.0})


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_a_share(share: float) -> None:
    """From none to all."""
    with pytest.raises(ValueError, match="guard_share"):
        ClientOptions(guard_share=share)


def test_every_number_has_a_range() -> None:
    """A new option is in one of the lists, or is checked by a rule of its own."""
    ruled = {"backoff_limit", "link_backoff_limit", "node_rest_limit", "guard_share"}
    listed = {*ranges.POSITIVE, *ranges.NOT_NEGATIVE, *ranges.COUNTS, *ruled}
    assert {field.name for field in dataclasses.fields(ClientOptions)} == listed


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("heartbeat_interval", "5", "a number"),
        ("lost_after", None, "a number"),
        ("guard_share", True, "a number"),
        ("attempts", 2.5, "a whole number"),
        ("batch_size", "500", "a whole number"),
    ],
)
def test_what_is_no_number_is_refused_by_name(name: str, value: object, kind: str) -> None:
    """As a text from the environment would be."""
    with pytest.raises(TypeError, match=f"^{name} must be {kind}, not {value!r}$"):
        ClientOptions(**{name: value})  # type: ignore[arg-type]
