"""The keys of a bucket: names of instances, decisions and nodes as subjects of the engine, and back (design 4.1).

Each name is the base32 of its UTF-8 in lower case, so that no name can be a wildcard or an empty part. One too long for
a subject is named by its hash; the value of the entry says it in full. Not here: what values hold (`entries`).
"""

from __future__ import annotations

import re
from base64 import b32decode, b32encode
from hashlib import blake2b
from typing import Literal

import msgspec

Kind = Literal["i", "o", "m"]
"""Records of instances, decisions of operators, and what nodes say of themselves."""

MOST_BYTES = 384
"""Bytes of UTF-8 of a name that is spelt out: four of them are 2 500 characters, and a subject may have 4 000."""

MOST_CHARACTERS = 4 * (MOST_BYTES * 8 // 5 + 2) + 8
"""Characters of a key at most."""

_KINDS: dict[str, tuple[Kind, int]] = {"i": ("i", 2), "o": ("o", 4), "m": ("m", 1)}
"""What keys begin with, and how many names follow."""

_EMPTY, _HASHED = "0", "1"
_SPELT = re.compile(r"[a-z2-7]+|0|1[a-z2-7]{52}")


class BadKey(ValueError):  # noqa: N818 - what it is, in the words of the log
    """It is no key that a node makes; the text says why."""


class Names(msgspec.Struct, frozen=True):
    """What a key names: service and instance; region, service, target and operation; or a node. None where only a hash
    is there."""

    kind: Kind
    names: tuple[str | None, ...]


def instance_key(service: str, instance: str) -> str:
    """Return the key of an instance, ids in lower case."""
    return f"i.{_spelt(service)}.{_spelt(instance)}"


def operation_key(region: str, service: str, target: str, operation: str) -> str:
    """Return the key of a decision, whatever the letter case; of one about a server `service` is empty."""
    return ".".join(("o", *(_spelt(name.lower()) for name in (region, service, target, operation))))


def member_key(node: str) -> str:
    """Return the key of what a node says of itself."""
    return f"m.{_spelt(node)}"


def read_key(key: str) -> Names:
    """Return what a key names. Raises BadKey."""
    if len(key) > MOST_CHARACTERS:
        raise BadKey(f"a key has {MOST_CHARACTERS} characters at most, not {len(key)}")
    first, *parts = key.split(".")
    kind, count = _KINDS.get(first, ("i", 0))
    if len(parts) != count or not count:
        raise BadKey("it is neither of an instance, nor of a decision, nor of a node")
    return Names(kind, tuple(map(_name, parts)))


def _spelt(name: str) -> str:
    if not name:
        return _EMPTY
    data = name.encode("utf-8", "surrogatepass")
    if len(data) > MOST_BYTES:
        return _HASHED + _base32(blake2b(data, digest_size=32).digest())
    return _base32(data)


def _name(part: str) -> str | None:
    if _SPELT.fullmatch(part) is None:
        raise BadKey("a part of it is no base32 in lower case")
    if part == _EMPTY:
        return ""
    if part[0] == _HASHED:
        return None
    try:
        name = b32decode(part.upper() + "=" * (-len(part) % 8)).decode("utf-8", "surrogatepass")
    except ValueError as error:
        raise BadKey(f"a part of it is no name: {error}") from error
    if _spelt(name) != part:
        raise BadKey("a part of it is spelt otherwise than a node would")
    return name


def _base32(data: bytes) -> str:
    return b32encode(data).decode().rstrip("=").lower()
