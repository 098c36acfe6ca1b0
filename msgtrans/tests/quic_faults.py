"""Faults at each call to the system that QUIC makes, in a process of its own, and what came of them.

As a program: python quic_faults.py LOOP, with the shim of `fault_shim.c` loaded before the C library. It runs all of
`QUIC_FAULTS` one after the other and prints what it saw as a line of JSON each.
Not here: what should have come of them (`test_faults_quic`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final

from fault_table import Fault
from faults import SOON, Shim, Told, got, say

from msgtrans import QuicClientConfig, SessionConfig, TransportClient, TransportServer
from msgtrans.config import NO_RETRY

if TYPE_CHECKING:
    from pathlib import Path

SENDING: Final = (
    "EAGAIN",
    "ENOBUFS",
    "ENOMEM",
    "EPERM",
    "EMSGSIZE",
    "ENETUNREACH",
    "EHOSTUNREACH",
    "ECONNREFUSED",
    "EIO",
)
RECEIVING: Final = ("EAGAIN", "EINTR", "ENOBUFS", "ENOMEM", "ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "EIO")
QUIC_PASSING: Final = {"EAGAIN", "EINTR", "EMSGSIZE", "ENOBUFS", "ENOMEM"}  # they say nothing of the other side
LASTING: Final = 1_000_000  # times, of a fault that stays
WHILE: Final = 0.1  # seconds that it stays
TIMES: Final = 2


def _quic_faults() -> list[Fault]:
    made = [
        Fault(whose, side, "open", call, error)
        for whose in ("client", "lasting")
        for side in ("server", "client")
        for call, errors in (("send", SENDING), ("receive", RECEIVING))
        for error in errors
        if whose == "client" or error in {"EPERM", "ENOMEM"}
    ]
    made += [
        Fault("client", "client", "connecting", call, error)
        for call, errors in (
            ("socket", ("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM")),
            ("connect", ("ENETUNREACH", "EPERM", "EADDRNOTAVAIL", "ENOBUFS")),
            ("getaddrinfo", ("EAI_AGAIN", "EAI_NONAME", "EAI_MEMORY")),
            ("setsockopt", ("ENOBUFS", "EINVAL")),
            ("getsockname", ("ENOBUFS",)),
            ("send", SENDING),
            ("receive", RECEIVING),
        )
        for error in errors
    ]
    return [*made, *(Fault("listener", "server", "starting", "getsockname", error) for error in ("ENOBUFS",))]


QUIC_FAULTS: Final = _quic_faults()


@dataclass
class Seen:
    """What came of a fault.

    hits: calls that failed. error: what `connect` or `start` raised. requests: what those meanwhile got. open: whether
    both ends of the session were afterwards. others: whether another session and a new one were served. told: what was
    logged, from INFO on for msgtrans.quic. descriptors: how many more there are than before.
    """

    fault: str
    hits: int = 0
    error: str | None = None
    requests: list[str] = field(default_factory=list)
    open: bool = True
    others: bool = False
    told: list[str] = field(default_factory=list)
    descriptors: int = 0


class QuicStage:
    """A server on which a session must not notice anything, and what befalls others beside it."""

    def __init__(self, shim: Shim, told: Told) -> None:
        self.shim = shim
        self.told = told
        self.config = SessionConfig(graceful_timeout=1.0, request_timeout=60.0)
        self.server = TransportServer(quic="127.0.0.1:0", session=self.config)
        self.server.on_request(lambda context: context.payload)

    def client(self, host: str = "127.0.0.1") -> TransportClient:
        """A client that connects once."""
        config = QuicClientConfig.insecure(f"{host}:{self.server.quic_address.port}")
        return TransportClient(config.replace(retry_config=NO_RETRY), session=self.config)

    async def play(self, fault: Fault, bystander: TransportClient) -> Seen:
        """Let it happen."""
        seen = Seen(str(fault))
        self.told.lines.clear()
        before = len(os.listdir("/proc/self/fd"))
        if fault.moment == "starting":
            await self._start(fault, seen)
        elif fault.moment == "connecting":
            await self._connect(fault, seen)
        else:
            await self._break(fault, seen)
        seen.hits = seen.hits or self.shim.hits(fault)
        async with self.client() as newcomer:
            seen.others = {"done"} == {await got(one.request(b"here")) for one in (bystander, newcomer)}
        seen.told = list(self.told.lines)
        seen.descriptors = len(os.listdir("/proc/self/fd")) - before
        return seen

    async def _start(self, fault: Fault, seen: Seen) -> None:
        self.shim.fail(fault, skip=1)  # after the one that finds the port
        try:
            async with TransportServer(quic="127.0.0.1:0"):
                pass
        except Exception as error:  # noqa: BLE001 - to be told, whatever it is
            seen.error = f"{type(error).__name__}: {error}"

    async def _connect(self, fault: Fault, seen: Seen) -> None:
        client = self.client("localhost" if fault.call == "getaddrinfo" else "127.0.0.1")
        once = fault.call in {"socket", "getaddrinfo"}
        self._arm(fault, 1 if once else TIMES if fault.error in QUIC_PASSING else 5 * TIMES)  # some meet the bystander
        try:
            await client.connect()
        except Exception as error:  # noqa: BLE001 - as above
            seen.error = f"{type(error).__name__}: {error}"
        else:
            seen.requests = [await got(client.request(b"hello", timeout=SOON))]
            await client.close()

    async def _break(self, fault: Fault, seen: Seen) -> None:
        async with self.client() as client:
            await client.request(b"hello")
            lasting = fault.whose == "lasting"
            self._arm(fault, LASTING if lasting else TIMES)
            asked = [asyncio.ensure_future(got(client.request(b"%d" % number))) for number in range(5)]
            if lasting:
                await asyncio.sleep(WHILE)
                seen.hits = self.shim.hits(fault)
            seen.requests = sorted(set(await asyncio.gather(*asked)))
            seen.requests.append(await got(client.request(b"after")))
            seen.open = client.is_connected and len(self.server.sessions) == 2

    def _arm(self, fault: Fault, times: int) -> None:
        port = self.server.quic_address.port
        if fault.call in {"socket", "getaddrinfo"}:
            self.shim.fail(fault, times=times)
        elif fault.side == "server":
            self.shim.fail(fault, local=port, times=times)
        else:
            self.shim.fail(fault, peer=port, times=times)


async def play_all() -> None:
    """Run the table, and print."""
    told = Told()
    told.setLevel(logging.INFO)
    logging.getLogger("msgtrans.quic").setLevel(logging.INFO)
    logging.getLogger("msgtrans.tls").setLevel(logging.WARNING)
    logging.getLogger().addHandler(told)
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: told.lines.append(f"loop: {context['message']}: {context.get('exception')!r}")
    )
    for fault in QUIC_FAULTS:
        stage = QuicStage(Shim(), told)
        async with stage.server, stage.client() as bystander:
            await bystander.request(b"here")
            say(asdict(await stage.play(fault, bystander)))


def run_quic(shim: Path, loop: str) -> dict[str, Seen]:
    """Run the table in a process of its own: what came of each fault."""
    done = subprocess.run(
        [sys.executable, __file__, loop],
        env={**os.environ, "LD_PRELOAD": str(shim)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr), done.stderr + done.stdout
    return {made["fault"]: Seen(**made) for made in map(json.loads, done.stdout.splitlines())}


def main() -> None:
    """What the command line says."""
    factory = asyncio.new_event_loop
    if sys.argv[1] == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(play_all())


if __name__ == "__main__":
    main()
