"""How long a Java node that starts waits for the full copy from one of ours (spec 7.5): it allows 2 s between packets.

`python benchmarks/java_copy.py [INSTANCES]`, 100 000 by default, in services of 1 000.
"""

from __future__ import annotations

import json
import socket
import sys
import time
import urllib.request

from artemis.testing import running_node_sync
from artemis.testing.java import instance

EACH = 1_000
ROUNDS = 5
BODY = b'{"regionId":"local","zoneId":"zone1"}'
REQUEST = (
    b"POST /api/replication/registry/services.json HTTP/1.1\r\nHost: node\r\nContent-Type: application/json\r\n"
    b"Accept-Encoding: gzip,deflate\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)


def register(url: str, service: int) -> None:
    """Register one service."""
    beans = []
    for number in range(EACH):
        address = f"10.{service & 255}.{number >> 8}.{number & 255}"
        names = {"serviceId": f"service-{service}", "instanceId": address, "url": f"http://{address}:8080/app"}
        beans.append(instance({"regionId": "local", "zoneId": "zone1", "ip": address, "port": 8080, **names}))
    body = json.dumps({"instances": beans}).encode()
    request = urllib.request.Request(f"{url}/api/registry/register.json", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        response.read()


def copied(port: int) -> tuple[float, float, int]:
    """Return how long a copy took, the longest silence in it, in seconds, and its bytes."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        begun = last = time.perf_counter()
        connection.sendall(REQUEST)
        silence, size = 0.0, 0
        while part := connection.recv(1 << 20):
            now = time.perf_counter()
            silence, last, size = max(silence, now - last), now, size + len(part)
    return last - begun, silence, size


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with running_node_sync(lease_ttl=600) as node:
        for service in range(count // EACH):
            register(node.url, service)
        rounds = sorted(copied(node.port) for _ in range(ROUNDS))
    took, _, size = rounds[ROUNDS // 2]
    silence = max(silence for _, silence, _ in rounds)
    print(f"{count} instances: {took * 1e3:.0f} ms, {size / 1e6:.1f} MB, longest silence {silence * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
