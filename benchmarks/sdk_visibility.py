"""First visibility of a new instance: from before `registered()` is entered until another client's watch tells of it.

Three processes: a node, a client that watches over a link of the kind in question, and this one, which for each run
makes a new client, with nothing connected yet, and registers an instance with it. Both clients note the same clock.
The next run begins when the instance is gone again from the watch. The Java SDK takes 5-6 s (spec 9.4).

    python benchmarks/sdk_visibility.py [--runs 200] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time

from load import server

from artemis import ArtemisClient, Instance
from artemis.client import LinkChanged, LinkKind

SERVICE = "demo.visibility"
REST = 0.2
"""Seconds between runs: who polls for long asks less often while there is always something to tell."""
KINDS = (LinkKind.MSGTRANS, LinkKind.WEBSOCKET, LinkKind.LONG_POLL)


def client_of(url: str) -> ArtemisClient:
    """A client of the node."""
    return ArtemisClient(servers=[url], region_id="local", zone_id="zone1")


async def watch(url: str, wanted: LinkKind) -> None:
    """Print each change with the time at which it was seen; first a line once the link of the wanted kind is up."""
    async with client_of(url) as client:
        ladder = client._live._ladder  # noqa: SLF001 - nobody but a benchmark chooses a lesser kind
        for kind in LinkKind:
            if kind is wanted:
                break
            ladder.lacks(url, kind, float("inf"))
        events = client.events()
        await client.service(SERVICE)
        async for event in events:
            if isinstance(event, LinkChanged) and event.new is wanted:
                break
        await asyncio.sleep(0.5)
        print(json.dumps(["ready", wanted.value, 0]), flush=True)
        async for change in client.watch(SERVICE):
            print(json.dumps([change.change_type, change.instance.instance_id, time.monotonic()]), flush=True)


async def measure(url: str, kind: LinkKind, runs: int) -> dict[str, float]:
    """All runs with one kind of link; milliseconds."""
    watcher = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--watch", kind.value, url, stdout=asyncio.subprocess.PIPE
    )
    assert watcher.stdout is not None
    try:
        line = json.loads(await watcher.stdout.readline())
        assert line[0] == "ready", line
        spent = [await visible(url, number, watcher.stdout) for number in range(runs)]
    finally:
        with contextlib.suppress(ProcessLookupError):
            watcher.kill()
        await watcher.wait()
    spent.sort()
    return {
        "p50 ms": round(spent[runs // 2] * 1000, 2),
        "p95 ms": round(spent[runs * 95 // 100] * 1000, 2),
        "max ms": round(spent[-1] * 1000, 2),
    }


async def visible(url: str, number: int, told: asyncio.StreamReader) -> float:
    """Register one instance with a client of its own; seconds until it was seen."""
    instance = Instance(service_id=SERVICE, instance_id=f"i{number}", ip="127.0.0.1", port=9000)
    began = time.monotonic()
    async with client_of(url) as client, client.registered(instance):
        kind, instance_id, at = json.loads(await told.readline())
        assert (kind, instance_id) == ("new", f"i{number}"), (kind, instance_id)
    kind, instance_id, _ = json.loads(await told.readline())
    assert (kind, instance_id) == ("delete", f"i{number}"), (kind, instance_id)
    await asyncio.sleep(REST)
    return float(at) - began


def main() -> None:
    """Run and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--watch", nargs=2, metavar=("KIND", "URL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.watch:
        asyncio.run(watch(options.watch[1], LinkKind(options.watch[0])))
        return
    found: dict[str, dict[str, float]] = {}
    command = ("-m", "artemis", "serve", "--host", "127.0.0.1", "--port", "0")
    with server(*command, core=None) as (_, (host, port)):
        for kind in KINDS:
            found[kind.value] = asyncio.run(measure(f"http://{host}:{port}", kind, options.runs))
    if options.json:
        json.dump(found, sys.stdout, indent=2)
        return
    for name, figures in found.items():
        print(f"{name:12}" + "".join(f"{what:>10}{value:>9,.2f}" for what, value in figures.items()))


if __name__ == "__main__":
    main()
