"""`artemis serve` as a process: its first line, its options from flags, environment and file, and its end."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from artemis.server.app import NodeServer
from artemis.server.config import ServeConfig
from artemis.server.data_directory import hold
from artemis.server.logs import get_logger
from artemis.server.running import claimed

SERVE = [sys.executable, "-m", "artemis", "serve"]


@contextmanager
def node(*options: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running node and the URL it printed first."""
    process = subprocess.Popen(
        [*SERVE, "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith("listening http://"), first + process.communicate()[1]
        yield process, first.split()[1]
    finally:
        process.kill()
        process.communicate()


def read(url: str) -> dict[str, object]:
    """GET JSON."""
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - the URL is our own node's
        decoded: dict[str, object] = json.load(answer)
        return decoded


def refused(*options: str, **environment: str) -> tuple[int, str]:
    """Exit code and standard error of a node that does not start."""
    done = subprocess.run(
        [*SERVE, *options], capture_output=True, text=True, timeout=30, check=False, env={**os.environ, **environment}
    )
    assert "" == done.stdout
    return done.returncode, done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_ends_with_0(number):
    """A node says where it listens, is ready, and ends well when told to, with a client still connected."""
    with node() as (process, url):
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as idle:
            idle.sendall(b"GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(b'{"status":"up"}'):
                answer += idle.recv(4096)
            process.send_signal(number)
            assert 0 == process.wait(10)
            assert b"" == idle.recv(4096)


def test_without_a_data_directory_no_file_is_written(tmp_path: Path):
    """A node without --data-dir leaves its working directory empty."""
    process = subprocess.Popen(
        [*SERVE, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=tmp_path
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("listening")
    process.terminate()
    process.communicate()
    assert (0, []) == (process.returncode, list(tmp_path.iterdir()))


def test_a_data_directory_keeps_the_id_and_counts_the_starts(tmp_path: Path):
    """The id stays although the port changes; the epoch grows."""
    kept = []
    for _ in range(2):
        with node("--data-dir", str(tmp_path / "data")):
            kept.append(json.loads((tmp_path / "data" / "node.json").read_text()))
    assert kept[0]["node_id"] == kept[1]["node_id"]
    assert kept[0]["epoch"] < kept[1]["epoch"]


def test_flags_beat_the_environment_and_that_the_file(tmp_path: Path):
    """Each option can stand in three places; the order is the documented one."""
    file = tmp_path / "artemis.toml"
    file.write_text('region = "from-file"\nzone = "from-file"\nself-url = "http://from-file:1/x"\n')
    with node(
        "--config", str(file), "--region", "from-flag", ARTEMIS_SERVE_ZONE="from-env", ARTEMIS_SERVE_REGION="from-env"
    ) as (
        _,
        url,
    ):
        status = read(url + "/api/status/node.json")["nodeStatus"]
        zone = {"metadata": None, "regionId": "from-flag", "zoneId": "from-env"}
        names = {"nodeId": "from-file:1/x", "regionId": "from-flag", "zoneId": "from-env"}
        assert {"url": "http://from-file:1/x", "zone": zone, **names} == status["node"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--port", "99999"], "port"),
        (["--lease-ttl", "0"], "lease-ttl"),
        (["--lease-ttl", "nan"], "lease-ttl"),
        (["--lease-ttl", "4", "--heartbeat-interval", "3"], "heartbeat-interval"),
        (["--lease-ttl", "700", "--tombstone-lifetime", "600"], "tombstone-lifetime: must be more than 700"),
        (["--self-url", "nonsense"], "self-url"),
        (["--region", "a b"], "region"),
        (["--log-level", "loud"], "log-level"),
        (["--config", "/does/not/exist.toml"], "/does/not/exist.toml"),
        (["--no-such-option"], "no-such-option"),
    ],
)
def test_options_that_cannot_be_used_end_with_2(options, says):
    """A bad option is named with what is wrong about it, and nothing starts."""
    code, text = refused(*options)
    assert 2 == code
    assert says in text
    assert "Traceback" not in text


def test_what_kubernetes_puts_into_the_environment_is_harmless():
    """Beside a service called artemis every container has ARTEMIS_PORT=tcp://...; that is not an option of ours."""
    with node("--log-level", "DEBUG", ARTEMIS_PORT="tcp://10.0.0.1:8080", ARTEMIS_SERVICE_HOST="10.0.0.1") as (_, url):
        assert "up" == read(url + "/api/status/node.json")["nodeStatus"]["status"]


def test_too_few_open_files_are_told():
    """A node whose limit on open files is below its limit on connections says so, with what to do."""
    process = subprocess.Popen(
        ["sh", "-c", f"ulimit -n 200 && exec {sys.executable} -m artemis serve --port 0"],  # noqa: S607
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.terminate()
    _, log = process.communicate()
    assert (0, True) == (process.returncode, "set --max-connections to 136" in log)


def test_listening_is_the_first_line_even_beside_the_log():
    """Whoever reads output and log as one stream still gets the address first."""
    process = subprocess.Popen(
        [*SERVE, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    process.terminate()
    process.communicate()
    assert b"listening http://127.0.0.1:" == first[:27]


def test_a_misspelt_option_in_the_file_is_refused(tmp_path: Path):
    """A name that is no option is not silently the default."""
    file = tmp_path / "artemis.toml"
    file.write_text("leese-ttl = 5\n")
    code, text = refused("--config", str(file))
    assert 2 == code
    assert f"leese-ttl in {file}: is not an option; did you mean lease-ttl?" in text


def test_a_port_in_use_ends_with_1():
    """The message names the port and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, text = refused("--port", str(taken.getsockname()[1]))
    assert 1 == code
    assert "choose another --port" in text


def test_a_data_directory_that_cannot_be_used_ends_with_1(tmp_path: Path):
    """A file in its place is named, with what to do."""
    (tmp_path / "data").write_text("")
    code, text = refused("--port", "0", "--data-dir", str(tmp_path / "data"))
    assert 1 == code
    assert "give another --data-dir" in text


def test_two_nodes_do_not_share_a_data_directory(tmp_path: Path):
    """The second one ends with 1 and names the first; one that was killed is in nobody's way."""
    with node("--data-dir", str(tmp_path)) as (process, _):
        code, text = refused("--port", "0", "--data-dir", str(tmp_path))
        assert 1 == code
        assert f"in use by another node (process {process.pid})" in text
        process.kill()
    with node("--data-dir", str(tmp_path)):
        pass


def test_a_node_that_is_told_to_end_before_it_serves_ends_with_0(tmp_path: Path):
    """While it still waits for its configuration, SIGTERM is obeyed as well as later."""
    os.mkfifo(tmp_path / "slow.toml")
    process = subprocess.Popen([*SERVE, "--config", str(tmp_path / "slow.toml")], stdout=subprocess.DEVNULL)
    with (tmp_path / "slow.toml").open("w"):  # opens when the node reads
        process.terminate()
        assert 0 == process.wait(10)


async def test_waiting_for_a_data_directory_ends_when_the_node_is_told_to(tmp_path: Path):
    """A node that waits for the one before gives up at once on SIGTERM, and has taken nothing."""
    lock, stop = await hold(tmp_path), asyncio.Event()
    server = NodeServer(ServeConfig(port=0, data_dir=tmp_path), get_logger())
    asyncio.get_running_loop().call_soon(stop.set)
    assert not await claimed(server, stop)
    lock.release()
    (await hold(tmp_path, 0)).release()


def test_a_node_without_operators_says_so():
    """Beyond loopback and without a token, the log says that operators are refused, and what to do."""
    with node("--host", "127.1") as (process, _):  # loopback, but not in words that are known to be
        process.terminate()
        assert "operators are refused" in (log := process.communicate()[1])
    assert "--admin-token-file" in log
    with node() as (process, _):
        process.terminate()
        assert "operators are refused" not in process.communicate()[1]


def test_a_misspelt_variable_is_told_in_the_log():
    """A variable that looks like an option and is none is ignored aloud, with what was most likely meant."""
    with node(ARTEMIS_SERVE_LEESE_TTL="10") as (process, _):
        process.terminate()
        assert "did you mean ARTEMIS_SERVE_LEASE_TTL?" in process.communicate()[1]


@pytest.mark.parametrize("option", ["--workers", "--lease-ttl", "--peer-beat"])
def test_a_flag_that_is_no_number_is_refused_in_the_same_words_as_a_line_of_the_file(option: str):
    """With what it takes."""
    done = subprocess.run([*SERVE, option, "x"], check=False, capture_output=True, text=True, timeout=30)
    assert (2, True) == (done.returncode, f"artemis serve: {option}: must be a " in done.stderr), done.stderr
