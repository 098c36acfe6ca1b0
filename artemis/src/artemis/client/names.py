"""What makes two instances, or two services, the same one; and the check of names that come from outside. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from artemis.model import Instance

MAX_ID: Final = 1024
"""Characters of an id, in lower case, that nodes take."""

Key = tuple[str, str, str]
"""Region, service and instance id in lower case: what makes an instance the same one (spec 1.3)."""


def instance_key(instance: Instance) -> Key:
    """Return the identity of an instance; group, zone, address and metadata take no part in it."""
    return (
        (instance.region_id or "").lower(),
        (instance.service_id or "").lower(),
        (instance.instance_id or "").lower(),
    )


def service_key(service_id: str | None) -> str:
    """Return what makes a service the same one: its id in lower case, without surrounding space (spec 1.4)."""
    return (service_id or "").strip().lower()


def check_text(name: str, value: object) -> str:
    """Return ``value`` without surrounding space; ``TypeError`` if it is no text.

    ``ValueError`` if it is blank, longer than `MAX_ID`, or no text that UTF-8 can encode. All name the field.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text, not {value!r}")
    text = value.strip()
    if not text:
        raise ValueError(f"{name} must not be blank")
    check_encodable(name, text)
    check_length(name, text)
    return text


def check_length(name: str, text: str) -> None:
    """Raise ``ValueError`` naming the field if no node takes so long an id."""
    if len(text.lower()) > MAX_ID:
        raise ValueError(f"{name} must be at most {MAX_ID} characters long, not {len(text)}")


def check_encodable(name: str, text: str) -> None:
    """Raise ``ValueError`` naming the field if UTF-8 cannot encode the text: then no message can carry it."""
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start]
        raise ValueError(f"{name} holds {half!r}, half of a character, which UTF-8 cannot encode") from None
