"""Answers of registry, discovery and status operations, and the status that each carries (spec 1.2, 2).

Not here: the joined answers of the hot path; see `artemis.discovery.answers`, which write the same bytes.
"""

import msgspec

from artemis.model.instances import Instance
from artemis.model.nodes import ServiceNodeStatus
from artemis.model.services import Service
from artemis.model.wire import Int64, WireStruct


class ResponseStatus(msgspec.Struct, kw_only=True, gc=False, rename="camel", forbid_unknown_fields=True, frozen=True):
    """Outcome of an operation (spec 1.2). `status` is `success`, `fail` or `partial_fail`; `message` is for people."""

    error_code: str | None = None
    message: str | None = None
    status: str | None = None

    @property
    def ok(self) -> bool:
        """Tell whether the whole operation succeeded."""
        return self.status == "success"


UNSTATED = ResponseStatus()
SUCCESS = ResponseStatus(status="success", message="", error_code="success")
PARTIAL_FAIL = ResponseStatus(status="partial_fail", message="", error_code="partial_fail")

BAD_REQUEST = "bad-request"
NO_PERMISSION = "no-permission"
DATA_NOT_FOUND = "data-not-found"
INTERNAL_SERVICE_ERROR = "internal-service-error"
RATE_LIMITED = "rate-limited"
SERVICE_UNAVAILABLE = "service-unavailable"


def failure(error_code: str, message: str) -> ResponseStatus:
    """Return the status `fail` with one of the error codes of spec 1.2 and a message for people."""
    return ResponseStatus(status="fail", error_code=error_code, message=message)


class FailedInstance(WireStruct, kw_only=True):
    """An instance of the request that was not served, whole, with the reason (spec 1.4, 0.4)."""

    error_code: str | None = None
    error_message: str | None = None
    instance: Instance | None = None


class RegistryResponse(WireStruct, kw_only=True):
    """Answer of register, heartbeat and unregister (spec 2.1). `failed_instances` is null when none failed.

    `versions` is an addition, for those who name versions and not the right ones: that of each instance, in the order
    of the request, empty for those that failed. Without it all are as they were named.
    """

    failed_instances: list[FailedInstance | None] | None = None
    response_status: ResponseStatus = UNSTATED
    versions: list[str] | msgspec.UnsetType = msgspec.UNSET


class LookupResponse(WireStruct, kw_only=True):
    """Answer of lookup (spec 2.2): services in the order of the request; null when the request failed."""

    response_status: ResponseStatus = UNSTATED
    services: list[Service | None] | None = None


class ServiceResponse(WireStruct, kw_only=True):
    """Answer of service (spec 2.2)."""

    response_status: ResponseStatus = UNSTATED
    service: Service | None = None


class ServicesResponse(WireStruct, kw_only=True):
    """Answer of services (spec 2.2): every service with live instances. `version` grows with each visible change."""

    response_status: ResponseStatus = UNSTATED
    services: list[Service | None] | None = None
    version: Int64 = 0


class NodeStatusResponse(WireStruct, kw_only=True):
    """Answer of the node status (spec 2.4)."""

    node_status: ServiceNodeStatus | None = None
    response_status: ResponseStatus = UNSTATED
