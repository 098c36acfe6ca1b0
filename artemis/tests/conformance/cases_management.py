"""Operations on instances and servers (spec 2.6, 8.2, 8.3)."""

from cases import (
    LOOKUP,
    SERVICES,
    SUCCESS,
    Call,
    Case,
    Json,
    drained,
    fail,
    instance,
    instances,
    lookup,
    registered,
    shown,
)
from matching import Exactly, containing, digits, text, whole
from ways import Raw

OPERATE, OPERATE_SERVER = "management/operate-instance.json", "management/operate-server.json"
KEY: Json = {"regionId": "r1", "serviceId": "demo.orders", "instanceId": "10.0.0.7"}
SERVER: Json = {"regionId": "r1", "serverId": "10.0.0.7"}
OK = {"responseStatus": SUCCESS}
VISIBLE = {"services": [{"instances": [shown()]}]}
GONE = {"services": [{"instances": [], "logicInstances": []}]}


def operate(name: str = "manual", *, complete: bool = False, **changes: object) -> Json:
    """A request to pull an instance out, or in again."""
    common = {"operation": name, "operationComplete": complete, "operatorId": "alice", "token": "t-1"}
    return {"instanceKey": KEY, **common, **changes}


def operate_server(name: str = "manual", *, complete: bool = False, **changes: object) -> Json:
    """The same for a server."""
    common = {"operation": name, "operationComplete": complete, "operatorId": "alice", "token": "t-1"}
    return {"serverKey": SERVER, **common, **changes}


PULLED = (registered(), Call(OPERATE, operate()))
SERVER_PULLED = (registered(), Call(OPERATE_SERVER, operate_server()))


def _blank() -> list[Case]:
    """A required word that is missing or blank."""
    rows: list[tuple[str, str, Json]] = []
    for word in ("operation", "operatorId"):
        rows.append((OPERATE, word, operate(**{word: " "})))
        rows.append((OPERATE_SERVER, word, operate_server(**{word: None})))
    rows += [(OPERATE, word, operate(instanceKey={**KEY, word: ""})) for word in KEY]
    rows += [(OPERATE_SERVER, word, operate_server(serverKey={**SERVER, word: "\t"})) for word in SERVER]
    return [
        Case(f"{path[11:-5]}: {word} is blank", "2.6", path, request,
             {"responseStatus": fail("bad-request", containing(f"{word} is null or empty"))})
        for path, word, request in rows
    ]  # fmt: skip


