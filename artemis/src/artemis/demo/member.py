"""One instance of the demonstration's fleet: a small HTTP server that registers itself and calls the services it needs.

``python -m artemis.demo.member --server URL --service ID --instance ID [--calls ID ...] [--load N]``. Once a second it
writes its counters as one line of JSON to stdout. It is tied to its parent (see `artemis.demo.tethered`).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from dataclasses import dataclass, field

import aiohttp
import msgspec
from aiohttp import web

from artemis import ArtemisClient, ClientOptions, Instance, NoInstancesError
from artemis.cli.interrupts import until_interrupted
from artemis.demo.fleet import REGION, ZONE
from artemis.demo.tethered import tie_to_stdin

CALL_TIMEOUT = 1.0
TRIES = 3
MAX_IN_FLIGHT = 8


class Report(msgspec.Struct, rename="camel"):
    """The counters of one instance since it started; ``called`` and ``retried`` by the service that was called."""

    instance_id: str
    served: int = 0
    failed: int = 0
    called: dict[str, int] = {}
    retried: dict[str, int] = {}


@dataclass
class Counters:
    """What `Report` reports, while it is being counted."""

    served: int = 0
    failed: int = 0
    called: Counter[str] = field(default_factory=Counter)
    retried: Counter[str] = field(default_factory=Counter)


class CallFailedError(Exception):
    """No instance of a service gave an answer."""


class Member:
    """One running instance: what it serves, whom it calls."""

    def __init__(self, instance_id: str, calls: tuple[str, ...], client: ArtemisClient) -> None:
        self._instance_id = instance_id
        self._calls = calls
        self._client = client
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT))
        self.counters = Counters()

    async def close(self) -> None:
        """Close the connections to other services."""
        await self._http.close()

    async def serve(self, request: web.Request) -> web.Response:
        """Answer with this instance's name and the answers of the services below it."""
        del request
        try:
            answers = await self._ask_all()
        except CallFailedError as error:
            return web.json_response({"instance": self._instance_id, "error": str(error)}, status=502)
        self.counters.served += 1
        return web.json_response({"instance": self._instance_id, **answers})

    async def generate_load(self, per_second: float) -> None:
        """Behave like customers: start calls at a steady rate, at most ``MAX_IN_FLIGHT`` at a time."""
        free = asyncio.Semaphore(MAX_IN_FLIGHT)
        async with asyncio.TaskGroup() as customers:
            while True:
                await free.acquire()
                customers.create_task(self._be_a_customer()).add_done_callback(lambda _: free.release())
                await asyncio.sleep(1.0 / per_second)

    async def _be_a_customer(self) -> None:
        try:
            await self._ask_all()
        except CallFailedError:
            return  # it is counted, and a customer comes back
        self.counters.served += 1

    async def _ask_all(self) -> dict[str, object]:
        answers = await asyncio.gather(*(self._ask(service_id) for service_id in self._calls))
        return dict(zip(self._calls, answers, strict=True))

    async def _ask(self, service_id: str) -> object:
        """Call one service: whichever instance's turn it is, and another one when that does not answer."""
        balancer = self._client.balancer(service_id)
        failed: list[Instance] = []
        while len(failed) < TRIES:
            if failed:
                self.counters.retried[service_id] += 1
            try:
                instance = balancer.next(avoid=failed)
            except NoInstancesError as error:
                self.counters.failed += 1
                raise CallFailedError(str(error)) from error
            try:
                async with self._http.get(instance.url or "") as response:
                    response.raise_for_status()
                    answer: object = await response.json()
            except (aiohttp.ClientError, TimeoutError):
                failed.append(instance)
            else:
                self.counters.called[service_id] += 1
                return answer
        self.counters.failed += 1
        raise CallFailedError(f"{TRIES} instances of {service_id} did not answer")

    async def report(self) -> None:
        """Write the counters once a second."""
        while True:
            counters = self.counters
            report = Report(
                self._instance_id, counters.served, counters.failed, dict(counters.called), dict(counters.retried)
            )
            sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
            sys.stdout.flush()
            await asyncio.sleep(1.0)


async def run(arguments: argparse.Namespace) -> None:
    """Serve, register, call, until SIGTERM or Ctrl-C; then unregister first, and stop serving after that."""
    options = ClientOptions(
        heartbeat_interval=arguments.heartbeat, poll_interval=1.0, lost_after=4 * arguments.heartbeat, close_timeout=1.0
    )
    async with ArtemisClient(servers=[arguments.server], region_id=REGION, zone_id=ZONE, options=options) as client:
        member = Member(arguments.instance, tuple(arguments.calls), client)
        app = web.Application()
        app.router.add_get("/", member.serve)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            port = runner.addresses[0][1]
            instance = Instance(service_id=arguments.service, instance_id=arguments.instance, ip="127.0.0.1", port=port)
            for service_id in arguments.calls:
                await anext(
                    client.watch(service_id)
                )  # who cannot serve yet does not register: wait for somebody to call
            async with client.registered(instance):
                load = [member.generate_load(arguments.load)] if arguments.load > 0 else []
                await until_interrupted(member.report(), *load)
        finally:
            await runner.cleanup()
            await member.close()


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="One instance of the demonstration's fleet.")
    parser.add_argument("--server", required=True)
    parser.add_argument("--service", required=True)
    parser.add_argument("--instance", required=True)
    parser.add_argument("--calls", nargs="*", default=[])
    parser.add_argument("--load", type=float, default=0.0, help="calls a second that it makes by itself")
    parser.add_argument("--heartbeat", type=float, default=1.5, help="seconds between two heartbeats")
    tie_to_stdin()
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
