"""Where the values of options come from."""

from pathlib import Path

import pytest
import typer

from artemis.server.config import ConfigError, ServeConfig, load_config
from artemis.server.flags import with_serve_options
from artemis.server.provenance import PRIORITY, Option, provenance, shown_settings, unknown_variables
from artemis.server.reload import LIVE_OPTIONS


def options(config: ServeConfig) -> dict[str, Option]:
    """The options by name."""
    return {option.name: option for option in provenance(config, LIVE_OPTIONS, "http://h:1")}


def test_each_value_says_where_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Flag, variable, file, derived or default; the stronger place wins and is the one that is named."""
    file = tmp_path / "a.toml"
    file.write_text('lease-ttl = 30\nzone = "from-file"\nregion = "from-file"\n')
    monkeypatch.setenv("ARTEMIS_SERVE_ZONE", "from-environment")
    monkeypatch.setenv("ARTEMIS_SERVE_REGION", "from-environment")
    found = options(load_config(file, {"region": "from-flag", "host": None}))
    assert ("from-flag", "flag", "--region") == (found["region"].value, found["region"].source, found["region"].place)
    assert ("environment", "ARTEMIS_SERVE_ZONE") == (found["zone"].source, found["zone"].place)
    assert ("file", str(file), 30.0) == (found["lease-ttl"].source, found["lease-ttl"].place, found["lease-ttl"].value)
    assert ("derived", 7.5) == (found["heartbeat-interval"].source, found["heartbeat-interval"].value)
    assert ("derived", "http://h:1") == (found["self-url"].source, found["self-url"].value)
    assert ("default", "", "127.0.0.1") == (found["host"].source, found["host"].place, found["host"].value)
    assert {option.source for option in found.values()} <= set(PRIORITY)


def test_every_option_is_there_with_range_meaning_and_liveness():
    """Nothing is left out."""
    found = options(ServeConfig())
    assert [name.replace("_", "-") for name in ServeConfig.model_fields] == list(found)
    assert "1..604800" == found["lease-ttl"].range
    assert "debug, info, warning, error" == found["log-level"].range
    assert (True, False) == (found["lease-ttl"].live, found["host"].live)
    assert all(option.description.endswith((".", "TTL/4.")) for option in found.values())


def test_settings_of_the_status_page_are_text():
    """As they would stand on a command line (spec 2.4)."""
    settings = shown_settings(ServeConfig(lease_ttl=12.5, self_preservation=False), "http://h:1")
    assert ("12.5", "flag") == (settings["lease-ttl"].value, settings["lease-ttl"].source)
    assert ("off", "flag") == (settings["self-preservation"].value, settings["self-preservation"].source)
    assert ("-", "default") == (settings["data-dir"].value, settings["data-dir"].source)


def test_options_of_file_and_environment_are_judged_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A variable that only fits together with a line of the file is no error."""
    file = tmp_path / "a.toml"
    file.write_text("lease-ttl = 60\nlegacy-lease-ttl = 60\n")
    monkeypatch.setenv("ARTEMIS_SERVE_HEARTBEAT_INTERVAL", "25")
    assert 25.0 == load_config(file, {}).expected_heartbeat
    with pytest.raises(ConfigError, match="ARTEMIS_SERVE_HEARTBEAT_INTERVAL: may be 10 at most"):
        load_config(None, {})


def test_misspelt_variables_are_found():
    """Those that begin like options and are none."""
    environment = {"ARTEMIS_SERVE_LEASE_TTL": "1", "ARTEMIS_SERVE_LEESE_TTL": "1", "ARTEMIS_PORT": "tcp://x"}
    (sentence,) = unknown_variables(environment)
    assert (
        "ARTEMIS_SERVE_LEESE_TTL is in the environment, but there is no such option; "
        "did you mean ARTEMIS_SERVE_LEASE_TTL?"
    ) == sentence
    assert [] == unknown_variables({"ARTEMIS_SERVE_FILTER": "status-up", "ARTEMIS_SERVE_FILTERS": "status-up"})


COMPLAINTS = [
    ("lease-ttl", "0", "must be a number from 1 to 604800, not {}"),
    ("workers", '"x"', "must be a whole number from 1 to 64, not {}"),
    ("lease-ttl", '"soon"', "must be a number from 1 to 604800, not {}"),
    ("port", "1.5", "must be a whole number from 0 to 65535, not {}"),
    ("max-instances", "0", "must be a whole number of at least 1, not {}"),
    ("self-preservation", '"maybe"', "must be true or false, not {}"),
    ("log-level", '"loud"', "must be one of debug, info, warning, error, not {}"),
    ("region", '"a b"', "must be 1 to 200 characters without blanks and / ; : ,, not {}"),
    ("self-url", '"nonsense"', "must look like http://host:port/, not {}"),
    ("rate-limit-registry", "5", "must be 0 (no limit) or at least 1000, not {}"),
    ("ws-blacklist-heartbeat", '"nobody"', "'nobody' does not appear to be an IPv4 or IPv6 address"),
    ("filter", '"statusup"', "there is no filter 'statusup'"),
]


