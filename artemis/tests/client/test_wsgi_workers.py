"""Applications on WSGI: worker processes of real servers, looked at from a real node."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from looked_at import events, until_renewed

from artemis import Instance
from artemis.client.sync.workers import Membership, lock_name, worker_folder
from artemis.sync import ArtemisClient, Watch
from artemis.testing import RunningNode, running_node_sync
from artemis.wsgi import RegisteredApp

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the servers fork")

PATIENCE = 60.0

APPLICATION = """
    import os, sys
    from artemis import ClientOptions, Instance
    from artemis.sync import ArtemisClient
    from artemis.wsgi import RegisteredApp
    url, service_id, port, preloaded = os.environ["TRIED"].split()
    def app(environ, start_response):
        start_response("200 OK", [])
        return [f"{os.getpid()} {environ['artemis.client'].state.value}".encode()]
    options = ClientOptions(heartbeat_interval=0.3)
    client = ArtemisClient(servers=[url], region_id="local", zone_id="zone1", options=options)
    me = Instance(service_id=service_id, ip="127.0.0.1", port=int(port))
    app = RegisteredApp(app, client, me, preloaded=preloaded == "True")
"""
ALONE = """
    from wsgiref.simple_server import make_server, WSGIRequestHandler
    WSGIRequestHandler.log_message = lambda *_: None
    with make_server("127.0.0.1", int(port), app) as server:
        server.handle_request() if len(sys.argv) == 1 else server.serve_forever()
"""


@pytest.fixture(scope="module")
def node() -> Iterator[RunningNode]:
    """Run a node that holds no lease that nobody renews."""
    with running_node_sync(lease_ttl=10, self_preservation=False) as one:
        yield one


@pytest.fixture
def blocking(node: RunningNode) -> Iterator[ArtemisClient]:
    """Open a client to look with."""
    with ArtemisClient(servers=[node.url], region_id="local", zone_id="zone1") as one:
        yield one


@pytest.fixture
def port() -> int:
    """Return a port that is free."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        return int(unused.getsockname()[1])


