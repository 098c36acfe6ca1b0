"""The command line flags of a node, made from the settings model: a flag for every option of `ServeConfig`.

So a new option is written once, in the model, and is a flag, an environment variable and a key of the file at once.
Not here: what the options mean and which values they take (`config`).
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from artemis.server.config import ServeConfig
from artemis.server.option_words import option_range, word

_SCALARS = (bool, int, float, Path, str)


def with_serve_options(command: Callable[..., None]) -> None:
    """Give `command` a parameter for each option of `ServeConfig`, None where the flag is not given.

    The command takes them as further keyword arguments and keeps its own. What a value may be is checked by the model,
    so that a flag, a variable and a line of the file are refused in the same words.
    """
    named = inspect.signature(command, eval_str=True).parameters.values()
    own = [parameter for parameter in named if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
    parameters = [_parameter(name, field) for name, field in ServeConfig.model_fields.items()] + own
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    vars(command)["__signature__"] = inspect.Signature(parameters)


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    kind = _flag_type(field.annotation)
    names = [f"--{word(name, field)}"] if kind == list[str] else []
    # Numbers come as texts: the model reads them, and says what else there was in its own words.
    shown = f"<{kind.__name__}>" if kind in (int, float) else None
    taken = str if shown else kind
    annotation = Annotated[taken | None, typer.Option(*names, help=_help(field), metavar=shown)]  # type: ignore[valid-type]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _help(field: FieldInfo) -> str:
    facts = [option_range(field)] if option_range(field) else []
    default = field.get_default(call_default_factory=True)
    if default not in (None, (), [], {}, ""):
        facts.append(f"default: {_word(default)}")
    return f"{field.description} [{'; '.join(facts)}]" if facts else str(field.description)


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _flag_type(annotation: object) -> type | types.GenericAlias:
    """What a flag of this type takes: a scalar, or a list of texts for everything that holds several values."""
    origin = get_origin(annotation)
    if origin in {Union, types.UnionType}:
        return _flag_type(next(part for part in get_args(annotation) if part is not type(None)))
    if origin is Annotated:
        return _flag_type(get_args(annotation)[0])
    if origin is Literal:
        return str
    if isinstance(annotation, type) and issubclass(annotation, _SCALARS):
        return annotation
    return list[str]
