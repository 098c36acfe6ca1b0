"""JSON as Jackson writes it for the v1 SDK (spec 1.1): properties in alphabetical order, nulls written.

Not here: reading, which needs no rules: the SDK ignores what it does not know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeAlias

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"
Bean: TypeAlias = "dict[str, Json]"

_INSTANCE: Bean = {
    "groupId": None,
    "healthCheckUrl": None,
    "instanceId": None,
    "ip": None,
    "machineName": None,
    "metadata": None,
    "port": 0,
    "protocol": None,
    "regionId": None,
    "serviceId": None,
    "status": None,
    "url": None,
    "zoneId": None,
}


def jackson(value: Json) -> bytes:
    """JSON without blanks; objects keep their order: that of a map as it is, that of a bean as `instance` made it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def parse(data: bytes) -> Bean:
    """An object; what is no JSON object is an empty one."""
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def instance(values: Mapping[str, Json]) -> Bean:
    """An Instance (spec 1.3) with all its properties; unknown names fall away, as they do in Java."""
    return {name: values.get(name, default) for name, default in _INSTANCE.items()}


def discovery_config(service_id: str, region_id: str | None = None, zone_id: str | None = None) -> Bean:
    """A DiscoveryConfig (spec 1.4)."""
    return {"discoveryData": None, "regionId": region_id, "serviceId": service_id, "zoneId": zone_id}


def child(value: Json, name: str) -> Bean:
    """The object under `name`, an empty one when there is none."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def children(value: Json, name: str) -> list[Bean]:
    """The objects of the list under `name`, none when there is no list."""
    found = value.get(name) if isinstance(value, dict) else None
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def instance_key(value: Bean) -> tuple[str, str, str]:
    """The identity of an instance (spec 1.3)."""
    return (_lower(value, "regionId"), _lower(value, "serviceId"), _lower(value, "instanceId"))


def _lower(value: Bean, name: str) -> str:
    text = value.get(name)
    return text.lower() if isinstance(text, str) else ""