@pytest.mark.parametrize(("key", "value", "says"), COMPLAINTS, ids=[f"{key}={value}" for key, value, _ in COMPLAINTS])
def test_what_is_wrong_is_said_with_its_place(
    key: str, value: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The line of the file, the variable or the flag; what it takes; what it was given. No words of a library."""
    file = tmp_path / "a.toml"
    file.write_text(f"{key} = {value}\n")
    text = value.strip('"')
    variable = f"ARTEMIS_SERVE_{key.replace('-', '_').upper()}"
    option = {"filter": "filters"}.get(key, key.replace("-", "_"))
    complaints = [refusal(file, {}), refusal(None, {option: text})]
    monkeypatch.setenv(variable, text)
    complaints.append(refusal(None, {}))
    for place, complaint in zip((f"{key} in {file}", f"--{key}", variable), complaints, strict=True):
        given = value.replace('"', "'") if place.startswith(f"{key} in") else repr(text)
        assert f"{place}: {says.format(given)}" in complaint
        for word in ("Value error", "Input should", "pydantic", "validation error"):
            assert word not in complaint


def refusal(file: Path | None, flags: dict[str, object]) -> str:
    """Why a configuration is refused."""
    with pytest.raises(ConfigError) as error:
        load_config(file, flags)
    return str(error.value)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("leese-ttl = 5", "leese-ttl in {}: is not an option; did you mean lease-ttl?"),
        ("leese_ttl = 5", "leese_ttl in {}: is not an option; did you mean lease-ttl?"),
        ("filtre = []", "filtre in {}: is not an option; did you mean filter?"),
        ("qqqqq = 1", "qqqqq in {}: is not an option"),
        ("lease-ttl = true", "lease-ttl in {}: must be a number from 1 to 604800, not true"),
        ("_env_prefix = 'X'", "_env_prefix in {}: is not an option"),
        ("filter = []\nfilters = []", "{}: filters is there twice, spelt in two ways"),
        (
            "lease-ttl = 4\nheartbeat-interval = 3",
            "heartbeat-interval in {}: may be 2 at most, half of the shortest TTL",
        ),
    ],
)
def test_names_that_are_none_and_values_that_do_not_fit_together_are_said(line: str, says: str, tmp_path: Path):
    """With what was most likely meant."""
    file = tmp_path / "a.toml"
    file.write_text(line)
    assert says.format(file) == refusal(file, {})


def test_a_list_may_be_spelt_as_its_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`filter` and `filters` are one option, in the file and in the environment."""
    file = tmp_path / "a.toml"
    for word in ("filter", "filters"):
        file.write_text(f'{word} = ["status-up"]\n')
        assert ("status-up",) == load_config(file, {}).filters
    for word in ("FILTER", "FILTERS"):
        with monkeypatch.context() as environment:
            environment.setenv(f"ARTEMIS_SERVE_{word}", "status-up")
            config = load_config(None, {})
            assert (("status-up",), f"ARTEMIS_SERVE_{word}") == (config.filters, config.given["filters"].place)
    assert "--filter" == load_config(None, {"filters": ["status-up"]}).given["filters"].place


def test_every_option_has_the_flag_of_its_name():
    """But for `--filter`, of which each names one."""

    def command(**flags: object) -> None: ...

    with_serve_options(command)
    app = typer.Typer()
    app.command()(command)
    flags = {parameter.name: parameter.opts[0] for parameter in typer.main.get_command(app).params}
    assert "--filter" == flags.pop("filters")
    assert "--ws-blacklist-discoveries" == flags["ws_blacklist_discoveries"]
    assert {name: f"--{name.replace('_', '-')}" for name in ServeConfig.model_fields if name in flags} == {
        name: flags[name] for name in ServeConfig.model_fields if name in flags
    }


@pytest.mark.parametrize(("key", "given"), [("workers", "true"), ("lease-ttl", "false"), ("cluster-replicas", "true")])
def test_true_and_false_are_no_numbers(key: str, given: str, tmp_path: Path):
    """They would count as 1 and 0."""
    file = tmp_path / "a.toml"
    file.write_text(f"{key} = {given}\n")
    assert refusal(file, {}).startswith(f"{key} in {file}: must be a ")
