"""Where the values of options come from."""

from pathlib import Path

import pytest

from artemis.server.config import ConfigError, ServeConfig, load_config
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
    with pytest.raises(ConfigError, match="heartbeat-interval"):
        load_config(None, {})


def test_misspelt_variables_are_found():
    """Those that begin like options and are none."""
    environment = {"ARTEMIS_SERVE_LEASE_TTL": "1", "ARTEMIS_SERVE_LEESE_TTL": "1", "ARTEMIS_PORT": "tcp://x"}
    assert ["ARTEMIS_SERVE_LEESE_TTL"] == unknown_variables(environment)
