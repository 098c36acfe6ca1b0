"""The changes of one zone of a service."""

import pytest

from artemis import Instance, InstanceChange
from artemis.cli.zones import ZoneView, in_zone


def change(kind: str, zone: str, name: str = "i") -> InstanceChange:
    """Build a change of an instance in a zone."""
    instance = Instance(region_id="r", zone_id=zone, service_id="s", instance_id=name, url="http://x")
    return InstanceChange(kind, instance, 7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("zone", "asked", "expected"), [("z1", "", True), ("z1", " Z1", True), ("z1", "z2", False), (None, "z", False)]
)
def test_a_blank_zone_means_all(zone: str | None, asked: str, *, expected: bool) -> None:
    """Letter case and space do not matter."""
    assert in_zone(Instance(zone_id=zone), asked) == expected


def test_who_moves_in_is_new_and_who_moves_out_goes() -> None:
    """What never was in the zone is not mentioned."""
    view = ZoneView("z1")
    seen = [
        view.of(step)
        for step in (
            change("new", "z2"),
            change("change", "z1"),
            change("change", "Z1"),
            change("change", "z2"),
            change("delete", "z2"),
            change("new", "z1"),
            change("delete", "z1"),
        )
    ]
    assert [step and step.change_type for step in seen] == [None, "new", "change", "delete", None, "new", "delete"]


def test_without_a_zone_nothing_is_left_out() -> None:
    """Every change passes as it is."""
    steps = [change("new", "z1"), change("new", "z2", "j"), change("change", "z3"), change("delete", "z3")]
    view = ZoneView("")
    assert [view.of(step) for step in steps] == steps