@contextmanager
def served(
    command: list[str], folder: Path, node: RunningNode, service_id: str, port: int, *, preloaded: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server for the length of the block; it is killed if it has not ended by then."""
    folder.joinpath("tried.py").write_text(textwrap.dedent(APPLICATION))
    folder.joinpath("alone.py").write_text(textwrap.dedent(APPLICATION) + textwrap.dedent(ALONE))
    words = {"TRIED": f"{node.url} {service_id} {port} {preloaded}", "XDG_RUNTIME_DIR": str(folder)}
    with subprocess.Popen([sys.executable, *command], cwd=folder, env=os.environ | words) as process:
        try:
            yield process
        finally:
            process.kill()


def gunicorn(port: int, *more: str) -> list[str]:
    bind = ["--bind", f"127.0.0.1:{port}", "--no-control-socket"]
    return ["-m", "gunicorn", *bind, "--workers", "3", "--log-level", "error", *more, "tried:app"]


def get(port: int) -> list[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE) as answer:
        return str(answer.read().decode()).split()


def come(watch: Watch) -> str:
    return watch.next(timeout=PATIENCE).change_type


def live(client: ArtemisClient, service_id: str) -> int:
    return len(client.api.lookup([service_id])[0].instances or ())


def test_it_registers_before_any_request_and_leaves_at_the_end(
    tmp_path: Path, node: RunningNode, blocking: ArtemisClient, service_id: str, port: int
) -> None:
    """Requests find the client; a server that just ends has unregistered."""
    watch = blocking.watch(service_id)
    with served(["alone.py"], tmp_path, node, service_id, port) as process:
        assert come(watch) == "new"
        # The look whether it listens took the one request that this server handles.
        assert process.wait(PATIENCE) == 0
    assert live(blocking, service_id) == 0


@pytest.mark.parametrize("preloaded", [False, True])
def test_the_workers_of_gunicorn_are_one_instance(
    tmp_path: Path, node: RunningNode, blocking: ArtemisClient, service_id: str, port: int, preloaded: bool
) -> None:
    """It stays when workers are killed and replaced, and leaves when the server stops."""
    watch = blocking.watch(service_id)
    command = gunicorn(port, *["--preload"] * preloaded)
    with served(command, tmp_path, node, service_id, port, preloaded=preloaded) as process:
        assert come(watch) == "new"
        for _ in range(2):
            worker, state = get(port)
            assert state in {"connected", "suspended"}
            os.kill(int(worker), signal.SIGKILL)
        until_renewed(node)
        assert live(blocking, service_id) == 1
        assert events(node)["expired"] == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert live(blocking, service_id) == 0


def test_the_next_process_takes_over_and_the_last_one_unregisters(
    tmp_path: Path, node: RunningNode, blocking: ArtemisClient, service_id: str, port: int
) -> None:
    """Processes that were started apart are one instance too."""
    watch = blocking.watch(service_id)
    tmp_path.joinpath("tried.py").write_text(textwrap.dedent(APPLICATION))
    words = {"TRIED": f"{node.url} {service_id} {port} False", "XDG_RUNTIME_DIR": str(tmp_path)}
    started: list[subprocess.Popen[str]] = []
    with ExitStack() as ending:
        ending.enter_context(socket.create_server(("127.0.0.1", port)))
        for _ in range(2):
            process = subprocess.Popen(
                [sys.executable, "-c", "import tried; print('up', flush=True); input()"],
                cwd=tmp_path,
                env=os.environ | words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            started.append(ending.enter_context(process))
            ending.callback(process.kill)
            assert started[-1].stdout is not None
            assert started[-1].stdout.readline() == "up\n"
        assert come(watch) == "new"
        started[0].communicate("\n", timeout=PATIENCE)
        until_renewed(node)
        assert live(blocking, service_id) == 1
        assert events(node)["expired"] == 0
        started[1].communicate("\n", timeout=PATIENCE)
    assert [process.returncode for process in started] == [0, 0]
    assert live(blocking, service_id) == 0


def test_locks_say_who_leads_and_who_is_last(tmp_path: Path) -> None:
    """One leads until it drops it; of those that leave, one is the last."""
    one, two = Membership(tmp_path, "orders"), Membership(tmp_path, "orders")
    one.join()
    two.join()
    assert (one.try_to_lead(), two.try_to_lead(), one.try_to_lead()) == (True, False, True)
    assert one.leave() is False
    assert two.try_to_lead() is False
    one.drop()
    assert two.try_to_lead() is True
    assert two.leave() is True
    two.drop()


def test_locks_are_kept_where_nobody_else_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that others can write to, or a link, is refused."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = worker_folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    with pytest.raises(PermissionError, match="this user alone"):
        worker_folder()
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(PermissionError, match="this user alone"):
        worker_folder()


def test_different_instances_have_different_locks() -> None:
    """The letter case of ids does not matter to the registry, and not here."""
    one = Instance(service_id="orders", ip="127.0.0.1", port=1)
    assert lock_name([one]) == lock_name([Instance(service_id="ORDERS", ip="127.0.0.1", port=1)])
    assert lock_name([one]) != lock_name([Instance(service_id="orders", ip="127.0.0.1", port=2)])


@pytest.mark.parametrize("trouble", ["no folder", "no file"])
def test_without_a_place_for_locks_an_application_is_registered_all_the_same(
    node: RunningNode, blocking: ArtemisClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """As in a container that cannot write: it serves, as the only worker that it knows of."""
    service_id = f"unlocked-{trouble[3:]}"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "missing" if trouble == "no folder" else tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        me = Instance(service_id=service_id, ip="127.0.0.1", port=listening.getsockname()[1])
        if trouble == "no file":
            (worker_folder() / f"{lock_name([me])}.gate").symlink_to(tmp_path / "elsewhere")
        client = ArtemisClient(servers=[node.url], region_id="local", zone_id="zone1")
        app = RegisteredApp(lambda *_: [b"served"], client, me)
        watch = blocking.watch(service_id)
        assert watch.next(PATIENCE).change_type == "new"
        assert app({}, lambda *_: lambda _: None) == [b"served"]
        app.close()
        assert watch.next(PATIENCE).change_type == "delete"
