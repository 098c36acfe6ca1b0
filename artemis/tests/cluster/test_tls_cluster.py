"""Nodes with certificates as a cluster: they dial each other inside TLS, and clients hear of https URLs."""

import ssl
from pathlib import Path

import aiohttp

from artemis.testing import running_cluster
from artemis.testing.certificates import make_certificate
from artemis.testing.histories_observed import until

INSTANCE = {
    "regionId": "local",
    "zoneId": "zone1",
    "serviceId": "orders",
    "instanceId": "i1",
    "ip": "10.0.0.7",
    "port": 80,
    "url": "http://10.0.0.7/",
    "status": "up",
}


async def test_nodes_meet_inside_tls(tmp_path: Path) -> None:
    """With --cluster-ca-file; what one node accepts the other has, and both are listed with https and offer QUIC."""
    files = make_certificate(tmp_path)
    async with (
        running_cluster(2, **files.options, cluster_ca_file=files.ca_file) as cluster,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=files.ca_file))
        ) as session,
    ):
        assert all(url.startswith("https://127.0.0.1:") for url in cluster.urls)
        first, second = (node.url for node in cluster.nodes)
        async with session.post(f"{first}/api/registry/register.json", json={"instances": [INSTANCE]}) as answer:
            assert "success" == (await answer.json())["responseStatus"]["errorCode"]
        asked = {"discoveryConfigs": [{"serviceId": "orders"}], "regionId": "local"}
        found: list[object] = []
        while not found:
            async with session.post(f"{second}/api/discovery/lookup.json", json=asked) as answer:
                found = (await answer.json())["services"][0]["instances"] or []
        async with session.post(f"{first}/api/cluster/up-registry-nodes.json", json={}) as answer:
            nodes = (await answer.json())["nodes"]
            assert sorted(cluster.urls) == sorted(node["url"] for node in nodes)
            assert f'msgtrans%2F1=":{cluster.nodes[0].port}"' == answer.headers["Alt-Svc"]


async def test_a_node_that_is_not_trusted_is_not_met(tmp_path: Path) -> None:
    """A node whose certificate another authority vouches for stays alone, and the other says why."""
    (tmp_path / "other").mkdir()
    files, other = make_certificate(tmp_path), make_certificate(tmp_path / "other")
    async with running_cluster(1, **files.options) as trusted:
        options = {"cluster_ca_file": other.ca_file, "peers": trusted.nodes[0].url, "join_timeout": 0.5}
        async with running_cluster(1, each={0: options}, **other.options) as cluster:
            await until(lambda: "certificate" in cluster.nodes[0].output)
            assert "peer linked" not in cluster.nodes[0].output
