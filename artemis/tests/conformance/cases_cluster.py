"""Node lists, status pages and replication (spec 2.3, 2.4, 2.5, 1.6)."""

import re

from cases import HEARTBEAT, LOOKUP, REGISTER, SUCCESS, Call, Case, Json, fail, instance, instances, lookup, registered
from cases_registry import DONE, UNKNOWN, failed
from matching import Exactly, anything, containing, text, whole
from ways import Raw

NODES = ("cluster/up-registry-nodes.json", "cluster/up-discovery-nodes.json")
NODE, CLUSTER = "status/node.json", "status/cluster.json"
LEASES, LEGACY = "status/leases.json", "status/legacy-leases.json"
CONFIG, DEPLOYMENT = "status/config.json", "status/deployment.json"
REPLICATE = "replication/registry/"
OWN_ZONE = {"allow_discovery_from_other_zone": False, "allow_registry_from_other_zone": False}
THIS = {"url": text, "zone": {"metadata": None, "regionId": "r1", "zoneId": "z1"}}
STATUS = {
    "allowDiscoveryFromOtherZone": True,
    "allowRegistryFromOtherZone": True,
    "canServiceDiscovery": True,
    "canServiceRegistry": True,
    "node": THIS,
    "status": "up",
}
JAVA = {"java_registry": "1"}
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}")


def moment(value: object) -> bool:
    """A time as status pages write it (spec 1.6)."""
    return isinstance(value, str) and _TIME.fullmatch(value) is not None


def boolean(value: object) -> bool:
    """True or false."""
    return isinstance(value, bool)


def lease(named: str, ttl: int) -> Json:
    """A lease entry; the misspelt name is the wire's."""
    return {"instance": named, "creationTime": moment, "renewalTime": moment, "evitionTime": moment, "ttl": ttl}


LEASES_SHAPE = {
    "leaseUpdateMaxCount": whole,
    "leaseUpdateMaxCountLastUpdateTime": anything,
    "leaseUpdateCountLastTimeWindow": whole,
    "isSafe": True,
    "isSafeCheckEnabled": True,
    "responseStatus": SUCCESS,
}
BOTH = registered(instance(1, serviceId="Demo.Orders", groupId="G"), instance(2, metadata=JAVA))
ENTRY = lease("r1/z1/demo.orders/g/10.0.0.1", 20_000)
LEGACY_ENTRY = lease("r1/z1/demo.orders/10.0.0.2", 90_000)


def _on_both(name: str, request: object, expected: object, **more: object) -> list[Case]:
    return [Case(f"{path[11:-5]}: {name}", "2.3", path, request, expected, **more) for path in NODES]  # type: ignore[arg-type]


