"""Faults at each call to the system, made to happen in a process of its own, and what came of them.

As a program: python faults.py LOOP CARRIER FOLDER, with the shim of `fault_shim.c` loaded before the C library. It runs
all of `FAULTS` one after the other, beside a session that must not notice, and prints what it saw as a line of JSON
each. FOLDER holds certificates.
Not here: what should have come of them (`test_faults`).
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import logging
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from carriers import TLS, WSS, Carrier, Certificates
from fault_table import CALLS, FAULTS, PASSING, WALKS, Fault

from msgtrans import (
    ConnectError,
    ConnectionPool,
    Context,
    ReconnectingClient,
    RetryConfig,
    Session,
    SessionConfig,
    SmartPoolConfig,
    TransportClient,
    TransportServer,
)
from msgtrans.adapters.stream import StreamConnection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SOON: Final = 5.0  # seconds after which something has not happened
LARGE: Final = 300_000  # bytes, more than the system takes at once
QUICK: Final = RetryConfig(max_retries=None, retry_interval=0.001, max_retry_interval=0.01)


@dataclass
class Outcome:
    """What came of a fault.

    hits: calls that failed. near, far: how the session ended where the call failed, and at the other end: reason and
    error, None while it is open. endings: how often each of both was told to be closed. requests: what those that
    waited got. error: what `connect` raised. others: whether another session and a new one were served afterwards.
    left: what was still there afterwards. told: what was logged, and what the loop complained of.
    """

    fault: str
    hits: int = 0
    near: tuple[str, str] | None = None
    far: tuple[str, str] | None = None
    endings: list[int] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    error: str | None = None
    others: bool = False
    left: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


class Shim:
    """The calls of this process to the system."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)

    def fail(self, fault: Fault, *, local: int = 0, peer: int = 0, skip: int = 0, times: int = 1) -> None:
        """Let a call fail on connections with these ports, after `skip` that work."""
        self._library.fault_plan(CALLS.index(fault.call), fault.number, local, peer, skip, times)

    def hits(self, fault: Fault) -> int:
        """How often it has failed; from now on it works."""
        hits = int(self._library.fault_hits(CALLS.index(fault.call)))
        self._library.fault_plan(CALLS.index(fault.call), 0, 0, 0, 0, 0)
        return hits


