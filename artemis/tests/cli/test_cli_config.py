"""`artemis config`: where options come from, and Java files converted into files that `artemis serve` takes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from artemis.server.config import load_config

Run = Callable[..., Result]

TTL = "artemis.service.registry.instance.lease-manager.lease.ttl"


@pytest.fixture
def java(tmp_path: Path) -> Path:
    """A Java node's file."""
    file = tmp_path / "artemis.properties"
    file.write_text(f"{TTL} = 5000\n{TTL}.10.0.0.7 = 40000\nartemis.trace.enabled = true\nno.such.key = 1\n")
    return file


def options(result: Result) -> dict[str, dict[str, object]]:
    """The options of `config show --json` by name."""
    assert result.exit_code == 0, result.stderr
    return {option["name"]: option for option in json.loads(result.stdout)["options"]}


def test_show_tells_values_and_where_they_come_from(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes what `artemis serve` takes."""
    file = tmp_path / "artemis.toml"
    file.write_text("lease-ttl = 30\n")
    monkeypatch.setenv("ARTEMIS_SERVE_ZONE", "zone-of-environment")
    monkeypatch.setenv("ARTEMIS_SERVE_ZOME", "misspelt")
    result = run("config", "show", "--config", str(file), "--region", "r9", "--json")
    found = options(result)
    assert (found["region"]["value"], found["region"]["place"]) == ("r9", "--region")
    assert (found["zone"]["value"], found["zone"]["place"]) == ("zone-of-environment", "ARTEMIS_SERVE_ZONE")
    assert (found["lease-ttl"]["value"], found["lease-ttl"]["place"]) == (30.0, str(file))
    assert (found["lease-ttl"]["live"], found["host"]["live"]) == (True, False)
    assert (found["heartbeat-interval"]["value"], found["heartbeat-interval"]["source"]) == (7.5, "derived")
    assert "ARTEMIS_SERVE_ZOME is in the environment, but there is no such option; did you mean" in result.stderr
    table = run("config", "show").stdout
    assert table.splitlines()[0].split() == ["OPTION", "VALUE", "FROM", "CHANGES", "MEANING"]


def test_show_of_a_bad_option_ends_with_code_2(run: Run) -> None:
    """In the words that `artemis serve` has for it."""
    result = run("config", "show", "--lease-ttl", "0")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "lease-ttl" in result.stderr


def test_show_asks_a_running_node(run: Run, cli_node_url: str) -> None:
    """What it really uses, and from what kind of place."""
    found = options(run("config", "show", "--server", cli_node_url, "--json"))
    assert (found["region"]["value"], found["region"]["source"]) == ("r", "flag")
    assert (found["self-preservation"]["value"], found["lease-ttl"]["source"]) == ("off", "default")
    assert "lease-ttl" in run("config", "show", "--server", cli_node_url).stdout


def test_import_writes_a_file_that_serve_takes(run: Run, java: Path, tmp_path: Path) -> None:
    """And tells what became of each line; code 0."""
    toml = tmp_path / "artemis.toml"
    deployment = tmp_path / "app.properties"
    deployment.write_text("region.id=SHA\nzone.id=z1\napp.port=9090\n")
    result = run("config", "import", str(java), "--output", str(toml), "--deployment", str(deployment))
    assert (result.exit_code, result.stdout) == (0, "")
    told = " ".join(result.stderr.split())
    assert f"clamped {TTL} = 5000 -> lease-ttl: the range is 10000..604800000, so it is 10000" in told
    assert f"other host {TTL}.10.0.0.7 = 40000: holds on 10.0.0.7 alone" in told
    assert "no counterpart artemis.trace.enabled = true: numbers are at /metrics" in told
    assert "unknown no.such.key = 1" in told
    assert "other default rate-limit-registry is 2000000" in told
    settings = load_config(toml, {})
    assert (settings.lease_ttl, settings.region, settings.port, settings.host) == (10.0, "SHA", 9090, "0.0.0.0")


def test_import_prints_the_file_without_output(run: Run, java: Path) -> None:
    """Each line with the key that it comes from; as JSON with everything else."""
    expected = f"lease-ttl = 40  # {TTL}.10.0.0.7\n"
    shown = run("config", "import", str(java), "--ip", "10.0.0.7").stdout
    assert shown.startswith(expected)
    document = json.loads(run("config", "import", str(java), "--ip", "10.0.0.7", "--json").stdout)
    shut = {"allow-registry-from-other-zone": False, "allow-discovery-from-other-zone": False}
    assert (document["options"], document["toml"]) == ({"lease-ttl": 40.0} | shut, shown)
    assert document["notes"][0]["option"] == "lease-ttl"
    assert [note["outcome"] for note in document["notes"]] == ["converted", "no counterpart", "unknown"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot read"),
        ("a=\\u12", "line 1: \\u must be followed by four"),
        ("region.id=two words", "region.id in "),
    ],
)
def test_import_of_a_bad_file_ends_with_code_2(run: Run, tmp_path: Path, content: str | None, complaint: str) -> None:
    """Nothing is written."""
    file, toml = tmp_path / "bad.properties", tmp_path / "artemis.toml"
    if content is not None:
        file.write_text(content)
    result = run("config", "import", str(file), "--output", str(toml))
    assert (result.exit_code, result.stdout, toml.exists()) == (2, "", False)
    assert complaint in result.stderr


def test_without_a_command_it_shows_what_there_is(run: Run) -> None:
    """Both commands."""
    shown = run("config", "--help").stdout
    assert "show" in shown
    assert "import" in shown


def test_import_of_very_many_unknown_keys_is_summed_up(run: Run, tmp_path: Path) -> None:
    """Nobody reads them."""
    file = tmp_path / "many.properties"
    file.write_text("".join(f"no.such.key{number} = 1\n" for number in range(5_000)))
    told = run("config", "import", str(file)).stderr
    assert "unknown         and 4800 more" in told
    assert told.count("no key of the original") == 200


def test_import_for_a_host_that_is_none_ends_with_code_2(run: Run, java: Path) -> None:
    """It would be written into the node's url."""
    result = run("config", "import", str(java), "--ip", "host\x7f")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "is not an IP address" in result.stderr
