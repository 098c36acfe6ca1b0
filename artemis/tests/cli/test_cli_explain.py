"""`artemis explain` and the pull-outs it tells of."""

import json
from collections.abc import Callable

import pytest
from typer.testing import Result

Run = Callable[..., Result]


@pytest.fixture
def service(run: Run, fresh_service: str) -> str:
    """A service with the instance `one`."""
    assert run("register", "--service", fresh_service, "--instance", "one", "--port", "81").exit_code == 0
    return fresh_service


def steps(text: str) -> dict[str, str]:
    """The mark of each step of a table."""
    return {line.split()[1]: line.split()[0] for line in text.splitlines()[1:]}


def test_a_visible_instance_is_explained_with_code_0(run: Run, service: str) -> None:
    """Every step has its mark and reason."""
    result = run("explain", service.upper(), "ONE")
    assert result.exit_code == 0
    assert set(steps(result.stdout).values()) == {"ok"}
    assert list(steps(result.stdout))[:3] == ["node", "region", "zone"]
    assert "is visible" in result.stderr
    document = json.loads(run("explain", service, "one", "--json").stdout)
    assert document["visible"] is True
    assert {"step", "ok", "why"} == set(document["steps"][0])


def test_one_that_is_not_there_ends_with_code_1(run: Run, service: str) -> None:
    """The step that fails says so, and the others are told all the same."""
    result = run("explain", service, "other")
    assert result.exit_code == 1
    assert steps(result.stdout)["registration"] == "NO"
    assert "not visible" in result.stderr
    assert run("explain", service, "other", "--json").exit_code == 1


def test_the_caller_can_be_of_another_region(run: Run, service: str) -> None:
    """Where it asks from decides."""
    result = run("explain", service, "one", "--region", "elsewhere")
    assert (result.exit_code, steps(result.stdout)["region"]) == (1, "NO")


def test_a_pull_out_hides_an_instance_until_the_last_one_ends(run: Run, service: str) -> None:
    """Whatever its owner does; explain names who and why, pullouts lists it."""
    assert run("pullout", service, "one", "--operation", "repair", "--operator", "ann").exit_code == 0
    assert run("pullout", service, "one").exit_code == 0
    assert run("instances", service).stdout == ""
    run("register", "--service", service, "--instance", "one", "--port", "81")
    assert run("instances", service).stdout == ""
    explained = run("explain", service, "one")
    assert (explained.exit_code, steps(explained.stdout)["operation"]) == (1, "NO")
    assert "repair" in explained.stdout
    assert f"{service}/one" in run("pullouts").stdout
    listed = json.loads(run("pullouts", "--json").stdout)["instances"]
    (ours,) = [found for found in listed if found["instanceKey"]["serviceId"] == service]
    assert sorted(ours["operations"]) == ["manual", "repair"]
    run("pullin", service, "one", "--operation", "repair")
    assert run("instances", service).stdout == ""
    run("pullin", service, "one")
    assert "one" in run("instances", service).stdout


def test_a_machine_can_be_pulled_out(run: Run, fresh_service: str) -> None:
    """All instances with its address."""
    run("register", "--service", fresh_service, "--instance", "one", "--ip", "10.77.0.1", "--port", "81")
    run("register", "--service", fresh_service, "--instance", "two", "--ip", "10.77.0.2", "--port", "81")
    assert run("pullout", "--ip", "10.77.0.1").exit_code == 0
    shown = run("instances", fresh_service).stdout
    assert ("one " in shown, "two " in shown) == (False, True)
    assert "all of 10.77.0.1" in run("pullouts").stdout
    run("pullin", "--ip", "10.77.0.1")
    assert "one " in run("instances", fresh_service).stdout


@pytest.mark.parametrize("arguments", [(), ("s",), ("s", "i", "--ip", "10.0.0.1"), (" ", "i")])
def test_what_to_pull_out_must_be_named(run: Run, arguments: tuple[str, ...]) -> None:
    """An instance or a machine."""
    result = run("pullout", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "SERVICE INSTANCE" in result.stderr