MANAGEMENT_CASES: tuple[Case, ...] = (
    Case("operate-instance: a null request", "2.6", OPERATE, Raw(b"null"),
         {"responseStatus": fail("bad-request", text)}),
    Case("operate-instance: no key is no crash", "13.18", OPERATE, operate(instanceKey=None),
         {"responseStatus": fail("bad-request", text)}),
    Case("operate-server: no key is no crash", "13.18", OPERATE_SERVER, operate_server(serverKey=None),
         {"responseStatus": fail("bad-request", text)}),
    Case("operate-instance: a missing token is fine", "13.18", OPERATE, operate(token=None), OK),
    Case("operate-instance: only a node that is up does it", "2.6", OPERATE, operate(),
         {"responseStatus": fail("service-unavailable", text)}, prepare=drained),
    *_blank(),
    Case("operate-instance: answers success", "2.6", OPERATE, operate(), Exactly({"responseStatus": SUCCESS.value})),
    Case("operate-instance: hides the instance", "8.3", LOOKUP, lookup("demo.orders"), GONE, before=PULLED),
    Case("operate-instance: hides it from the list of all", "8.3", SERVICES, {}, {"services": []}, before=PULLED),
    Case("operate-instance: in any letters", "8.3", LOOKUP, lookup("demo.orders"), GONE,
         before=(registered(), Call(OPERATE, operate(instanceKey={k: str(v).upper() for k, v in KEY.items()})))),
    Case("operate-instance: before it is registered", "8.3", LOOKUP, lookup("demo.orders"), GONE,
         before=tuple(reversed(PULLED))),
    Case("operate-instance: registering again undoes nothing", "8.3", LOOKUP, lookup("demo.orders"), GONE,
         before=(*PULLED, registered(instance(url="http://again/")))),
    Case("operate-instance: a pulled out instance keeps its lease", "8.3", "registry/heartbeat.json",
         instances(instance()), OK, before=PULLED),
    Case("operate-instance: complete brings it back", "8.2", LOOKUP, lookup("demo.orders"), VISIBLE,
         before=(*PULLED, Call(OPERATE, operate(complete=True)))),
    Case("operate-instance: each name must be completed", "8.2", LOOKUP, lookup("demo.orders"), GONE,
         before=(*PULLED, Call(OPERATE, operate("second")), Call(OPERATE, operate(complete=True)))),
    Case("operate-instance: completing what is not recorded", "8.2", OPERATE, operate(complete=True), OK),
    Case("operate-server: hides its instances", "8.3", LOOKUP, lookup("demo.orders"),
         {"services": [{"instances": [shown(8)]}]}, before=(registered(instance(8)), *SERVER_PULLED)),
    Case("operate-server: complete brings them back", "8.2", LOOKUP, lookup("demo.orders"), VISIBLE,
         before=(*SERVER_PULLED, Call(OPERATE_SERVER, operate_server(complete=True)))),
    Case("operate-server: of another region", "8.3", LOOKUP, lookup("demo.orders"), VISIBLE,
         before=(registered(), Call(OPERATE_SERVER, operate_server(serverKey={**SERVER, "regionId": "r2"})))),
    Case("instance-operations: of an instance", "2.6", "management/instance-operations.json", {"instanceKey": KEY},
         {"operations": Exactly({"instanceKey": KEY, "operations": ["manual"]}), "responseStatus": SUCCESS},
         before=PULLED),
    Case("instance-operations: none", "2.6", "management/instance-operations.json", {"instanceKey": KEY},
         {"operations": None, "responseStatus": SUCCESS}),
    Case("server-operations: of a server", "2.6", "management/server-operations.json", {"serverKey": SERVER},
         {"operations": Exactly({"serverKey": SERVER, "operations": ["manual"]})}, before=SERVER_PULLED),
    Case("all-instance-operations", "2.6", "management/all-instance-operations.json", {},
         {"allInstanceOperations": [{"instanceKey": KEY, "operations": ["manual"]}], "responseStatus": SUCCESS},
         before=PULLED),
    Case("all-instance-operations: of another region", "2.6", "management/all-instance-operations.json",
         {"regionId": "r2"}, {"allInstanceOperations": []}, before=PULLED),
    Case("all-server-operations", "2.6", "management/all-server-operations.json", {},
         {"allServerOperations": [{"serverKey": SERVER, "operations": ["manual"]}]}, before=SERVER_PULLED),
    Case("instance-down: by its server", "8.3", "management/instance-down.json", {"instance": instance()},
         {"down": True, "responseStatus": SUCCESS}, before=SERVER_PULLED),
    Case("instance-down: not", "8.3", "management/instance-down.json", {"instance": instance()}, {"down": False},
         before=(registered(),)),
    Case("server-down", "8.3", "management/server-down.json", {"serverKey": SERVER}, {"down": True},
         before=SERVER_PULLED),
    Case("management services: shows what is pulled out", "2.6", "management/services.json", {},
         {"services": [{"serviceId": "demo.orders", "instances": [
             {"status": "down", "metadata": {"creationTime": digits, "renewalTime": digits,
                                             "ttl": "20000"}}]}], "version": whole, "responseStatus": SUCCESS},
         before=PULLED),
    Case("management service: what is in is up", "2.6", "management/service.json", {"serviceId": "demo.orders"},
         {"service": {"instances": [{"instanceId": "10.0.0.7", "status": "up"}]}, "groups": [],
          "responseStatus": SUCCESS}, before=(registered(instance(status="odd")),)),
)  # fmt: skip
