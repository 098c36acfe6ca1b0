"""Options of a node that shows other regions: how they are written, and what is refused."""

from pathlib import Path

import pytest

from artemis.server.config import ConfigError, ServeConfig, load_config
from artemis.server.provenance import shown_settings

TWO = {"eu": ("http://a:80", "http://b:8080"), "asia": ("https://c:443/x",)}


@pytest.mark.parametrize(
    "value",
    [
        "eu=http://a,http://b:8080,asia=https://c/x",
        ["eu=http://a,http://b:8080", "asia=https://c/x/"],
        {"eu": ["http://a", "http://b:8080"], "asia": "https://c/x"},
        " eu = http://a , http://b:8080 , asia = https://c/x ",
    ],
)
def test_regions_are_a_text_a_list_or_a_table(value: object) -> None:
    """As a flag, a variable or a file has them."""
    assert ServeConfig(federate=value).federate == TWO


def test_a_file_and_flags_name_regions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flag wins over the variable, that over the file."""
    file = tmp_path / "node.toml"
    file.write_text('[federate]\neu = ["http://a", "http://b:8080"]\nasia = "https://c/x"\n')
    assert load_config(file, {}).federate == TWO
    monkeypatch.setenv("ARTEMIS_SERVE_FEDERATE", "us=http://d")
    assert load_config(file, {}).federate == {"us": ("http://d:80",)}
    found = load_config(file, {"federate": ["eu=http://e", "asia=http://f"]})
    assert found.federate == {"eu": ("http://e:80",), "asia": ("http://f:80",)}
    assert shown_settings(found, "http://me")["federate"].value == "eu=http://e:80, asia=http://f:80"


def test_there_are_none_by_default() -> None:
    """Showing other regions is off."""
    assert ServeConfig().federate == {}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("local=http://a", "the region of this node itself"),
        ("LOCAL=http://a", "the region of this node itself"),
        ("http://a", "must look like REGION=http://HOST:PORT"),
        ("eu", "must look like REGION=http://HOST:PORT"),
        ("eu=", "eu has no URL"),
        ("=http://a", "is no name of a region"),
        ("e u=http://a", "is no name of a region"),
        ("eu=ftp://a", "does not look like http://HOST:PORT"),
        ("eu=http://user:secret@a", "without a user name and a password"),
        ("eu=http://a,EU=http://b", "EU is there twice"),
        ("eu=http://a,us=http://A:80/", "is given for eu and for us"),
        ({"eu": 7}, "must look like REGION=http://HOST:PORT"),
        ({f"r{number}": f"http://h{number}" for number in range(17)}, "must be 16 regions at most"),
        ({"eu": [f"http://h{number}" for number in range(65)]}, "must have 64 URLs at most"),
    ],
)
def test_what_is_wrong_is_said(value: object, why: str) -> None:
    """In a sentence, before the node does anything."""
    with pytest.raises(ConfigError, match=why):
        load_config(None, {"federate": value})


def test_a_ca_file_must_be_readable(tmp_path: Path) -> None:
    """It is looked at before the node starts, also whether it has certificates."""
    empty = tmp_path / "empty.pem"
    empty.touch()
    for file, words in ((tmp_path / "none.pem", "cannot read"), (tmp_path, "cannot read"), (empty, "no certificates")):
        with pytest.raises(ConfigError, match=f"federate-ca-file: .*{words}"):
            load_config(None, {"federate": "eu=https://a", "federate_ca_file": file})
