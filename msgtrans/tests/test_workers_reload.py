"""Rolling reloads of real workers, seen by clients: none is refused or reset, none moves twice."""

from __future__ import annotations

import asyncio
import shutil
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from carriers import Certificates
from worker_program import LIMIT, Workers

from msgtrans import ConnectError, SessionClosedError, TcpClientConfig, TransportClient, WebSocketClientConfig
from msgtrans.config import NO_RETRY, TlsClientConfig
from msgtrans.events import CloseReason

if TYPE_CHECKING:
    from pathlib import Path

STAYING = 24
CONNECTING = 8


class Staying:
    """A client that keeps a connection, and takes another one at once when it loses that."""

    def __init__(self, config: TcpClientConfig | WebSocketClientConfig) -> None:
        self._config = config
        self.workers: list[bytes] = []  # the processes it came to, one after the other
        self.reasons: list[CloseReason] = []
        self.connected, self.moved = asyncio.Event(), asyncio.Event()

    async def stay(self) -> None:
        """Until cancelled."""
        while True:
            client = TransportClient(self._config)
            client.on_disconnect(lambda _, reason: self.reasons.append(reason))
            async with client:
                with suppress(SessionClosedError):
                    self.workers.append((await client.request(b"pid", timeout=LIMIT)).payload)
                (self.moved if self.connected.is_set() else self.connected).set()
                await client.session.wait_closed()


async def come_and_go(config: TcpClientConfig | WebSocketClientConfig, done: asyncio.Event) -> int:
    """Connect again and again; how often. Whatever ends a connection but a graceful close raises."""
    count = 0
    while not done.is_set():
        client = TransportClient(config)
        reasons: list[CloseReason] = []
        client.on_disconnect(lambda _, reason, reasons=reasons: reasons.append(reason))
        async with client:
            with suppress(SessionClosedError):  # it came to an old one
                await client.request(b"pid", timeout=LIMIT)
        assert [CloseReason.NORMAL] == reasons
        count += 1
    return count


async def reload(workers: Workers, configs: list[TcpClientConfig | WebSocketClientConfig]) -> tuple[int, list[Staying]]:
    """Reload while clients stay, come and go: how many connected meanwhile, and those that stayed."""
    done = asyncio.Event()
    staying = [Staying(configs[number % len(configs)]) for number in range(STAYING)]
    async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
        held = [group.create_task(client.stay()) for client in staying]
        for client in staying:
            await client.connected.wait()
        going = [group.create_task(come_and_go(configs[number % len(configs)], done)) for number in range(CONNECTING)]
        workers.send(signal.SIGHUP)
        await asyncio.to_thread(workers.until, "the rolling reload is done", "the reload is given up")
        done.set()
        count = sum([await task for task in going])
        for client in staying:
            await client.moved.wait()
        for task in held:
            task.cancel()
    return count, staying


def config(uri: str, tls: TlsClientConfig | None) -> TcpClientConfig | WebSocketClientConfig:
    """One attempt to connect."""
    if uri.startswith("ws"):
        return WebSocketClientConfig(target_url=uri, retry_config=NO_RETRY, tls=tls)
    return TcpClientConfig(target_address=uri, retry_config=NO_RETRY, tls=tls)


@pytest.mark.parametrize(
    ("reuse_port", "loop", "names"),
    [
        (True, "uvloop", ["tcp", "ws"]),
        (False, "asyncio", ["tcp", "ws"]),
        (True, "asyncio", ["tls", "wss"]),
        (False, "uvloop", ["tls", "wss"]),
    ],
)
def test_a_reload_refuses_nobody_and_moves_each_client_once(
    reuse_port: bool, loop: str, names: list[str], certificates: Certificates
) -> None:
    """Clients of old workers come to new ones at once, and connections under way, handshakes too, come through."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    tls = TlsClientConfig(ca_file=certificates.authority_file)
    options = {"count": 3, "reuse_port": reuse_port}
    with Workers(workers=options, listen=names, certificate=certificates.server_file, loop=loop) as workers:
        uris = [workers.uri() for _ in names]
        old = {line.split()[-1].encode() for line in workers.said("begins ")}
        configs = [config(uri, tls if name in {"tls", "wss"} else None) for name, uri in zip(names, uris, strict=True)]
        count, staying = asyncio.run(reload(workers, configs))
        assert 0 == workers.end()
        new = {line.split()[-1].encode() for line in workers.said("begins ")} - old
    assert (3, 3) == (len(old), len(new))
    assert count >= CONNECTING
    for client in staying:
        first, *rest = client.workers
        assert first in old
        assert len(rest) == 1
        assert rest[0] in new
        assert [CloseReason.NORMAL] * 2 == client.reasons


def test_more_and_fewer_workers_refuse_nobody() -> None:
    """While workers come and go, whoever connects is accepted, also at a socket that is about to be closed."""
    with Workers(workers={"count": 1}) as workers:
        uri = workers.uri()

        async def visit() -> None:
            done = asyncio.Event()
            async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
                for _ in range(CONNECTING):
                    group.create_task(come_and_go(config(uri, None), done))
                for _ in range(2):
                    workers.send(signal.SIGTTIN)
                    await asyncio.to_thread(workers.until, "worker 1 is ready")
                    workers.send(signal.SIGTTOU)
                    await asyncio.to_thread(workers.until, "stops 1")
                done.set()

        asyncio.run(visit())
        assert 0 == workers.end()


def test_a_reload_brings_new_certificates(tmp_path: Path) -> None:
    """Each new worker reads them; when they cannot be used, the workers of before go on with theirs."""
    served, old, new = tmp_path / "served.pem", folder(tmp_path / "old"), folder(tmp_path / "new")

    def visit(uri: str, certificates: Certificates) -> None:
        async def connect() -> None:
            async with TransportClient(config(uri, TlsClientConfig(ca_file=certificates.authority_file))) as client:
                await client.request(b"index")

        asyncio.run(connect())

    shutil.copy(old.server_file, served)
    with Workers(listen=["tls"], certificate=str(served)) as workers:
        uri = workers.uri()
        visit(uri, old)
        shutil.copy(new.server_file, served)
        workers.send(signal.SIGHUP)
        workers.until("the rolling reload is done")
        visit(uri, new)
        with pytest.raises(ConnectError, match="is not trusted"):
            visit(uri, old)
        served.write_text("nonsense")
        workers.send(signal.SIGHUP)
        why = workers.until("the reload is given up")
        assert "the new worker 0 ended: exit code 1, it could not serve: " in why
        assert str(served) in why
        visit(uri, new)
        assert 0 == workers.end()


def folder(path: Path) -> Certificates:
    """Certificates in a new folder."""
    path.mkdir()
    return Certificates(path)