class Told(logging.Handler):
    """Keeps what is logged, from WARNING on."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name}: {record.getMessage().partition(chr(10))[0]}")


class Stage:
    """A server with a session that must not notice anything, and what befalls others beside it."""

    def __init__(self, carrier: Carrier, shim: Shim, told: Told) -> None:
        self.carrier = carrier
        self.shim = shim
        self.told = told
        self.config = SessionConfig(graceful_timeout=0.5, request_timeout=60.0)
        self.release = asyncio.Event()
        self.endings: dict[Session, int] = {}
        self.server = self.with_handlers(carrier.server(self.config))
        self.bystander: TransportClient

    def with_handlers(self, endpoint: TransportServer | TransportClient) -> TransportServer | TransportClient:
        """Let a side answer, and count the ends of its sessions."""

        async def hold(context: Context) -> bytes:
            if context.payload == b"hold":
                await self.release.wait()
            return context.payload

        def ended(session: Session, reason: object) -> None:
            self.endings[session] = self.endings.get(session, 0) + 1

        endpoint.on_request(hold)
        endpoint.on_message(lambda _: None)
        endpoint.on_disconnect(ended)
        return endpoint

    def client(self) -> TransportClient:
        """A client that connects once."""
        return self.with_handlers(self.carrier.client(self.server, self.config))

    @property
    def port(self) -> int:
        return self.carrier.address(self.server).port

    async def play(self, fault: Fault, step: int = 0) -> Outcome:
        """Let it happen. step: of a walk, the number of the call that fails."""
        outcome = Outcome(str(fault))
        before = await self._settled(None)
        self.release.clear()
        self.told.lines.clear()
        self.endings.clear()
        try:
            async with asyncio.timeout(3 * SOON):
                if fault.whose == "walk":
                    await self._walk(fault, outcome, step)
                elif fault.whose != "client":
                    await self._recover(fault, outcome)
                elif fault.moment == "connecting":
                    await self._connect(fault, outcome)
                else:
                    await self._break(fault, outcome)
        except TimeoutError:
            outcome.left.append("it took too long")
        outcome.hits = self.shim.hits(fault)
        self.release.set()
        outcome.others = await self._others_served()
        after = await self._settled(before)
        outcome.told = sorted(set(self.told.lines))
        outcome.left += [
            f"{name}: {before[name]} became {after[name]}" for name in before if before[name] != after[name]
        ]
        return outcome

    async def _connect(self, fault: Fault, outcome: Outcome) -> None:
        target = self.carrier.target(self.server)
        if fault.call == "getaddrinfo":
            target = target.replace(**named(target))
        client = self.with_handlers(TransportClient(target, session=self.config))
        self._arm(fault)
        try:
            await client.connect()
        except Exception as error:  # noqa: BLE001 - to be told, whatever it is
            outcome.error = f"{type(error).__name__}: {error}"
        else:
            outcome.requests = [await got(client.request(b"hello", timeout=SOON))]
            await client.close()
            outcome.endings = [self.endings.get(client.session, 0)]

    async def _break(self, fault: Fault, outcome: Outcome) -> None:
        """An established session meets the fault while requests wait on both sides, or while one side closes it."""
        client = self.client()
        await client.connect()
        await client.request(b"hello")
        ends = self._ends(client.session)
        near, far = (ends[1], ends[0]) if fault.side == "server" else ends
        closing = fault.moment == "closing"
        waiting = [asyncio.ensure_future(got(end.request(b"hold"))) for end in ((near,) if closing else ends) * 2]
        await asyncio.gather(near.request(b"hello"), far.request(b"hello"))  # what was sent before has arrived
        self._arm_on(fault, ends[0])
        if closing:
            ending = asyncio.ensure_future(near.close())
            await asyncio.gather(*waiting)
            self.release.set()
            await ending
        else:
            await got((near if fault.call == "send" else far).send(b"word"))
        if fault.error in PASSING:
            outcome.requests = [await got(near.request(b"hello"))]
            self.release.set()
            await asyncio.gather(*waiting)
            outcome.near, outcome.far = ended(near), ended(far)
            await client.close()
            return
        outcome.requests = sorted(set(await asyncio.gather(*waiting)))
        self.release.set()
        async with asyncio.timeout(SOON):
            await asyncio.gather(near.wait_closed(), far.wait_closed())
        outcome.near, outcome.far = ended(near), ended(far)
        outcome.endings = [self.endings.get(near, 0), self.endings.get(far, 0)]
        await client.close()

    async def _recover(self, fault: Fault, outcome: Outcome) -> None:
        """What comes back by itself meets the fault."""
        target = self.carrier.target(self.server)
        if fault.call == "getaddrinfo":
            target = target.replace(**named(target))
        if fault.moment == "connecting":
            self._arm(fault, times=2)
        if fault.whose == "pool":
            size = SmartPoolConfig(initial_size=1, max_size=2, min_connections=1)
            async with asyncio.timeout(SOON):
                pool = await opened(lambda: ConnectionPool([target], config=size, session=self.config, retry=QUICK))
            try:
                if fault.moment == "open":
                    async with pool.acquire() as client:
                        self._arm_on(fault, client.session)
                        outcome.requests = [await got(client.request(b"hello"))]
                outcome.requests += [await got(pool.request(b"hello")) for _ in range(3)]
            finally:
                await pool.close()
        else:
            async with ReconnectingClient([target], session=self.config, retry=QUICK) as client:
                await client.request(b"hello", idempotent=True)
                if fault.moment == "open":
                    self._arm_on(fault, next(iter(client.sessions.values())))
                outcome.requests = [await got(client.request(b"hello", idempotent=True)) for _ in range(3)]

    async def _walk(self, fault: Fault, outcome: Outcome, step: int) -> None:
        """The whole life of a session, of which one call fails."""
        ports = {"local" if fault.side == "server" else "peer": self.port}
        self.shim.fail(fault, **ports, skip=step)
        client = self.client()
        try:
            await client.connect()
        except ConnectError:
            outcome.requests = ["ConnectError"]
            return
        outcome.requests = [await got(client.request(payload)) for payload in (b"hello", bytes(LARGE))]
        for session in self.server.sessions.values():
            if session.peer_address == client.session.local_address:
                outcome.requests.append(await got(session.request(b"hello")))
                break
        await client.close()
        outcome.endings = [self.endings[client.session]]

    def _arm(self, fault: Fault, times: int = 1) -> None:
        if fault.call in {"socket", "getaddrinfo"}:
            self.shim.fail(fault, times=times)
        elif fault.side == "server":
            self.shim.fail(fault, local=self.port, times=times)
        else:
            self.shim.fail(fault, peer=self.port, times=times)

    def _arm_on(self, fault: Fault, session: Session) -> None:
        local, peer = session.local_address.port, self.port
        if fault.side == "server":
            local, peer = peer, local
        self.shim.fail(fault, local=local, peer=0 if fault.call == "close" else peer)  # which may be unknown by then

    def _ends(self, session: Session) -> tuple[Session, Session]:
        """A client's session, and the server's session of the same connection."""
        return session, next(
            other for other in self.server.sessions.values() if other.peer_address == session.local_address
        )

    async def _others_served(self) -> bool:
        try:
            async with asyncio.timeout(SOON):
                await self.bystander.request(b"here")
                async with self.client() as newcomer:
                    await newcomer.request(b"here")
        except (TimeoutError, ConnectionError):
            return False
        return True

    async def kept(self) -> list[str]:
        """The sessions and connections in memory; those of the bystander, once the loop has let go of all others.

        Not those whose TLS handshake failed: now and then uvloop keeps one until the time for it is over.
        """
        until = asyncio.get_running_loop().time() + SOON
        while True:
            gc.collect()
            kept = [
                type(thing).__name__
                for thing in gc.get_objects()
                if isinstance(thing, Session) or (isinstance(thing, StreamConnection) and hasattr(thing, "_transport"))
            ]
            if len(kept) == 4 or asyncio.get_running_loop().time() > until:
                return sorted(kept)
            await asyncio.sleep(0.01)

    def _present(self) -> dict[str, int]:
        loop = asyncio.get_running_loop()
        timers = [handle for handle in getattr(loop, "_scheduled", ()) if not handle.cancelled()]
        return {
            "descriptors": len(os.listdir("/proc/self/fd")),
            "tasks": len(asyncio.all_tasks()),
            "timers": len(timers),
            "sessions": len(self.server.sessions),
        }

    async def _settled(self, expected: dict[str, int] | None) -> dict[str, int]:
        """What there is, once it is as expected, or does not change any more."""
        loop = asyncio.get_running_loop()
        until, turns = loop.time() + SOON, 0
        while (present := self._present()) != expected and loop.time() < until:
            turns += 1
            if expected is None:
                expected = present
            elif turns == 20:
                gc.collect()
            await asyncio.sleep(0.001)
        return present


def named(target: object) -> dict[str, str]:
    """The same target by name."""
    for option in ("target_address", "target_url"):
        if hasattr(target, option):
            return {option: str(getattr(target, option)).replace("127.0.0.1", "localhost")}
    raise TypeError(target)


def ended(session: Session) -> tuple[str, str] | None:
    """How a session ended, None while it is open."""
    return None if session.is_open else (str(session.close_reason), str(session.close_error or ""))


async def got(work: Awaitable[object]) -> str:
    """What a call came to."""
    try:
        async with asyncio.timeout(2 * SOON):
            await work
    except Exception as error:  # noqa: BLE001 - to be told, whatever it is
        return type(error).__name__
    return "done"


async def opened(make: Callable[[], ConnectionPool]) -> ConnectionPool:
    """A pool that could be opened: opening it fails while nothing can be connected."""
    while True:
        pool = make()
        with suppress(ConnectionError):
            await pool.start()
            return pool
        await asyncio.sleep(0)


async def play_all(carrier: Carrier, chosen: str) -> None:
    """Run the table, and print."""
    told = Told()
    logging.getLogger().addHandler(told)
    logging.getLogger("msgtrans.reconnecting").setLevel(logging.CRITICAL)  # which warns of what is to happen here
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: told.lines.append(f"loop: {context['message']}: {context.get('exception')!r}")
    )
    stage = Stage(carrier, Shim(), told)
    async with stage.server:
        stage.bystander = stage.client()
        async with stage.bystander:
            await stage.bystander.request(b"here")
            for fault in FAULTS:
                if chosen in str(fault):
                    say(asdict(await stage.play(fault)))
            for fault in WALKS:
                step = 0
                while (outcome := await stage.play(fault, step)).hits:
                    say(asdict(outcome))
                    step += 1
            stage.endings.clear()
            say(await stage.kept())


def say(what: object) -> None:
    """Tell whoever started this process."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def run(
    shim: Path, loop: str, carrier: str, folder: Path, chosen: str = ""
) -> tuple[dict[str, list[Outcome]], list[str]]:
    """Run the table in a process of its own: outcomes by fault, and the sessions and connections left in the end.

    A fault has one outcome, a walk one for each of its steps.
    """
    done = subprocess.run(
        [sys.executable, __file__, loop, carrier, str(folder), chosen],
        env={**os.environ, "LD_PRELOAD": str(shim)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr), done.stderr + done.stdout
    *lines, last = done.stdout.splitlines()
    outcomes: dict[str, list[Outcome]] = {}
    for made in map(json.loads, lines):
        outcomes.setdefault(made["fault"], []).append(Outcome(**made))
    return outcomes, json.loads(last)


def main() -> None:
    """What the command line says."""
    loop, name, folder, chosen = sys.argv[1:]
    asyncio.constants.ACCEPT_RETRY_DELAY = 0.02  # seconds that asyncio pauses; a test need not wait for longer
    factory = asyncio.new_event_loop
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    carrier = Carrier(name, Certificates(Path(folder)) if name in {TLS, WSS} else None)
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(play_all(carrier, chosen))


if __name__ == "__main__":
    main()
