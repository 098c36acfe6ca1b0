"""Machines with several workers, for tests: their processes, and a connection to each worker."""

import asyncio
import json
import os
import re
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from pathlib import Path
from typing import NamedTuple

from artemis.testing.node import OptionValue, RunningNode, arguments_of, unverified

LOOKUP = "/api/discovery/lookup.json"
REGISTER = "/api/registry/register.json"
SERVICE = {"discoveryConfigs": [{"serviceId": "s"}], "regionId": "local", "zoneId": "zone1"}
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
DEADLINE = 60.0


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    text: str

    def json(self) -> dict[str, object]:
        """The body, decoded."""
        decoded: dict[str, object] = json.loads(self.text)
        return decoded


class Connection:
    """A keep-alive connection, to whichever worker it came."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.worker = ""
        """The id of the node that answers."""

    async def ask(self, path: str, request: object = None) -> Answer:
        """POST a request, GET without one. Raises OSError or EOFError when the connection is gone."""
        body = b"" if request is None else json.dumps(request).encode()
        method = "GET" if request is None else "POST"
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        self._writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return await self._read()

    async def _read(self) -> Answer:
        answer = (await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), DEADLINE)).decode().lower()
        status = int(answer.split(" ", 2)[1])
        size = re.search(r"content-length: (\d+)", answer)
        if size is not None:
            return Answer(status, (await self._reader.readexactly(int(size[1]))).decode())
        text = b""
        while length := int((await self._reader.readline()).strip(), 16):
            text += await self._reader.readexactly(length)
            await self._reader.readline()
        await self._reader.readline()
        return Answer(status, text.decode())

    async def register(self, *names: str) -> dict[str, object]:
        """Register instances of a service `s`."""
        return (await self.ask(REGISTER, {"instances": [instance(name) for name in names]})).json()

    async def found(self) -> set[str]:
        """The instances of `s` that this worker shows."""
        return {str(each["instanceId"]) for each in _instances(await self.ask(LOOKUP, SERVICE))}

    async def port_of(self, name: str) -> object:
        """The port that this worker shows of an instance of `s`."""
        shown = _instances(await self.ask(LOOKUP, SERVICE))
        return next(each["port"] for each in shown if each["instanceId"] == name)

    async def pipeline(self, names: list[str]) -> list[set[str]]:
        """Register instances one by one with a lookup behind each, all in one write; what each lookup showed."""
        for name in names:
            for path, request in ((REGISTER, {"instances": [instance(name)]}), (LOOKUP, SERVICE)):
                body = json.dumps(request)
                head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                self._writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        seen = []
        for _ in names:
            assert "success" == (await self._read()).json()["responseStatus"]["status"]  # type: ignore[index]
            seen.append({str(each["instanceId"]) for each in _instances(await self._read())})
        return seen

    async def metrics(self) -> dict[tuple[str, str], float]:
        """The numbers of the machine by name and labels."""
        lines = (await self.ask("/metrics")).text.splitlines()
        samples = [found for line in lines if (found := _SAMPLE.match(line)) is not None]
        return {(sample[1], sample[2] or ""): float(sample[3]) for sample in samples}

    async def close(self) -> None:
        """Drop it."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


def _instances(answer: Answer) -> list[dict[str, object]]:
    found = answer.json()
    assert "success" == found["responseStatus"]["status"], found  # type: ignore[index]
    return found["services"][0]["instances"] or []  # type: ignore[index,no-any-return]


def instance(name: str) -> dict[str, object]:
    """An instance of a service `s`."""
    where = {"regionId": "local", "zoneId": "zone1", "ip": "10.0.0.1", "port": 80, "url": "http://10.0.0.1/"}
    return {"serviceId": "s", "instanceId": name, "status": "up", **where}


