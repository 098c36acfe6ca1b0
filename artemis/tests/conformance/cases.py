"""The table of cases: what a node answers, said once for all doors.

A case is an operation, a request, what is done before and the part of the answer that the specification states.
`cases_registry`, `cases_discovery`, `cases_cluster` and `cases_management` hold the rows; this module has their words.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec
from machines import Machine
from matching import Exactly

from artemis.model import Instance
from artemis.server.app import NodeServer
from artemis.server.clock import now_ms

Json = dict[str, object]
Request = object
"""An object, a `Raw` value, or a function of the answers so far that makes either."""


class Call(NamedTuple):
    """An operation that is called before the one in question."""

    path: str
    request: Request


class Case(NamedTuple):
    """One row. `spec` is the section that says so; `options` are those of the node; `prepare` is done to it first."""

    name: str
    spec: str
    path: str
    request: Request
    expected: object
    before: tuple[Call, ...] = ()
    options: Json = {}  # noqa: RUF012 - never changed
    prepare: Callable[[NodeServer], object] | None = None
    websocket: bool = True
    """Whether it holds over WebSocket too, where the operation exists there."""

    untouched: bool = False
    """Whether what was removed in cases before would matter."""

    @property
    def one_process(self) -> str:
        """Why it is about one process only, empty when it is not."""
        return "nobody is sent to a worker that drains" if self.prepare is drained else ""


SUCCESS = Exactly({"errorCode": "success", "message": "", "status": "success"})
PARTIAL = Exactly({"errorCode": "partial_fail", "message": "", "status": "partial_fail"})
FIELDS = (
    "groupId",
    "healthCheckUrl",
    "instanceId",
    "ip",
    "machineName",
    "metadata",
    "port",
    "protocol",
    "regionId",
    "serviceId",
    "status",
    "url",
    "zoneId",
)

REGISTER = "registry/register.json"
HEARTBEAT = "registry/heartbeat.json"
UNREGISTER = "registry/unregister.json"
LOOKUP = "discovery/lookup.json"
SERVICE = "discovery/service.json"
SERVICES = "discovery/services.json"
DELTA = "discovery/services-delta.json"


def fail(code: str, message: object) -> Json:
    """The status of a failure."""
    return {"errorCode": code, "message": message, "status": "fail"}


def instance(number: int = 7, **changes: object) -> Json:
    """An instance as a client sends it."""
    address = f"10.0.{number >> 8}.{number & 255}"
    return {
        "regionId": "r1",
        "zoneId": "z1",
        "serviceId": "demo.orders",
        "instanceId": address,
        "ip": address,
        "port": 8080,
        "url": f"http://{address}:8080/orders",
        "status": "up",
        **changes,
    }


def shown(number: int = 7, **changes: object) -> Exactly:
    """The same as an answer shows it: every field, nulls included."""
    return Exactly(dict.fromkeys(FIELDS) | instance(number, **changes))


def instances(*values: object) -> Json:
    """The request of a registry operation."""
    return {"instances": list(values)}


def lookup(*service_ids: str, **changes: object) -> Json:
    """A lookup of some services."""
    configs = [{"serviceId": service_id} for service_id in service_ids]
    return {"discoveryConfigs": configs, "regionId": "r1", "zoneId": "z1", **changes}


def service(service_id: str, **changes: object) -> Json:
    """A request for one service."""
    return {"discoveryConfig": {"serviceId": service_id}, "regionId": "r1", "zoneId": "z1", **changes}


def registered(*values: object) -> Call:
    """Instances that are registered before."""
    return Call(REGISTER, instances(*(values or (instance(),))))


def drained(server: NodeServer) -> None:
    """The node is down."""
    server.node.drain(now_ms())


def hold(server: NodeServer | Machine, value: Json) -> None:
    """An instance that the node has before anything is asked."""
    if isinstance(server, Machine):
        server.ask(REGISTER, instances(value))
        return
    server.node.registry.register(msgspec.convert(value, Instance), now_ms())
