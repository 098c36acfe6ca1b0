"""Applications on ASGI: the worker processes of a real server, looked at from a real node."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from looked_at import events, until, until_renewed

from artemis.client.sync.workers import HAS_FLOCK
from artemis.sync import ArtemisClient
from artemis.testing import RunningNode, running_node_sync

pytestmark = pytest.mark.skipif(not HAS_FLOCK, reason="the workers know each other by locks on files")

PATIENCE = 30.0

APPLICATION = """
    import json, os
    from artemis import ArtemisClient, ClientOptions, Instance
    from artemis.asgi import RegisteredApp
    url, port = os.environ["TRIED"].split()
    async def app(scope, receive, send):
        if scope["type"] == "http":
            said = {"worker": os.getpid(), "leases": scope["state"]["artemis"].status.leases}
            await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
            await send({"type": "http.response.body", "body": json.dumps(said).encode()})
    def client():
        options = ClientOptions(heartbeat_interval=0.3)
        return ArtemisClient(servers=[url], region_id="local", zone_id="zone1", options=options)
    app = RegisteredApp(app, client, Instance(service_id="orders", ip="127.0.0.1", port=int(port)))
"""


@contextmanager
def served(folder: Path, node: RunningNode, port: int, workers: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run uvicorn for the length of the block; if it has not ended by then, it and its workers are killed."""
    folder.joinpath("tried.py").write_text(textwrap.dedent(APPLICATION))
    words = {"TRIED": f"{node.url} {port}", "XDG_RUNTIME_DIR": str(folder)}
    listen = ["--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)]
    command = [sys.executable, "-m", "uvicorn", *listen, "--log-level", "error", "tried:app"]
    with subprocess.Popen(command, cwd=folder, env=os.environ | words, start_new_session=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def leases(port: int) -> tuple[int, int]:
    """Have one of the workers say who it is, and how many leases it keeps."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE) as answer:
        said = json.load(answer)
    return int(said["worker"]), int(said["leases"])


def both(port: int, killed: set[int]) -> dict[int, int]:
    """Return how many leases each of the two workers keeps, once both serve; one of them keeps one."""
    found: dict[int, int] = {}

    def served_both() -> bool:
        with suppress(OSError):  # of a worker that was killed while it answered
            found.update([leases(port)])
        for worker in killed:
            found.pop(worker, None)
        return len(found) == 2

    until(served_both)
    assert sorted(found.values()) == [0, 1]
    return found


def test_the_workers_of_uvicorn_are_one_instance(tmp_path: Path) -> None:
    """One of them registers it; when that one is killed, another keeps it before its lease ends; one unregisters."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = int(unused.getsockname()[1])
    with (
        running_node_sync(lease_ttl=4, self_preservation=False) as node,
        ArtemisClient(servers=[node.url], region_id="local", zone_id="zone1") as looking,
        served(tmp_path, node, port, workers=2) as process,
    ):
        watch = looking.watch("orders")
        assert watch.next(timeout=PATIENCE).change_type == "new"
        workers = both(port, set())
        assert events(node)["registered"] == 1
        killed: set[int] = set()
        for count in (2, 3):
            [leader] = [worker for worker, kept in workers.items() if kept]
            os.kill(leader, signal.SIGKILL)
            killed.add(leader)
            until(lambda: events(node)["registered"] >= count)  # noqa: B023 - called at once
            until_renewed(node)
            workers = both(port, killed)
        counted = events(node)
        assert (3, 0, 0) == (counted["registered"], counted["expired"], counted["unregistered"])
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert watch.next(timeout=PATIENCE).change_type == "delete"
        counted = events(node)
        assert (0, 1) == (counted["expired"], counted["unregistered"])