CLUSTER_CASES: tuple[Case, ...] = (
    *_on_both("lists at least this node", {"regionId": "r1", "zoneId": "z1"},
              {"nodes": [THIS], "responseStatus": SUCCESS}),
    *_on_both("needs no region or zone while other zones are welcome", {}, {"nodes": [THIS]}),
    *_on_both("another zone while those are welcome", {"regionId": "r1", "zoneId": "z2"}, {"nodes": [THIS]}),
    *_on_both("own zone where no other is welcome", {"regionId": "r1", "zoneId": "z1"}, {"nodes": [THIS]},
              options=OWN_ZONE),
    *_on_both("another zone where none is welcome", {"regionId": "r1", "zoneId": "z2"},
              {"nodes": None, "responseStatus": fail("data-not-found", "No available service nodes.")},
              options=OWN_ZONE),
    Case("node: of itself", "2.4", NODE, {}, {"nodeStatus": STATUS, "responseStatus": SUCCESS}),
    Case("node: a null body", "2.4", NODE, Raw(b"null"), {"nodeStatus": STATUS}),
    Case("node: says when other zones are not welcome", "6.3", NODE, {},
         {"nodeStatus": {"allowDiscoveryFromOtherZone": False, "allowRegistryFromOtherZone": False}}, options=OWN_ZONE),
    Case("cluster: the node itself at least", "2.4", CLUSTER, {},
         {"nodeCount": 1, "nodesStatus": [STATUS], "responseStatus": SUCCESS}),
    Case("leases: none", "1.6", LEASES, {}, {**LEASES_SHAPE, "leaseCount": 0, "leases": Exactly({})}),
    Case("leases: the normal ones, by service", "1.6", LEASES, {},
         {**LEASES_SHAPE, "leaseCount": 1, "leases": {"Demo.Orders": [ENTRY]}}, before=(BOTH,)),
    Case("leases: legacy ones on their own page", "4.4", LEGACY, {},
         {**LEASES_SHAPE, "leaseCount": 1, "leases": {"demo.orders": [LEGACY_ENTRY]}}, before=(BOTH,)),
    Case("leases: of some services", "2.4", LEASES, {"serviceIds": ["demo.ORDERS", "nobody"]},
         {"leases": {"Demo.Orders": [ENTRY]}}, before=(BOTH,)),
    Case("leases: services without leases do not appear", "2.4", LEASES, {"serviceIds": ["nobody"]},
         {"leases": Exactly({}), "responseStatus": SUCCESS}, before=(BOTH,)),
    Case("leases: removed ones do not appear", "2.4", LEASES, {}, {"leases": Exactly({})},
         before=(registered(), Call("registry/unregister.json", instances(instance())))),
    Case("config: sources and properties", "2.4", CONFIG, {},
         {"sources": lambda value: isinstance(value, dict) and value,
          "properties": lambda value: isinstance(value, dict) and list(value) == sorted(value) and value,
          "responseStatus": SUCCESS}),
    Case("deployment: where the node runs", "2.4", DEPLOYMENT, {},
         {"regionId": "r1", "zoneId": "z1", "appId": anything, "machineName": text, "ip": text,
          "port": lambda value: isinstance(value, int) and value > 0, "protocol": "http", "path": anything,
          "sources": anything, "properties": anything, "responseStatus": SUCCESS}),
    Case("replication: register", "2.5", LOOKUP, lookup("demo.orders"),
         {"services": [{"instances": [{"instanceId": "10.0.0.7"}]}]},
         before=(Call(REPLICATE + "register.json", instances(instance())),)),
    Case("replication: an unknown heartbeat registers", "2.5", LOOKUP, lookup("demo.orders"),
         {"services": [{"instances": [{"instanceId": "10.0.0.7"}]}]},
         before=(Call(REPLICATE + "heartbeat.json", instances(instance())),), untouched=True),
    Case("replication: heartbeat answers success", "2.5", REPLICATE + "heartbeat.json", instances(instance()), DONE),
    Case("replication: unregister", "2.5", HEARTBEAT, instances(instance()),
         failed("data-not-found", containing(UNKNOWN)),
         before=(Call(REGISTER, instances(instance())), Call(REPLICATE + "unregister.json", instances(instance())))),
    Case("replication: the region is checked", "2.5", REPLICATE + "register.json", instances(instance(regionId="r2")),
         failed("no-permission", containing("region"))),
    Case("replication: the zone is not", "2.5", REPLICATE + "register.json", instances(instance(zoneId="z2")), DONE,
         options=OWN_ZONE),
    Case("replication: an empty list", "2.5", REPLICATE + "register.json", {},
         {"responseStatus": fail("bad-request", "request.instances is null or empty.")}),
    Case("replication: services are raw", "2.5", REPLICATE + "services.json", {"regionId": "r1", "zoneId": "z2"},
         {"services": [Exactly({"serviceId": "demo.orders", "logicInstances": None, "metadata": None,
                                "routeRules": None, "instances": [dict.fromkeys(
                                    ("groupId", "healthCheckUrl", "machineName", "metadata", "protocol"))
                                    | instance()]})], "responseStatus": SUCCESS}, before=(registered(),)),
    Case("replication: services of another region", "2.5, 16.9", REPLICATE + "services.json", {"regionId": "r2"},
         {"responseStatus": fail("no-permission", containing("region"))}, before=(registered(),)),
)  # fmt: skip
