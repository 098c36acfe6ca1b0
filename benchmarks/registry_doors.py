"""The registry through its doors on one core: heartbeat and lookup over HTTP and MsgTrans, beside a bare ASGI answer.

The server is pinned to one core and the load generator to another. Over HTTP 64 connections keep one request each in
flight; each heartbeats an instance of its own, or looks up a service of ten instances of its own. The bare ASGI
application answers with as many bytes as the lookup and decodes nothing, on uvicorn with uvloop and httptools, in the
same run.
The heartbeats marked "parsed" go to a second node, which recognises none by its bytes (`--no-heartbeat-recognition`).
Rounds alternate between the cases; medians are printed.

    python benchmarks/registry_doors.py [--seconds 2] [--rounds 3] [--json]
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import struct
import sys
import urllib.request
from collections.abc import Callable, Iterator

import uvloop
from load import HttpLoad, PacketLoad, Result, pin_self, run_load, server

SERVICES, PER_SERVICE, CONNECTIONS = 64, 10, 64
Make = Callable[[int, Result], HttpLoad | PacketLoad]


def instance(service: int, number: int) -> dict[str, object]:
    """An instance as a Java client describes it."""
    return {
        "groupId": None,
        "healthCheckUrl": f"http://10.1.{service}.{number}:8080/health",
        "instanceId": f"10.1.{service}.{number}",
        "ip": f"10.1.{service}.{number}",
        "machineName": None,
        "metadata": None,
        "port": 8080,
        "protocol": None,
        "regionId": "r1",
        "serviceId": f"demo.service{service}",
        "status": "up",
        "url": f"http://10.1.{service}.{number}:8080/",
        "zoneId": "z1",
    }


def heartbeat(*instances: dict[str, object]) -> bytes:
    """The body of a heartbeat."""
    return json.dumps({"instances": instances}, separators=(",", ":")).encode()


def lookup(service: int) -> bytes:
    """The body of a lookup."""
    configs = [{"serviceId": f"demo.service{service}"}]
    return json.dumps({"discoveryConfigs": configs, "regionId": "r1", "zoneId": "z1"}, separators=(",", ":")).encode()


def post(path: str, body: bytes) -> bytes:
    """An HTTP request."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def packets(operation: int, body: bytes) -> Iterator[bytes]:
    """Requests with growing ids."""
    pack = struct.Struct(">BBBBIHIH").pack
    for number in itertools.cycle(range(1, 1 << 31)):
        yield pack(1, 0, 1, operation, number, 0, len(body), 0) + body


def http(path: str, body: Callable[[int], bytes]) -> Make:
    """A case over HTTP; `body` gives what connection n sends."""
    return lambda n, result: HttpLoad(itertools.repeat(post(path, body(n))), result)


def msgtrans(operation: int, body: Callable[[int], bytes], in_flight: int) -> Make:
    """A case over MsgTrans."""
    return lambda n, result: PacketLoad(packets(operation, body(n)), result, in_flight)


BARE = """
import sys, uvicorn
BODY = b"x" * int(sys.argv[1])
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
HEAD = {"type": "http.response.start", "status": 200, "headers": HEADERS}
async def app(scope, receive, send):
    await send(HEAD)
    await send({"type": "http.response.body", "body": BODY})
config = uvicorn.Config(
    app, port=0, loop="uvloop", http="httptools", log_level="error", access_log=False, lifespan="off"
)
class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print("listening http://127.0.0.1:%d" % self.servers[0].sockets[0].getsockname()[1], flush=True)
Server(config).run()
"""


async def measure(case: Make, address: tuple[str, int], connections: int, seconds: float) -> Result:
    """One round of one case."""
    return await run_load(address, case, connections, seconds)


def main() -> None:
    """Run all cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    pin_self(1)
    node_command = ("-m", "artemis", "serve", "--port", "0", "--region", "r1", "--zone", "z1", "--lease-ttl", "3600")
    parsing = (*node_command, "--no-heartbeat-recognition")
    with server(*node_command, core=0) as (_, node), server(*parsing, core=0) as (_, other):
        everything = [instance(s, k) for s in range(SERVICES) for k in range(PER_SERVICE)]
        fields = {"Content-Type": "application/json"}
        for host, port in (other, node):
            url = f"http://{host}:{port}/api/"
            urllib.request.urlopen(
                urllib.request.Request(url + "registry/register.json", heartbeat(*everything), fields)
            ).read()
        answer = urllib.request.urlopen(urllib.request.Request(url + "discovery/lookup.json", lookup(1), fields)).read()
        with server("-c", BARE, str(len(answer)), core=0) as (_, bare):
            ten = [[instance(s, k) for k in range(PER_SERVICE)] for s in range(SERVICES)]
            hundred = [
                list(itertools.islice(itertools.cycle(everything), s * 10, s * 10 + 100)) for s in range(SERVICES)
            ]
            cases: dict[str, tuple[Make, tuple[str, int], int]] = {
                "bare ASGI on uvicorn": (http("/", lambda _: b"{}"), bare, CONNECTIONS),
                "HTTP lookup": (http("/api/discovery/lookup.json", lookup), node, CONNECTIONS),
                "HTTP heartbeat": (
                    http("/api/registry/heartbeat.json", lambda n: heartbeat(ten[n][0])),
                    node,
                    CONNECTIONS,
                ),
                "MsgTrans lookup": (msgtrans(16, lookup, 16), node, 8),
                "MsgTrans heartbeat": (msgtrans(2, lambda n: heartbeat(ten[n][0]), 16), node, 8),
                "MsgTrans heartbeat of 100": (msgtrans(2, lambda n: heartbeat(*hundred[n]), 4), node, 8),
                "HTTP heartbeat, parsed": (
                    http("/api/registry/heartbeat.json", lambda n: heartbeat(ten[n][0])),
                    other,
                    CONNECTIONS,
                ),
                "MsgTrans heartbeat, parsed": (msgtrans(2, lambda n: heartbeat(ten[n][0]), 16), other, 8),
                "MsgTrans of 100, parsed": (msgtrans(2, lambda n: heartbeat(*hundred[n]), 4), other, 8),
            }
            rounds: dict[str, list[Result]] = {name: [] for name in cases}
            for _ in range(options.rounds):
                for name, (case, address, connections) in cases.items():
                    rounds[name].append(uvloop.run(measure(case, address, connections, options.seconds)))
    base = statistics.median(r.rate for r in rounds["bare ASGI on uvicorn"])
    rows = [
        {
            "case": name,
            "req/s": round(statistics.median(r.rate for r in results)),
            "x bare ASGI": round(statistics.median(r.rate for r in results) / base, 2),
            "p50 ms": round(statistics.median(r.percentile(0.5) for r in results), 2),
            "p99 ms": round(statistics.median(r.percentile(0.99) for r in results), 2),
        }
        for name, results in rounds.items()
    ]
    if options.json:
        json.dump({"answer bytes": len(answer), "rows": rows}, sys.stdout, indent=2)
        return
    print(f"answer of a lookup: {len(answer)} bytes; {options.rounds} rounds of {options.seconds:g} s, medians")
    print(f"{'':28}{'req/s':>10}{'x bare ASGI':>13}{'p50 ms':>9}{'p99 ms':>9}")
    for row in rows:
        print(f"{row['case']:28}{row['req/s']:>10,}{row['x bare ASGI']:>13}{row['p50 ms']:>9}{row['p99 ms']:>9}")


if __name__ == "__main__":
    main()
