"""`artemis config`: show every option with where its value comes from, and convert the files of a Java node.

Needs artemis-registry[server], whose options these are; the rest of the command line does not load this module.
"""

from collections import Counter
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from artemis.cli import output
from artemis.cli.address import is_ip
from artemis.cli.calls import get
from artemis.cli.codes import USAGE
from artemis.cli.parameters import Json
from artemis.model.status import ConfigResponse
from artemis.server.config import ConfigError, ServeConfig, checked, load_config
from artemis.server.flags import with_serve_options
from artemis.server.java_import import Conversion, convert, toml
from artemis.server.java_properties import PropertiesError, read_properties
from artemis.server.option_words import word
from artemis.server.provenance import provenance, unknown_variables, value_text
from artemis.server.reload import LIVE_OPTIONS

_TOLD = 200
"""Lines of one outcome that are told; of more, their number."""

_SHOWN = 200

config = typer.Typer(
    help="Show the options of a node, or convert a Java node's.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def show(
    *,
    config: Annotated[Path | None, typer.Option(help="TOML file with options as keys.")] = None,
    server: Annotated[
        str, typer.Option("--server", metavar="URL", help="Show what this running node uses instead.")
    ] = "",
    json: Json = False,
    **flags: object,
) -> None:
    """Show every option of `artemis serve`: its value, where that comes from, its range and meaning.

    Takes the flags of `artemis serve`, its variables and its file, and shows what they come to.
    --json: {"options": [{"name", "value", "source", "place", "default", "range", "description", "live"}]}; with
    --server {"server", "options": [{"name", "value", "source"}]}.
    """
    if server:
        _show_running(server, json=json)
        return
    try:
        settings = load_config(config, flags)
    except ConfigError as error:
        output.say(f"artemis config show: {error}")
        raise typer.Exit(USAGE) from None
    options = provenance(settings, LIVE_OPTIONS)
    if json:
        output.print_json({"options": options})
    else:
        rows = [
            (
                option.name,
                value_text(option.value),
                option.place or option.source,
                "live" if option.live else "restart",
                f"{option.description} [{option.range}]" if option.range else option.description,
            )
            for option in options
        ]
        output.rows_table(("OPTION", "VALUE", "FROM", "CHANGES", "MEANING"), rows, prose=True)
    for sentence in unknown_variables():
        output.say(sentence)


def _show_running(server: str, *, json: bool) -> None:
    answer = get(server, "status/config.json", ConfigResponse)
    sources = answer.property_sources or {}
    rows = [
        (key, _value(text or ""), sources.get(key) or "") for key, text in sorted((answer.properties or {}).items())
    ]
    if json:
        options = [{"name": name, "value": value, "source": source} for name, value, source in rows]
        output.print_json({"server": server, "options": options})
    else:
        output.rows_table(("OPTION", "VALUE", "FROM"), rows)


def _value(text: str) -> str:
    """Take the value out of the original's text form, `{ key: K, value: V, typedValue: V }` (spec 2.4)."""
    _, _, rest = text.partition(", value: ")
    value, found, _ = rest.rpartition(", typedValue: ")
    return value if found else text


def import_properties(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="artemis.properties of a Java node.")],
    *,
    to: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write the options there, not to standard output.")
    ] = None,
    ip: Annotated[str, typer.Option("--ip", metavar="ADDRESS", help="The host: its `key.ADDRESS` beats `key`.")] = "",
    deployment: Annotated[
        Path | None, typer.Option("--deployment", metavar="FILE", help="Its app.properties or application.properties.")
    ] = None,
    json: Json = False,
) -> None:
    """Convert a Java node's properties into a file for `artemis serve --config`, and tell what became of each line.

    By the rules of the original: a blank and a 0 are no value, numbers out of range are moved into it.
    --json: {"options", "notes": [{"outcome", "key", "value", "option", "why"}], "differences", "toml"}.
    """
    if ip and not is_ip(ip):
        raise typer.BadParameter(f"{ip!r} is not an IP address", param_hint="--ip")
    defaults = {name: field.get_default(call_default_factory=True) for name, field in ServeConfig.model_fields.items()}
    try:
        conversion = convert(_read(file), defaults, ip, None if deployment is None else _read(deployment))
        text = toml(conversion.options, conversion.notes, conversion.differences)
        _check(conversion, file)
        if to is not None:
            to.write_text(text, encoding="utf-8")
    except (ConfigError, PropertiesError) as error:
        output.say(f"artemis config import: {error}")
        raise typer.Exit(USAGE) from None
    except OSError as error:
        output.say(f"artemis config import: cannot write {to}: {error.strerror}")
        raise typer.Exit(USAGE) from None
    if json:
        output.print_json({**_spelt(conversion), "toml": text})
        return
    if to is None:
        typer.echo(text, nl=False)
    _report(conversion)


def _read(file: Path) -> dict[str, str]:
    try:
        return read_properties(file.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except PropertiesError as error:
        raise PropertiesError(f"{file}: {error}") from error


def _check(conversion: Conversion, file: Path) -> None:
    """Raise ConfigError when a node would refuse the options, such as a region with a space in it."""
    places = {note.option: f"{note.key} in {file}" for note in conversion.notes if note.option in conversion.options}
    checked(conversion.options, places)


def _spelt(conversion: Conversion) -> dict[str, object]:
    """Return a conversion as a document, options spelt as everywhere."""
    return {
        "options": {word(name): value for name, value in conversion.options.items()},
        "notes": [msgspec.structs.replace(note, option=word(note.option)) for note in conversion.notes],
        "differences": [msgspec.structs.replace(one, option=word(one.option)) for one in conversion.differences],
    }


def _report(conversion: Conversion) -> None:
    lines = []
    told: Counter[str] = Counter()
    for note in conversion.notes:
        told[note.outcome] += 1
        if told[note.outcome] > _TOLD:
            continue
        option = f" -> {word(note.option)}" if note.option else ""
        why = f": {_cut(note.why)}" if note.why else ""
        lines.append(f"{note.outcome:<15} {_cut(note.key)} = {_cut(note.value)}{option}{why}")
    lines += [f"{outcome:<15} and {count - _TOLD} more" for outcome, count in told.items() if count > _TOLD]
    for found in conversion.differences:
        how = "is written as" if found.written else f"is {found.ours};"
        theirs = f"without {found.key} the original has"
        lines.append(
            f"{'other default':<15} {word(found.option)} {how} "
            + (
                f"{found.theirs}, as {theirs} it; here it is {found.ours}"
                if found.written
                else f"{theirs} {found.theirs}"
            )
        )
    if lines:
        output.say("\n".join(output.plain(line) for line in lines))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


with_serve_options(show)
config.command("show")(show)
config.command("import")(import_properties)
