"""Every option of a node with its value and where that comes from: what `artemis config show` and config.json tell.

Not here: the options themselves (`config`), and how they change while a node runs (`reload`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from artemis.server.about import Setting, shown
from artemis.server.config import ServeConfig
from artemis.server.option_words import nearest, option_range, word

PRIORITY = {"flag": 4, "environment": 3, "file": 2, "derived": 1, "default": 0}
"""The kinds of place a value can come from, the highest number winning: what config.json calls sources (spec 2.4)."""

Value = str | int | float | bool | list[str] | dict[str, int] | dict[str, list[str]] | None


class Option(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
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


def provenance(settings: ServeConfig, live: frozenset[str], url: str | None = None) -> list[Option]:
    """All options in the order of the model; `live` names those that reload, `url` is what a running node announces."""
    derived: dict[str, Value] = {
        "heartbeat_interval": settings.expected_heartbeat,
        "tombstone_lifetime": settings.record_lifetime,
        "self_url": url,
        "peer_beat": settings.beat,
        "peer_grace": settings.grace,
        "peer_suspect": settings.suspicion,
        "peer_down": settings.given_up,
    }
    found = []
    for name, field in ServeConfig.model_fields.items():
        given = settings.given.get(name)
        value = _plain(getattr(settings, name))
        source: str = given.source if given else "default"
        place = given.place if given else ""
        if value is None and derived.get(name) is not None:
            value, source = derived[name], "derived"
        found.append(
            Option(
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


def shown_settings(settings: ServeConfig, url: str) -> dict[str, Setting]:
    """The options as config.json shows them, secrets masked (spec 2.4); `url` is what the node announces."""
    return {
        option.name: Setting(shown(option.name, value_text(option.value)), option.source)
        for option in provenance(settings, frozenset(), url)
    }


def unknown_variables(environment: Mapping[str, str] = os.environ) -> list[str]:
    """The variables that look like options and are none, so most likely misspelt; a sentence for each."""
    prefix = ServeConfig.model_config.get("env_prefix", "")
    words = {spelt for name, field in ServeConfig.model_fields.items() for spelt in (name, word(name, field))}
    names = {f"{prefix}{spelt.replace('-', '_')}".upper() for spelt in words}
    return [
        f"{name} is in the environment, but there is no such option{nearest(name.upper(), sorted(names))}"
        for name in sorted(environment)
        if name.upper().startswith(prefix) and name.upper() not in names
    ]


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
            return ", ".join(_entry(name, held) for name, held in value.items()) or "-"
        case _:
            return str(value)


def _entry(name: str, held: int | list[str]) -> str:
    return f"{name}={','.join(held)}" if isinstance(held, list) else f"{name}:{held}"


def _plain(value: object) -> Value:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        if any(isinstance(held, tuple) for held in value.values()):
            return {str(name): [str(part) for part in held] for name, held in value.items()}
        return {str(name): int(number) for name, number in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [str(part) for part in value]
    return str(value)
