"""The options of a node in words: what each is called, what it takes, and what is wrong with a value of it.

Not here: which options there are and what they mean (`config`). Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

_SHOWN = 80


def word(name: str, field: FieldInfo | None = None) -> str:
    """Return an option as flags and files spell it; a list may have a word of its own, as `filter` for `filters`."""
    extra = field.json_schema_extra if field is not None else None
    own = extra.get("word") if isinstance(extra, dict) else None
    return str(own) if own else name.replace("_", "-")


def option_range(field: FieldInfo) -> str:
    """The values an option takes, as text: `1..3600`, `at least 1`, `console, json`; empty where any will do."""
    choices = _choices(field.annotation)
    if choices:
        return ", ".join(choices)
    low, high = _bounds(field)
    if low is not None and high is not None:
        return f"{low}..{high}"
    if low is not None:
        return f"at least {low}"
    return "" if high is None else f"at most {high}"


def nearest(wrong: str, words: Iterable[str]) -> str:
    """Return a question for what was most likely meant, to be appended; empty when nothing is near."""
    found = get_close_matches(wrong, list(words), n=1, cutoff=0.6)
    return f"; did you mean {found[0]}?" if found else ""


def complaints(error: ValidationError, fields: Mapping[str, FieldInfo], places: Mapping[str, str]) -> str:
    """Say what is wrong with which options, each by its entry in `places`: the flag, variable or line that gives it."""
    lines = []
    for item in error.errors():
        name = str(item["loc"][0]) if item["loc"] else ""
        cause = item.get("ctx", {}).get("error")
        if not name:
            lines.append(_of_several(str(cause or item["msg"]), places))
            continue
        where = places.get(name, word(name, fields.get(name)))
        field = fields.get(name)
        if field is None:
            words = [known for each, known_field in fields.items() for known in {word(each), word(each, known_field)}]
            lines.append(f"{where}: is not an option{nearest(word(name), words)}")
        elif cause is None:
            lines.append(f"{where}: must be {_taken(field)}, not {_cut(item['input'])}")
        else:
            got = f", not {_cut(item['input'])}" if str(cause).startswith("must ") else ""
            lines.append(f"{where}: {cause}{got}")
    return "; ".join(lines)


def _of_several(text: str, places: Mapping[str, str]) -> str:
    """Name the place of an option that does not fit to others; the text begins with its name."""
    name, colon, rest = text.partition(": ")
    return f"{places.get(name.replace('-', '_'), name)}{colon}{rest}"


def _taken(field: FieldInfo) -> str:
    """Say what an option takes, as the end of a sentence: `a number from 1 to 604800`."""
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "takes" in extra:
        return str(extra["takes"])
    choices = _choices(field.annotation)
    if choices:
        return f"one of {', '.join(choices)}"
    kinds = {field.annotation, *get_args(field.annotation)}
    if bool in kinds:
        return "true or false"
    if kinds & {int, float}:
        low, high = _bounds(field)
        kind = "a whole number" if int in kinds else "a number"
        if low is not None and high is not None:
            return f"{kind} from {low} to {high}"
        return kind if low is None else f"{kind} of at least {low}"
    if str in kinds and get_origin(field.annotation) is not tuple:
        return "text"
    return "a path" if Path in kinds else "texts, separated by commas or as a list"


def refuse_truth(value: object, field: FieldInfo) -> object:
    """Return a value, unless it is true or false for an option that takes a number: no 1 or 0 is meant by that."""
    kinds = {field.annotation, *get_args(field.annotation)}
    if isinstance(value, bool) and bool not in kinds and kinds & {int, float}:
        raise PydanticCustomError("number", "must be a number")
    return value


def _bounds(field: FieldInfo) -> tuple[object, object]:
    low = next((rule.ge for rule in field.metadata if getattr(rule, "ge", None) is not None), None)
    high = next((rule.le for rule in field.metadata if getattr(rule, "le", None) is not None), None)
    return low, high


def _choices(annotation: object) -> list[str]:
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    return [choice for part in get_args(annotation) for choice in _choices(part)]


def _cut(value: object) -> str:
    text = repr(value).lower() if isinstance(value, bool) else repr(value)  # as files spell it
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def separated(value: object) -> object:
    """Return the words of a text with commas, or of a list of such texts, without empty ones; other values as they are,
    for the type's own check to refuse."""
    texts = value.split(",") if isinstance(value, str) else value
    if not isinstance(texts, list | tuple):
        return value
    return tuple(word.strip() for text in texts for word in str(text).split(",") if word.strip())
