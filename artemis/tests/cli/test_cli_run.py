"""`artemis run`: any process as an instance of a service, from its first healthy moment to its end."""

import asyncio
import os
import pty
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from typer.testing import Result

from artemis import ArtemisClient, ClientOptions
from artemis.testing import running_node

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX processes")

PATIENCE = 60.0
ARTEMIS = (sys.executable, "-m", "artemis")
SERVE = """
import http.server, os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: os._exit(5))
signal.signal(signal.SIGUSR1, lambda *_: print("usr1", flush=True))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if os.path.exists(sys.argv[1]) else 503)
        self.end_headers()
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
print("serving", flush=True)
server.serve_forever()
"""


class Running:
    """One `artemis run`, and what it says."""

    def __init__(self, process: asyncio.subprocess.Process, instances: Callable[[], AsyncIterator[list[str]]]) -> None:
        self.process = process
        self.instances = instances

    async def told(self, text: str) -> str:
        """Read what it tells until a line that holds a text."""
        assert self.process.stderr is not None
        async with asyncio.timeout(PATIENCE):
            while line := (await self.process.stderr.readline()).decode():
                if text in line:
                    return line.rstrip().removeprefix("artemis run: ")
        pytest.fail(f"it never told {text!r}")

    async def line(self) -> str:
        """Read a line that the command printed."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            return (await self.process.stdout.readline()).decode().rstrip()

    async def code(self) -> int:
        """Wait for its end."""
        async with asyncio.timeout(PATIENCE):
            await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode


@asynccontextmanager
async def running(server: str, *arguments: str, service: str = "orders") -> AsyncIterator[Running]:
    """Run ``artemis run ... -- ARGUMENTS`` for the length of the block."""
    process = await asyncio.create_subprocess_exec(
        *(*ARTEMIS, "run", "--server", server, "--service", service, "--port", "0", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )

    async def instances() -> list[str]:
        return await seen(server, service)

    try:
        yield Running(process, instances)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def seen(server: str, service: str) -> list[str]:
    """Ask a node for the urls of a service."""
    async with ArtemisClient(servers=[server], region_id="r", zone_id="z", options=ClientOptions(attempts=2)) as client:
        [found] = await client.api.lookup([service])
        return [one.url or "" for one in found.instances or () if one is not None]


def python(program: str, *arguments: str) -> tuple[str, ...]:
    """Return the command line of a program."""
    return ("--", sys.executable, "-c", program, *arguments)


async def test_it_is_registered_while_it_is_healthy(cli_node_url: str, fresh_service: str, tmp_path: Path) -> None:
    """Not before its check passes; taken out when it fails often enough; brought back; taken out before SIGTERM."""
    well = tmp_path / "well"
    arguments = ("--health-http", "/health", "--health-interval", "0.05", "--unhealthy", "2")
    async with running(cli_node_url, *arguments, *python(SERVE, str(well)), service=fresh_service) as run:
        assert "serving" == await run.line()
        assert [] == await run.instances()
        well.touch()
        url = (await run.told("Registered")).rpartition(" at ")[2].rstrip(".")
        assert [url] == await run.instances()
        well.unlink()
        assert (await run.told("Unhealthy")).endswith("/health answers with status 503.")
        await run.told("Unregistered")
        assert [] == await run.instances()
        well.touch()
        await run.told("Healthy again.")
        await run.told("Registered")
        assert [url] == await run.instances()
        run.process.send_signal(signal.SIGUSR1)
        assert "usr1" == await run.line()
        run.process.send_signal(signal.SIGTERM)
        await run.told("Unregistered")
        assert 5 == await run.code()
        assert [] == await run.instances()


async def test_without_a_check_the_port_is_the_check(cli_node_url: str, fresh_service: str, tmp_path: Path) -> None:
    """It is registered as soon as somebody listens, with everything that was said about it."""
    arguments = ("--meta", "version=7", "--group", "blue", "--instance-id", "one", "--protocol", "https")
    async with running(cli_node_url, *arguments, *python(SERVE, str(tmp_path)), service=fresh_service) as run:
        await run.told(f"Registered {fresh_service}/one at https://127.0.0.1:")
        async with ArtemisClient(servers=[cli_node_url], region_id="r", zone_id="z") as client:
            [instance] = (await client.service(fresh_service)).instances
        assert ({"version": "7"}, "blue", "z") == (instance.metadata, instance.group_id, instance.zone_id)
        run.process.send_signal(signal.SIGTERM)
        assert 5 == await run.code()


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("raise SystemExit(7)", 7),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("import signal; signal.raise_signal(signal.SIGTERM)", 143),
        ("pass", 0),
    ],
)
async def test_its_end_is_that_of_the_command(cli_node_url: str, fresh_service: str, program: str, code: int) -> None:
    """The exit code, or 128 and the number of the signal; the instance is taken out."""
    async with running(cli_node_url, "--no-health", *python(program), service=fresh_service) as run:
        assert code == await run.code()
        assert [] == await run.instances()


@pytest.mark.parametrize(("command", "code"), [("nonesuch-command", 127), (str(Path(__file__).parent), 126)])
async def test_a_command_that_cannot_be_started(cli_node_url: str, command: str, code: int) -> None:
    """As with a shell."""
    async with running(cli_node_url, "--", command) as run:
        assert (await run.told(command)).startswith(f"{command}: ")
        assert code == await run.code()


async def test_input_and_output_are_those_of_the_command(cli_node_url: str, fresh_service: str) -> None:
    """Untouched, while what is told goes to stderr."""
    program = "import sys; sys.stdout.write(sys.stdin.read().upper())"
    async with running(cli_node_url, "--no-health", *python(program), service=fresh_service) as run:
        assert (b"HELLO\n", 0) == ((await run.process.communicate(b"hello\n"))[0], run.process.returncode)


async def test_without_a_registry_it_runs_all_the_same() -> None:
    """That is told, and when the registry comes the instance is registered."""
    async with running_node() as node:
        node.kill()
        program = "print('up', flush=True); input()"
        async with running(node.url, "--no-health", *python(program)) as run:
            assert "up" == await run.line()
            assert "The command runs all the same." in await run.told("Cannot register")
            await asyncio.to_thread(node.restart)
            await run.told("Registered")
            assert run.process.stdin is not None
            run.process.stdin.write(b"\n")
            assert 0 == await run.code()


async def test_one_that_does_not_end_is_killed(cli_node_url: str, fresh_service: str) -> None:
    """After --stop-timeout, with everything that it started."""
    program = (
        "import os, signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE); "
        "print('up', flush=True); child.wait()"
    )
    arguments = ("--no-health", "--stop-timeout", "0.2", *python(program))
    async with running(cli_node_url, *arguments, service=fresh_service) as run:
        assert "up" == await run.line()
        await run.told("Registered")
        run.process.terminate()
        assert "The command goes on 0.2 s after SIGTERM; it is killed." == await run.told("is killed")
        # The end of its output is read, so that nobody holds it any more.
        assert 137 == await run.code()


async def test_one_that_never_gets_healthy_is_ended(cli_node_url: str, fresh_service: str) -> None:
    """With --start-timeout, with a code of its own and the reason."""
    arguments = ("--start-timeout", "0.3", *python("input()"))
    async with running(cli_node_url, *arguments, service=fresh_service) as run:
        assert "accepts no connection. It is ended." in await run.told("is not healthy after 0.3 s")
        assert 124 == await run.code()
        assert [] == await run.instances()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of a parent's death")
async def test_the_command_does_not_outlive_it(cli_node_url: str, fresh_service: str) -> None:
    """Even if it is killed: the command gets SIGTERM, and nothing is left that serves and is not renewed."""
    async with running(cli_node_url, "--no-health", *python("print('up', flush=True); input()")) as run:
        assert "up" == await run.line()
        run.process.kill()
        assert -9 == await run.code()  # communicate() ends when the command has let go of its output


async def test_a_second_signal_is_impatience(cli_node_url: str, fresh_service: str) -> None:
    """It cuts the unregistering short; a third one is passed on as it is."""
    program = (
        "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}); print('up', flush=True)\n"
        "for _ in range(2): signal.sigwait({signal.SIGTERM}); print('term', flush=True)"
    )
    async with running_node() as node, running(node.url, "--no-health", *python(program)) as run:
        assert "up" == await run.line()
        await run.told("Registered")
        os.kill(node.process.pid, signal.SIGSTOP)  # unregistering hangs
        run.process.terminate()
        await asyncio.to_thread(_until_handled, run.process.pid)
        run.process.terminate()
        assert "term" == await run.line()
        run.process.terminate()
        assert "term" == await run.line()
        assert 0 == await run.code()
        os.kill(node.process.pid, signal.SIGCONT)


def _until_handled(pid: int) -> None:
    """Wait until a process has no signal pending, as two of the same kind become one."""
    while any(
        int(line.split()[1], 16)
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith(("SigPnd", "ShdPnd"))
    ):
        pass


async def test_ctrl_c_on_a_terminal_reaches_the_command_once(cli_node_url: str, fresh_service: str) -> None:
    """From the terminal, as if there were no `artemis run`; it can read from it, too."""
    program = (
        "import signal, sys, time\n"
        "count = []\n"
        "signal.signal(signal.SIGINT, lambda *_: count.append(1))\n"
        "print('name?', flush=True)\n"
        "print('hello', input(), flush=True)\n"
        "while not count: time.sleep(0.01)\n"
        "signal.signal(signal.SIGTERM, lambda *_: None)\n"
        "sys.exit(40 + len(count))\n"
    )
    arguments = ["run", "--server", cli_node_url, "--service", fresh_service, "--port", "0", "--no-health"]
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover - becomes another program
        os.execv(sys.executable, [*ARTEMIS, *arguments, *python(program)])  # noqa: S606 - on a terminal of its own
    try:
        output = ""
        async with asyncio.timeout(PATIENCE):
            for wanted, answer in (("name?", b"Ada\n"), ("hello Ada", b"\x03")):
                while wanted not in output or "Registered" not in output:
                    output += (await asyncio.to_thread(os.read, terminal, 1024)).decode()
                os.write(terminal, answer)
            _, status = await asyncio.to_thread(os.waitpid, pid, 0)
        assert 41 == os.waitstatus_to_exitcode(status)
    finally:
        os.close(terminal)
    assert [] == await seen(cli_node_url, fresh_service)


async def test_it_reaps_orphans_as_the_first_process_of_a_container(cli_node_url: str, fresh_service: str) -> None:
    """What the command leaves behind is handed to it there; no zombie stays."""
    # A subreaper is given orphans as the first process is.
    program = (
        "import os, subprocess, sys\n"
        "subprocess.run(['sh', '-c', 'true & echo $!'])\n"
        "print('left', flush=True)\n"
        "input()\n"
    )
    runner = (
        "import ctypes, sys; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0); "
        "from artemis.__main__ import main; sys.argv[0] = 'artemis'; sys.exit(main())"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", runner, "run", "--server", cli_node_url, "--service", fresh_service, "--port", "0"),
        *("--no-health", *python(program)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        orphan = int(await process.stdout.readline())
        assert b"left\n" == await process.stdout.readline()
        await asyncio.to_thread(_until_gone, orphan)
        await process.communicate(b"\n")
    assert 0 == process.returncode


def _until_gone(pid: int) -> None:
    while Path(f"/proc/{pid}").exists():
        pass


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--health-http", "health"), "neither a path like /health nor a URL"),
        (("--health-tcp", "9000"), "is not HOST:PORT"),
        (("--health-tcp", "a..b:80"), "'a..b' is no name of a host"),
        (("--health-http", "http://a..b/"), "'a..b' is no name of a host"),
        (("--health-http", "http://[::1/"), "Invalid IPv6 URL"),
        (("--health-http", "/h", "--health-tcp", "a:1"), "only one of them"),
        (("--health-command", "a", "--no-health"), "only one of them"),
        (("--health-command", "'"), "No closing quotation"),
        (("--ip", "orders.example"), "is not an IP address"),
        (("--meta", "nonsense"), "is not KEY=VALUE"),
        (("--service", " "), "must not be blank"),
        (("--server", "nonsense"), "nonsense"),
        (("--ip", "192.0.2.1"), "is not an address of this machine"),
    ],
)
def test_a_wrong_command_line_starts_nothing(run: Callable[..., Result], arguments: tuple[str, ...], text: str) -> None:
    """Code 2, and the option that is wrong."""
    result = run("run", "--service", "orders", "--port", "0", *arguments, "--", "echo", "started")
    assert (2, "") == (result.exit_code, result.stdout)
    assert text in result.stderr


LEFT = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(time.sleep(0.3) or print('bye'))); "
    "print('up', flush=True); signal.pause()"
)


@pytest.mark.parametrize("ends", ["itself", "when told"])
async def test_what_a_shell_was_running_may_end_in_order(cli_node_url: str, fresh_service: str, ends: str) -> None:
    """It gets SIGTERM and its time, whether the shell was told to end or had ended by itself."""
    line = f'{sys.executable} -c "$0" & read go' + ("" if ends == "itself" else "; wait")
    async with running(cli_node_url, "--no-health", "--", "sh", "-c", line, LEFT, service=fresh_service) as run:
        assert "up" == await run.line()
        await run.told("Registered")
        assert run.process.stdin is not None
        if ends == "itself":
            run.process.stdin.write(b"\n")
        else:
            run.process.terminate()
        assert "bye" == await run.line()
        assert (0 if ends == "itself" else 143) == await run.code()


async def test_what_a_shell_was_running_is_killed_when_it_does_not_end(cli_node_url: str, fresh_service: str) -> None:
    """After --stop-timeout, and not before; that is told."""
    stubborn = (
        "import signal; signal.signal(signal.SIGTERM, lambda *_: print('no', flush=True)); print('up', flush=True)\n"
        "while True: signal.pause()"
    )
    line = f'{sys.executable} -c "$0" & read go'
    arguments = ("--no-health", "--stop-timeout", "2", "--", "sh", "-c", line, stubborn)
    async with running(cli_node_url, *arguments, service=fresh_service) as run:
        assert "up" == await run.line()
        await run.told("Registered")
        assert run.process.stdin is not None
        run.process.stdin.write(b"\n")
        assert "no" == await run.line()
        assert "What the command left running does not end; it is killed." == await run.told("left running")
        assert 0 == await run.code()


@pytest.mark.parametrize("check", [(), ("--health-http", "/health")])
def test_a_port_that_somebody_else_serves_starts_nothing(run: Callable[..., Result], check: tuple[str, ...]) -> None:
    """Whoever answers there would be taken for the command."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = str(stranger.getsockname()[1])
        arguments = ("--service", "orders", "--ip", "127.0.0.1", "--port", port, *check)
        result = run("run", *arguments, "--", "echo", "started")
    assert (1, "") == (result.exit_code, result.stdout)
    assert f"Somebody listens at 127.0.0.1:{port} before the command was started" in result.stderr
