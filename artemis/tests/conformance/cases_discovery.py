"""Lookup, service, services and deltas (spec 2.2, 5, 13)."""

from cases import (
    DELTA,
    LOOKUP,
    SERVICE,
    SERVICES,
    SUCCESS,
    UNREGISTER,
    Call,
    Case,
    Json,
    drained,
    fail,
    hold,
    instance,
    instances,
    lookup,
    registered,
    service,
    shown,
)
from matching import Exactly, containing, whole
from ways import Raw

NO_CONFIGS = {"services": None, "responseStatus": fail("bad-request", containing("discoveryConfigs is empty."))}
NO_CONFIG = {"service": None, "responseStatus": fail("bad-request", containing("discoveryConfig is null."))}
DOWN = fail("service-unavailable", "Serivce discovery is not in up state. Current status: down")
OWN_ZONE = {"allow_discovery_from_other_zone": False}


def bare(service_id: str) -> Exactly:
    """A service that nobody registered: empty lists, no metadata."""
    empty: Json = {"instances": [], "logicInstances": [], "metadata": None, "routeRules": []}
    return Exactly({**empty, "serviceId": service_id})


def _since(answers: list[Json]) -> Json:
    """A request for what changed since the first answer."""
    return {"version": answers[0]["version"], "regionId": "r1", "zoneId": "z1"}


