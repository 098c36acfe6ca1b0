"""Register, heartbeat and unregister (spec 2.1, 1.1, 1.3, 4, 13)."""

from cases import (
    FIELDS,
    HEARTBEAT,
    LOOKUP,
    PARTIAL,
    REGISTER,
    SERVICE,
    SUCCESS,
    UNREGISTER,
    Call,
    Case,
    Json,
    drained,
    fail,
    instance,
    instances,
    lookup,
    registered,
    service,
    shown,
)
from matching import Exactly, anything, containing, starting
from ways import Raw

ALL = (REGISTER, HEARTBEAT, UNREGISTER)
DONE = Exactly({"failedInstances": None, "responseStatus": SUCCESS.value})
UNKNOWN = "Instance is not exising! Need re-register."


def failed(code: str, message: object, shown_as: object = anything) -> Json:
    """The answer when the one instance of a request failed."""
    item = {"errorCode": code, "errorMessage": message, "instance": shown_as}
    return {"failedInstances": [item], "responseStatus": PARTIAL}


def _named(path: str) -> str:
    return path.removeprefix("registry/").removesuffix(".json")


def _everywhere(name: str, request: object, expected: object, **more: object) -> list[Case]:
    """The same case for the three operations."""
    return [Case(f"{_named(path)}: {name}", "2.1", path, request, expected, **more) for path in ALL]  # type: ignore[arg-type]


def _invalid(field: str, value: object) -> list[Case]:
    """A required field that is missing or blank, for the three operations (spec 1.3)."""
    text = containing(f"Exception: argument instance.{field} is null or whitespace")
    bad = instance(**{field: value})
    return _everywhere(f"{field} is {value!r}", instances(bad), failed("internal-service-error", text))


EMPTY = {"failedInstances": None, "responseStatus": fail("bad-request", "request.instances is null or empty.")}
DOWN = {
    "failedInstances": None,
    "responseStatus": fail("service-unavailable", "Serivce registry is not in up state. Current status: down"),
}
MORE: Json = {"metadata": {"k": "v", "empty": "", "ü": "ß"}, "groupId": "Blue", "machineName": "h", "protocol": "http"}

