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
    assert run("pullin", service, "one", "--operation", "repair").exit_code == 1
    assert run("instances", service).stdout == ""
    assert run("pullin", service, "one").exit_code == 0
    assert "one" in run("instances", service).stdout


def test_a_pull_in_says_what_still_keeps_the_instance_out(run: Run, service: str) -> None:
    """Another name, or a name of the machine, with the command that ends it; or that there is nothing to end."""
    nothing = run("pullin", service, "one")
    assert (nothing.exit_code, f"{service}/one is not pulled out; there is nothing to end." in nothing.stderr) == (
        0,
        True,
    )
    run("pullout", service, "one", "--operation", "repair")
    other = run("pullin", service, "one")
    assert other.exit_code == 1
    assert f"{service}/one was not out by manual; it is still out by repair." in other.stderr
    assert f"End that with `artemis pullin {service} one --operation repair`." in other.stderr
    run("pullout", "--ip", "127.0.0.1", "--operation", "move")
    rest = run("pullin", service.upper(), "one", "--operation", "REPAIR")
    assert rest.exit_code == 1
    assert "but it is still out by move of its machine 127.0.0.1." in rest.stderr
    assert "End that with `artemis pullin --ip 127.0.0.1 --operation move`." in rest.stderr
    last = run("pullin", "--ip", "127.0.0.1", "--operation", "move")
    assert (last.exit_code, "Pulled in all of 127.0.0.1 (move)." in last.stderr) == (0, True)
    assert "one" in run("instances", service).stdout


def test_a_pull_out_of_nothing_is_recorded_and_says_so(run: Run, service: str) -> None:
    """The name may be misspelt, or the instance may come later."""
    result = run("pullout", service, "oen")
    assert (result.exit_code, "No such instance is registered now" in result.stderr) == (0, True)
    assert f"{service}/oen" in run("pullouts").stdout
    assert "No such instance" not in run("pullout", service, "ONE").stderr


def test_lists_say_what_is_only_pulled_out(run: Run, service: str) -> None:
    """An instance that is hidden is not one that is dead."""
    run("pullout", service, "one")
    alone = run("instances", service)
    assert (alone.exit_code, alone.stdout) == (0, "")
    assert (
        f"{service} has no instances that callers see: 1 instance is pulled out; see `artemis pullouts`."
        in alone.stderr
    )
    run("register", "--service", service, "--instance", "two", "--port", "82")
    beside = run("instances", service)
    assert "two" in beside.stdout
    assert "1 instance is pulled out; see `artemis pullouts`." in beside.stderr
    assert "pulled out or hidden otherwise; see `artemis pullouts`" in run("services").stderr
    run("pullin", service, "one")
    assert "pulled out" not in run("instances", service).stderr


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
