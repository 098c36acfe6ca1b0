"""Every option of a node with its value and where that comes from: what `artemis config show` and config.json tell.

Not here: the options themselves (`config`), and how they change while a node runs (`reload`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from artemis.server.config import ServeConfig
from artemis.server.flags import option_range

PRIORITY = {"flag": 0, "environment": 1, "file": 2, "derived": 3, "default": 4}
"""The kinds of place a value can come from, the strongest first: what config.json calls sources (spec 2.4)."""

Value = str | int | float | bool | list[str] | dict[str, int] | None


class Setting(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One option: `name` as in a file or flag, `value` in effect, in the units of the description.

    `source` is a key of `PRIORITY`, `place` the flag, variable or file that says so, empty for derived and default
    values. `range` is text, empty where any value will do. `live`: a running node takes a change of it from its file.
    """

    name: str
    value: Value
    source: str
    place: str
    default: Value
    range: str
    description: str
    live: bool


def provenance(settings: ServeConfig, live: frozenset[str], url: str | None = None) -> list[Setting]:
    """All options in the order of the model; `live` names those that reload, `url` is what a running node announces."""
    derived: dict[str, Value] = {
        "heartbeat_interval": settings.expected_heartbeat,
        "tombstone_lifetime": settings.record_lifetime,
        "self_url": url,
    }
    found = []
    for name, field in ServeConfig.model_fields.items():
        given = settings.given.get(name)
        value = _plain(getattr(settings, name))
        source: str = given.source if given else "default"
        place = given.place if given else ""
        if given is None and name in settings.model_fields_set:
            source = "flag"
        if value is None and derived.get(name) is not None:
            value, source = derived[name], "derived"
        found.append(
            Setting(
                name=name.replace("_", "-"),
                value=value,
                source=source,
                place=place,
                default=_plain(field.get_default(call_default_factory=True)),
                range=option_range(field),
                description=field.description or "",
                live=name in live,
            )
        )
    return found


def properties(settings: ServeConfig, url: str) -> dict[str, tuple[str, str]]:
    """The options as text for config.json, sorted by name: name -> value, kind of source (spec 2.4)."""
    found = provenance(settings, frozenset(), url)
    return {setting.name: (value_text(setting.value), setting.source) for setting in sorted(found, key=_name)}


def unknown_variables(environment: Mapping[str, str] = os.environ) -> list[str]:
    """The variables that look like options and are none, so most likely misspelt."""
    prefix = ServeConfig.model_config.get("env_prefix", "")
    names = {f"{prefix}{name}".upper() for name in ServeConfig.model_fields}
    return sorted(name for name in environment if name.upper().startswith(prefix) and name.upper() not in names)


def value_text(value: Value) -> str:
    """A value as it would stand on a command line; `-` for none."""
    match value:
        case None:
            return "-"
        case bool():
            return "on" if value else "off"
        case float():
            return f"{value:g}"
        case list():
            return ", ".join(value) or "-"
        case dict():
            return ", ".join(f"{name}:{number}" for name, number in value.items()) or "-"
        case _:
            return str(value)


def _name(setting: Setting) -> str:
    return setting.name


def _plain(value: object) -> Value:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): int(number) for name, number in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [str(part) for part in value]
    return str(value)