REGISTRY_CASES: tuple[Case, ...] = (
    *_everywhere(
        "a null request",
        Raw(b"null"),
        {"failedInstances": None, "responseStatus": fail("bad-request", "request is null")},
    ),
    *_everywhere("no list", {}, EMPTY),
    *_everywhere("a null list", {"instances": None}, EMPTY),
    *_everywhere("an empty list", {"instances": []}, EMPTY),
    *_everywhere("a node that is down", instances(instance()), DOWN, prepare=drained),
    *_everywhere("an empty request to a node that is down", {}, EMPTY, prepare=drained),
    *_everywhere("null elements are skipped", instances(None, None), DONE),
    *_everywhere("another region", instances(instance(regionId="r2")), failed("no-permission", containing("region"))),
    *_everywhere("no region", instances(instance(regionId=None)), failed("no-permission", containing("region"))),
    *_everywhere(
        "another zone where none is welcome",
        instances(instance(zoneId="z2")),
        failed("no-permission", starting("r1/z2/demo.orders/10.0.0.7: "), shown(zoneId="z2")),
        options={"allow_registry_from_other_zone": False},
    ),
    *_everywhere(
        "region and zone in other letters",
        instances(instance(regionId="R1", zoneId="Z1")),
        DONE,
        before=(registered(),),
        options={"allow_registry_from_other_zone": False},
    ),
    *_everywhere("names in other letters", {"INSTANCES": [{k.upper(): v for k, v in instance().items()}]}, DONE,
                 before=(registered(),)),
    *_everywhere("names that nobody knows", {**instances(instance(later={"a": [1]})), "x": 1}, DONE,
                 before=(registered(),)),
    *_everywhere("a port as text", instances(instance(port="8080")), DONE, before=(registered(),)),
    *_everywhere("null for the port", instances(instance(port=None)), DONE, before=(registered(),)),
    *(case for value in (None, "", " \t") for case in _invalid("url", value)),
    *(case for field in ("serviceId", "instanceId") for value in (None, " ") for case in _invalid(field, value)),
    Case("register: an instance is shown whole", "1.1, 1.3", LOOKUP, lookup("demo.orders"),
         {"services": [{"instances": [shown(**MORE)]}]}, before=(registered(instance(**MORE)),)),
    Case("register: absent fields are null, the port 0", "1.1", LOOKUP, lookup("s"),
         {"services": [{"instances": [Exactly(dict.fromkeys(FIELDS) | {
             "regionId": "r1", "serviceId": "s", "instanceId": "i", "url": "u", "port": 0})]}]},
         before=(registered({"regionId": "r1", "serviceId": "s", "instanceId": "i", "url": "u"}),)),
    Case("register: a port as text becomes a number", "1.1", LOOKUP, lookup("demo.orders"),
         {"services": [{"instances": [shown(port=81)]}]}, before=(registered(instance(port="81")),)),
    Case("register: again replaces the content", "2.1, 4.3", LOOKUP, lookup("demo.orders"),
         {"services": [{"instances": [shown(url="http://new/", status="starting")]}]},
         before=(registered(), registered(instance(url="http://new/", status="starting")))),
    Case("register: status is free text", "1.3", LOOKUP, lookup("demo.orders"),
         {"services": [{"instances": [shown(status="What ever")]}]},
         before=(registered(instance(status="What ever")),)),
    Case("register: other zones are welcome by default", "6.5", REGISTER, instances(instance(zoneId="z9")), DONE),
    Case("register: the same instance twice in one request", "2.1", LOOKUP, lookup("demo.orders"),
         {"services": [{"instances": [shown(status="two")]}]},
         before=(registered(instance(status="one"), instance(status="two")),)),
    Case("register: the same id from two owners is one instance", "1.3", LOOKUP, lookup("demo.orders"),
         {"services": [{"instances": [shown(zoneId="z2", url="http://b/")]}]},
         before=(registered(instance(url="http://a/")), registered(instance(zoneId="z2", url="http://b/")))),
    Case("register: joined ids do not collide", "13.2", LOOKUP, lookup("a.b", "a"),
         {"services": [{"instances": [{"instanceId": "c"}]}, {"instances": [{"instanceId": "b.c"}]}]},
         before=(registered(instance(serviceId="a.b", instanceId="c"), instance(serviceId="a", instanceId="b.c")),)),
    Case("register: good and bad ones in one request", "2.1", REGISTER,
         instances(instance(1), instance(2, url=""), None, instance(3, regionId="r2")),
         {"failedInstances": [
             {"errorCode": "internal-service-error", "instance": shown(2, url=""),
              "errorMessage": "r1/z1/demo.orders/10.0.0.2: Exception: argument instance.url is null or whitespace"},
             {"errorCode": "no-permission", "instance": shown(3, regionId="r2")},
         ], "responseStatus": PARTIAL}),
    Case("register: what was good in it is there", "2.1", SERVICE, service("demo.orders"),
         {"service": {"instances": [shown(1)]}}, before=(registered(instance(1), instance(2, url="")),)),
    Case("heartbeat: an unknown instance comes back whole", "2.1, 0.4", HEARTBEAT,
         instances(instance(metadata={"a": "b"})),
         failed("data-not-found", f"r1/z1/demo.orders/10.0.0.7: {UNKNOWN}", shown(metadata={"a": "b"}))),
    Case("heartbeat: the text names the group in lower case", "1.3", HEARTBEAT,
         instances(instance(serviceId="Demo.Orders", groupId="Blue")),
         failed("data-not-found", f"r1/z1/demo.orders/blue/10.0.0.7: {UNKNOWN}")),
    Case("heartbeat: a blank group is not named", "1.3", HEARTBEAT, instances(instance(groupId=" ")),
         failed("data-not-found", f"r1/z1/demo.orders/10.0.0.7: {UNKNOWN}")),
    Case("heartbeat: of a registered instance", "2.1", HEARTBEAT, instances(instance()), DONE, before=(registered(),)),
    Case("heartbeat: repeated in the same bytes", "2.1", HEARTBEAT, instances(instance()), DONE,
         before=(registered(), *[Call(HEARTBEAT, instances(instance()))] * 4)),
    Case("heartbeat: in other letters than it was registered in", "13.1", HEARTBEAT,
         instances(instance(serviceId="DEMO.Orders")), DONE, before=(registered(),)),
    Case("heartbeat: known and unknown ones in one message", "2.1", HEARTBEAT,
         instances(instance(1), instance(2), instance(3)),
         {"failedInstances": [{"instance": {"instanceId": "10.0.0.1"}}, {"instance": {"instanceId": "10.0.0.3"}}],
          "responseStatus": PARTIAL}, before=(registered(instance(2)),)),
    Case("heartbeat: changed content is taken over", "13.6", SERVICE, service("demo.orders"),
         {"service": {"instances": [shown(url="http://other/")]}},
         before=(registered(), Call(HEARTBEAT, instances(instance(url="http://other/"))))),
    Case("heartbeat: after unregister", "4.3", HEARTBEAT, instances(instance()),
         failed("data-not-found", containing(UNKNOWN)), before=(registered(), Call(UNREGISTER, instances(instance())))),
    Case("heartbeat: a legacy lease needs no metadata to be found", "4.4", HEARTBEAT, instances(instance()), DONE,
         before=(registered(instance(metadata={"java_registry": "1"})),)),
    Case("unregister: an unknown instance", "2.1", UNREGISTER, instances(instance()), DONE),
    Case("unregister: at once invisible", "13.6", SERVICE, service("demo.orders"), {"service": {"instances": []}},
         before=(registered(), Call(UNREGISTER, instances(instance(serviceId="DEMO.orders"))))),
    Case("unregister: leaves the others", "2.1", SERVICE, service("demo.orders"),
         {"service": {"instances": [shown(2)]}},
         before=(registered(instance(1), instance(2)), Call(UNREGISTER, instances(instance(1))))),
)  # fmt: skip
