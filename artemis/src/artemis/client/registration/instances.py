"""An instance as its owner describes it: checked at the border of the SDK, and completed with what can be derived.

Pure. Not here: its identity and its lease; see `artemis.client.registration.leases`.
"""

from __future__ import annotations

from typing import Final

import msgspec

from artemis.client.names import check_encodable, check_length
from artemis.model import Instance

UP: Final = "up"
"""The status of an instance that names none."""

_TEXTS: Final = (
    "group_id",
    "health_check_url",
    "instance_id",
    "ip",
    "machine_name",
    "protocol",
    "region_id",
    "service_id",
    "status",
    "url",
    "zone_id",
)

_IDS: Final = frozenset({"group_id", "instance_id", "region_id", "service_id", "zone_id"})


def needs_address(instance: Instance) -> bool:
    """Whether an address makes it whole: it has a port, and neither an ip nor a url."""
    return instance.port > 0 and not _given(instance.ip) and not _given(instance.url)


def completed(
    instance: Instance,
    *,
    region_id: str | None,
    zone_id: str | None,
    address: str | None = None,
    machine_name: str | None = None,
) -> Instance:
    """Return a copy with what can be derived filled in.

    Region and zone are the caller's, ``ip`` is ``address`` where it is needed (see `needs_address`), ``instance_id`` is
    derived as ``IP:PORT``, the url as ``PROTOCOL://IP:PORT`` with ``http`` for a missing protocol, and the status is
    ``up``. Values that are there stay. Raises ``ValueError`` naming the field that is out of range, longer than nodes
    take, not to be encoded, or missing and not to be derived, and ``TypeError`` naming the field of a wrong type.
    """
    check_instance(instance)
    _check_fields(instance)
    if not _given(instance.service_id):
        raise ValueError("an instance needs a service_id")
    region = instance.region_id if _given(instance.region_id) else region_id
    zone = instance.zone_id if _given(instance.zone_id) else zone_id
    if not _given(region) or not _given(zone):
        raise ValueError(
            "an instance needs a region_id and a zone_id: ArtemisClient(region_id=..., zone_id=...), the same as the "
            "node's --region and --zone (`artemis status` shows them), or its own"
        )
    ip = address if needs_address(instance) else instance.ip
    has_address = _given(ip) and instance.port > 0
    instance_id, url = instance.instance_id, instance.url
    if not _given(instance_id):
        if not has_address:
            raise ValueError("an instance needs an instance_id, or an ip and a port to derive it from")
        instance_id = f"{ip}:{instance.port}"
    if not _given(url):
        if not has_address:
            raise ValueError("an instance needs a url, or an ip and a port to derive it from")
        host = f"[{ip}]" if ":" in (ip or "") else ip
        url = f"{instance.protocol or 'http'}://{host}:{instance.port}"
    whole = msgspec.structs.replace(
        instance,
        region_id=region,
        zone_id=zone,
        ip=ip,
        instance_id=instance_id,
        url=url,
        status=instance.status if _given(instance.status) else UP,
        machine_name=instance.machine_name if _given(instance.machine_name) else machine_name,
    )
    _check_texts(whole)
    return whole


def check_instance(instance: object) -> None:
    """Raise ``TypeError`` that says what to do unless it is an `Instance`."""
    if isinstance(instance, list | tuple | set | frozenset):
        raise TypeError(
            f"instances are given one by one, not in a {type(instance).__name__}: registered(one, two) or "
            "registered(*instances)"
        )
    if not isinstance(instance, Instance):
        raise TypeError(f"what is registered is an artemis.Instance(service_id=...), not {instance!r}")


def _given(text: str | None) -> bool:
    return bool(text and text.strip())


def _check_fields(instance: Instance) -> None:
    # Structs take whatever their constructor is given; only decoding checks. A wrong field would fail later, elsewhere
    # or at the registry, and there for the whole message.
    for name in _TEXTS:
        value: object = getattr(instance, name)
        if value is not None and not isinstance(value, str):
            raise TypeError(f"an instance's {name} must be text or None, not {value!r}")
    port: object = instance.port
    if not isinstance(port, int) or isinstance(port, bool):
        raise TypeError(f"an instance's port must be a whole number, not {port!r}")
    if not 0 <= port <= 65535:
        raise ValueError(f"an instance's port must be from 0 (unknown) to 65535, not {port}")
    check_metadata(instance.metadata)


def _check_texts(instance: Instance) -> None:
    # One text that cannot be encoded would keep every message that it is part of from being sent.
    for name in _TEXTS:
        value: str | None = getattr(instance, name)
        if value is not None:
            check_encodable(f"an instance's {name}", value)
            if name in _IDS:
                check_length(f"an instance's {name}", value)


def check_metadata(metadata: object) -> None:
    """Raise ``TypeError`` unless it is None or maps text to text or None; ``ValueError`` for what UTF-8 cannot hold."""
    if metadata is None:
        return
    if not isinstance(metadata, dict):
        raise TypeError(f"an instance's metadata must be a dict or None, not {metadata!r}")
    for key, value in metadata.items():
        if not isinstance(key, str) or not (value is None or isinstance(value, str)):
            raise TypeError(f"an instance's metadata must map text to text, not {key!r} to {value!r}")
        check_encodable("a key of an instance's metadata", key)
        check_encodable(f"an instance's metadata[{key!r}]", value or "")
