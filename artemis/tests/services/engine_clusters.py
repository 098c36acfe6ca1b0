"""What tests of whole nodes around an engine say to them, and wait for."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping

from artemis.testing.clusters import RunningCluster

WAIT = 60.0


def ask(url: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, object]:
    """What a node answers; an error of the connection is one of the test."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}{path}", data, {"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            found: dict[str, object] = json.load(response)
    except urllib.error.HTTPError as error:
        found = json.load(error)
    return found


def instance(name: str) -> dict[str, object]:
    return {
        "regionId": "local",
        "zoneId": "zone1",
        "serviceId": "orders",
        "instanceId": name,
        "ip": "10.0.0.1",
        "port": 80,
        "url": f"http://10.0.0.1/{name}",
    }


def register(url: str, *names: str) -> None:
    """Have a node accept instances."""
    answer = ask(url, "/api/registry/register.json", {"instances": [instance(name) for name in names]})
    status = answer["responseStatus"]
    assert isinstance(status, dict)
    assert "success" == status["status"], answer


def shown(url: str) -> set[str]:
    """The instances that a node shows."""
    body = {"discoveryConfig": {"serviceId": "orders"}, "regionId": "local", "zoneId": "zone1"}
    service = ask(url, "/api/discovery/service.json", body)["service"]
    assert isinstance(service, dict)
    return {str(each["instanceId"]) for each in service["instances"] or ()}


def view(url: str) -> dict[str, object]:
    """The cluster as a node sees it."""
    return ask(url, "/api/v1/cluster")


def until(condition: Callable[[], bool], why: Callable[[], object], wait: float = WAIT) -> None:
    """Wait until something holds of processes that tell nobody."""
    deadline = time.monotonic() + wait
    while not condition():
        assert time.monotonic() < deadline, why()
        time.sleep(0.05)


def until_all_show(cluster: RunningCluster, names: set[str]) -> None:
    """Wait until every node that runs shows exactly these."""
    nodes = [node for node in cluster.nodes if node.process.poll() is None]
    until(
        lambda: all(shown(node.url) == names for node in nodes),
        lambda: [(node.url, shown(node.url), view(node.url).get("engine"), node.output) for node in nodes],
    )
