"""An instance of a service, the thing that is registered (spec 1.3).

Not here: its identity and lease; see `artemis.registry`.
"""

from artemis.model.wire import Int32, WireStruct


class Instance(WireStruct, kw_only=True, frozen=True, repr_omit_defaults=True):  # type: ignore[misc]  # msgspec has no such rule
    """One running instance of a service, as its owner describes it (spec 1.3).

    `region_id`, `service_id`, `instance_id` identify it, in any letter case; these and `url` must not be blank when it
    is registered. `port` is 0 when unknown. `status` is free text that is stored and returned as given. `metadata` maps
    text to text; a non-blank entry `java_registry` selects the longer lease of old clients (spec 4.4).

    Attributes cannot be assigned, because the client hands out what it keeps; `msgspec.structs.replace(instance, ...)`
    makes another one. The same goes for the dict in `metadata`, which nothing but this sentence protects: leave it as
    it is. Instances are equal if all fields are, and can be members of sets and keys of dicts.
    """

    group_id: str | None = None
    health_check_url: str | None = None
    instance_id: str | None = None
    ip: str | None = None
    machine_name: str | None = None
    metadata: dict[str, str | None] | None = None
    port: Int32 = 0
    protocol: str | None = None
    region_id: str | None = None
    service_id: str | None = None
    status: str | None = None
    url: str | None = None
    zone_id: str | None = None

    def __hash__(self) -> int:
        # Only some of what equality looks at: a dict, as metadata, has no hash.
        return hash((self.region_id, self.service_id, self.instance_id))


def instance_text(instance: Instance) -> str:
    """Return the text form used in messages: `region/zone/service[/group]/instance` in lower case (spec 1.3).

    The group part appears only when it is not blank; other parts that are missing stay empty.
    """
    parts = [instance.region_id or "", instance.zone_id or "", instance.service_id or ""]
    if instance.group_id and not instance.group_id.isspace():
        parts.append(instance.group_id)
    parts.append(instance.instance_id or "")
    return "/".join(parts).lower()
