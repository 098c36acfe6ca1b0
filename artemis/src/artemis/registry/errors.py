"""Why the registry refuses an instance.

    RegistryError
    |-- InvalidInstance      a field that must be filled is blank
    |-- IdTooLong            an id has more characters than the registry takes
    |-- WrongRegion          the instance belongs to another region
    |-- TooManyInstances     the registry is full
    `-- InstanceTooLarge     the instance is larger than the registry takes

Each concerns one instance; others of the same request are not affected.
Not here: malformed bodies (`artemis.model.MalformedBody`) and outcomes that are no errors, such as an unknown lease.
"""


class RegistryError(Exception):
    """One instance was refused; the registry is unchanged."""


class InvalidInstance(RegistryError):  # noqa: N818 - words of the domain
    """A required field is null or blank (spec 1.3). The text is the original's."""

    def __init__(self, field: str) -> None:
        super().__init__(f"argument instance.{field} is null or whitespace")
        self.field = field


class IdTooLong(RegistryError):  # noqa: N818
    """An id is longer than the registry takes. Ids travel in every push, which Java clients take up to 8 KiB of."""

    def __init__(self, field: str, length: int, limit: int) -> None:
        super().__init__(f"instance.{field} has {length} characters, the most this node takes is {limit}")
        self.field = field
        self.length = length
        self.limit = limit


class WrongRegion(RegistryError):  # noqa: N818
    """The instance names another region than the registry's (spec 6.5). Register it with a node of its region."""

    def __init__(self, region: str, expected: str) -> None:
        super().__init__(f"region {region!r} is not the region {expected!r} of this node")
        self.region = region


class TooManyInstances(RegistryError):  # noqa: N818
    """The registry holds as many instances as it may. Raise the limit or unregister some."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the registry is full: it holds {limit} instances, the most it may")
        self.limit = limit


class InstanceTooLarge(RegistryError):  # noqa: N818
    """The instance's JSON is larger than the registry takes. Shorten its metadata."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"the instance has {size} bytes of JSON, the most this node takes is {limit}")
        self.size = size
        self.limit = limit