DISCOVERY_CASES: tuple[Case, ...] = (
    Case("lookup: a null request", "2.2", LOOKUP, Raw(b"null"), NO_CONFIGS),
    Case("lookup: no list", "2.2", LOOKUP, {"regionId": "r1"}, NO_CONFIGS),
    Case("lookup: an empty list", "2.2", LOOKUP, lookup(), NO_CONFIGS),
    Case("lookup: a node that is down", "2.2", LOOKUP, lookup("a"), {"responseStatus": DOWN}, prepare=drained),
    Case("lookup: another region", "2.2", LOOKUP, lookup("a", regionId="r2"),
         {"services": None, "responseStatus": fail("no-permission", containing("region"))}),
    Case("lookup: no region", "2.2", LOOKUP, lookup("a", regionId=None),
         {"responseStatus": fail("no-permission", containing("region"))}),
    Case("lookup: another zone where none is welcome", "6.5", LOOKUP, lookup("a", zoneId="z2"),
         {"responseStatus": fail("no-permission", containing("zone"))}, options=OWN_ZONE),
    Case("lookup: another zone is welcome by default", "6.5", LOOKUP, lookup("a", zoneId="z2"),
         {"responseStatus": SUCCESS}),
    Case("lookup: region and zone in other letters", "13.1", LOOKUP, lookup("a", regionId="R1", zoneId="Z1"),
         {"responseStatus": SUCCESS}, options=OWN_ZONE),
    Case("lookup: a failure is visible, no empty success", "13.8", LOOKUP, lookup("a", "b", regionId="other"),
         {"services": None, "responseStatus": {"status": "fail"}}),
    Case("lookup: null and unnamed configs are skipped", "2.2", LOOKUP,
         {**lookup(), "discoveryConfigs": [None, {"serviceId": " "}, {}, {"serviceId": "a"}]},
         {"responseStatus": SUCCESS, "services": [bare("a")]}),
    Case("lookup: only configs that are skipped", "2.2", LOOKUP, {**lookup(), "discoveryConfigs": [None]},
         {"responseStatus": SUCCESS, "services": []}),
    Case("lookup: unknown services are empty", "2.2", LOOKUP, lookup("nobody"),
         Exactly({"responseStatus": SUCCESS.value, "services": [bare("nobody").value]})),
    Case("lookup: in the order of the request", "2.2", LOOKUP, lookup("c", "a", "b"),
         {"services": [{"serviceId": "c"}, {"serviceId": "a"}, {"serviceId": "b"}]}),
    Case("lookup: in other letters", "13.1", LOOKUP, lookup("DEMO.Orders"), {"services": [{"instances": [shown()]}]},
         before=(registered(),)),
    Case("lookup: all zones are shown", "5.1", LOOKUP, lookup("demo.orders"),
         {"services": [{"instances": [{"zoneId": "z1"}, {"zoneId": "z2"}]}]},
         before=(registered(instance(1), instance(2, zoneId="z2")),)),
    Case("lookup: a service has every field", "1.1", LOOKUP, lookup("demo.orders"),
         {"services": [Exactly({"instances": [shown().value], "logicInstances": [], "metadata": None, "routeRules": [],
                                "serviceId": "demo.orders"})]}, before=(registered(),)),
    Case("lookup: discoveryData has no effect of its own", "5.1", LOOKUP,
         {**lookup(), "discoveryConfigs": [{"serviceId": "demo.orders", "discoveryData": {"appid": "1", "x": "y"}}]},
         {"services": [{"instances": [shown()]}]}, before=(registered(),)),
    Case("lookup: names in other letters", "1.1", LOOKUP,
         {"DISCOVERYCONFIGS": [{"SERVICEID": "demo.orders"}], "REGIONID": "r1", "zoneid": "z1", "more": None},
         {"services": [{"instances": [shown()]}]}, before=(registered(),)),
    Case("service: a null request", "2.2", SERVICE, Raw(b"null"), NO_CONFIG),
    Case("service: no config", "2.2", SERVICE, {"regionId": "r1"}, NO_CONFIG),
    Case("service: a blank service", "2.2", SERVICE, service(" "), NO_CONFIG),
    Case("service: another region", "2.2", SERVICE, service("a", regionId="r2"),
         {"service": None, "responseStatus": fail("no-permission", containing("region"))}),
    Case("service: another zone where none is welcome", "6.5", SERVICE, service("a", zoneId="z2"),
         {"responseStatus": fail("no-permission", containing("zone"))}, options=OWN_ZONE),
    Case("service: a node that is down", "2.2", SERVICE, service("a"), {"responseStatus": DOWN}, prepare=drained),
    Case("service: an unknown one is shown as lookup shows it", "2.2, 13.8", SERVICE, service("nobody"),
         {"responseStatus": SUCCESS, "service": bare("nobody")}),
    Case("service: a known one", "2.2", SERVICE, service("demo.orders"), {"service": {"instances": [shown()]}},
         before=(registered(),)),
    Case("services: a node that is down", "2.2", SERVICES, {}, {"services": None, "responseStatus": DOWN},
         prepare=drained),
    Case("services: region and zone are ignored", "2.2", SERVICES, {"regionId": "r2", "zoneId": "z9"},
         {"responseStatus": SUCCESS, "services": [{"serviceId": "demo.orders", "instances": [shown()]}],
          "version": whole}, before=(registered(),), options=OWN_ZONE),
    Case("services: those without instances are left out", "5.2", SERVICES, {}, {"services": []},
         before=(registered(), Call(UNREGISTER, instances(instance())))),
    Case("delta: a version that nobody knows", "2.2", DELTA, {"version": 12},
         {"delta": None, "responseStatus": fail("data-not-found", "Delta is not found."), "version": 0}),
    Case("delta: no version", "2.2", DELTA, {},
         {"responseStatus": fail("data-not-found", "Delta is not found."), "version": 0}),
    Case("delta: nothing new is an explicit empty delta", "13.8", DELTA, _since,
         lambda answer: answer["delta"] == {} and answer["responseStatus"]["status"] == "success",
         before=(Call(SERVICES, {}),)),
    Case("delta: new and delete by service", "5.2", DELTA, _since,
         {"delta": {"demo.orders": [{"changeType": "new", "changeTime": whole, "instance": shown(1)}],
                    "other": [{"changeType": "delete", "instance": {"instanceId": "10.0.0.2"}}]},
          "responseStatus": SUCCESS, "version": whole},
         before=(Call(SERVICES, {}), registered(instance(1)),
                 Call(UNREGISTER, instances(instance(2, serviceId="other")))),
         prepare=lambda server: hold(server, instance(2, serviceId="other"))),
    Case("delta: services without differences are left out", "5.2", DELTA, _since,
         lambda answer: list(answer["delta"]) == ["b"],
         before=(Call(SERVICES, {}), registered(instance(1, serviceId="b")))),
)  # fmt: skip