class Machine(RunningNode):
    """A node of several workers; `opened` are all connections with it."""

    def __init__(self, arguments: list[str], environment: Mapping[str, str] | None = None) -> None:
        self.opened: list[Connection] = []
        super().__init__(arguments, environment=environment)

    async def connect(self) -> Connection:
        """A connection to any worker."""
        secure: ssl.SSLContext | None = unverified() if self.url.startswith("https") else None
        connection = Connection(*await asyncio.open_connection("127.0.0.1", self.port, ssl=secure))
        self.opened.append(connection)
        connection.worker = str((await connection.ask("/api/v1/status")).json()["nodeId"])
        return connection

    async def at_each(self, count: int = 2) -> list[Connection]:
        """A connection to each worker, the first one's first; one that was killed resets those that it was given."""
        found: dict[str, Connection] = {}
        async with asyncio.timeout(DEADLINE):
            while len(found) < count:
                try:
                    connection = await self.connect()
                except (ConnectionResetError, EOFError):
                    continue
                if connection.worker in found:
                    await connection.close()
                else:
                    found[connection.worker] = connection
        return [found[worker] for worker in sorted(found)]

    def processes(self) -> list[int]:
        """The process ids of the workers, the first one's first: they are children of the parent."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        ready = re.findall(r"worker (\d+) is ready, process (\d+)", self.output)
        places = {int(process): int(place) for place, process in ready}
        return sorted((int(child) for child in children), key=lambda child: places.get(child, 99))

    def signal(self, worker: int, number: signal.Signals) -> int:
        """Send a signal to a worker; returns its process id."""
        process = self.processes()[worker]
        os.kill(process, number)
        return process

    async def until_said(self, text: str) -> None:
        """Wait until the machine has printed this."""
        async with asyncio.timeout(DEADLINE):
            while text not in self.output:  # noqa: ASYNC110 - another process says it
                await asyncio.sleep(0.02)


@asynccontextmanager
async def machine(**options: OptionValue) -> AsyncIterator[Machine]:
    """A machine with two workers, unless the options say otherwise, which has to end well.

    Answers wait for siblings as long as those need on a machine that is busy.
    """
    async with machines(options) as (running,):
        yield running


@asynccontextmanager
async def machines(*options: Mapping[str, OptionValue]) -> AsyncIterator[list[Machine]]:
    """Several of these, which start and end together."""
    # Around an engine what changes twice within 50 ms waits in vain, for as long as it may.
    waiting = [{"workers_wait": 1 if "cluster" in each else 10} for each in options]
    running = [
        Machine(arguments_of({"workers": 2, **wait, **each})) for wait, each in zip(waiting, options, strict=True)
    ]
    try:
        await asyncio.gather(*(asyncio.to_thread(each.wait_ready) for each in running))
        yield running
    finally:
        for connection in [connection for each in running for connection in each.opened]:
            await connection.close()
        codes = await asyncio.shield(asyncio.gather(*(asyncio.to_thread(each.stop) for each in running)))
    assert [0] * len(running) == codes, "\n".join(each.output for each in running)


def labelled(numbers: dict[tuple[str, str], float], name: str) -> Iterator[tuple[str, float]]:
    """The labels and values of a family."""
    return ((labels, value) for (found, labels), value in numbers.items() if found == name)


@asynccontextmanager
async def mesh(*workers: int, data: Path | None = None, **options: OptionValue) -> AsyncIterator[list[Machine]]:
    """Machines with so many workers that are each other's peers; in `data` each keeps what it knows, below `0`, ..."""
    scheme = "https" if "tls_certificate_file" in options else "http"
    with ExitStack() as stack:
        ports = [stack.enter_context(closing(held_port())).getsockname()[1] for _ in workers]
        peers = ",".join(f"{scheme}://127.0.0.1:{port}" for port in ports)
        each: list[dict[str, OptionValue]] = [
            {"port": port, "workers": count, "peers": peers, **options}
            for port, count in zip(ports, workers, strict=True)
        ]
        if data is not None:
            each = [{**one, "data_dir": str(data / str(number))} for number, one in enumerate(each)]
        async with machines(*each) as running:
            yield running


def held_port() -> socket.socket:
    """Hold a free port: nobody else is given it, and the machine, which reuses it, can."""
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind(("127.0.0.1", 0))
    return one
