"""The command as a process: commands that stay, signals, what is missing."""

import asyncio
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from artemis.testing import running_node

PATIENCE = 60.0
ARTEMIS = (sys.executable, "-m", "artemis")


async def start(environment: dict[str, str], *arguments: str) -> asyncio.subprocess.Process:
    """Start ``artemis ARGUMENTS``."""
    return await asyncio.create_subprocess_exec(
        *ARTEMIS, *arguments, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )


async def line(stream: asyncio.StreamReader | None) -> str:
    """Read one line of a process."""
    assert stream is not None
    async with asyncio.timeout(PATIENCE):
        return (await stream.readline()).decode().rstrip()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_register_keep_renews_until_it_is_told_to_stop_and_watch_sees_it(
    environment: dict[str, str], fresh_service: str, number: signal.Signals
) -> None:
    """Ctrl-C and SIGTERM unregister, and end with code 0."""
    watch = await start(environment, "watch", fresh_service, "--interval", "0.1", "--json")
    keep = await start(environment, "register", "--service", fresh_service, "--port", "81", "--keep")
    assert await line(keep.stderr) == (
        f"Registered {fresh_service}/127.0.0.1:81 at http://127.0.0.1:81; renewing it until Ctrl-C."
    )
    came = json.loads(await line(watch.stdout))
    assert (came["changeType"], came["instance"]["instanceId"]) == ("new", "127.0.0.1:81")
    keep.send_signal(number)
    assert await line(keep.stderr) == f"Unregistered {fresh_service}/127.0.0.1:81."
    assert await keep.wait() == 0
    assert json.loads(await line(watch.stdout))["changeType"] == "delete"
    watch.send_signal(number)
    assert await watch.wait() == 0


async def test_register_keep_tells_of_trouble_and_of_its_end(environment: dict[str, str]) -> None:
    """The node is killed and comes back: three sentences on stderr, nothing on stdout."""
    async with running_node() as node:
        environment = {**environment, "ARTEMIS_SERVER": node.url}
        arguments = ("register", "--service", "orders", "--port", "81", "--keep", "--heartbeat", "0.2")
        keep = await start(environment, *arguments)
        assert (await line(keep.stderr)).startswith("Registered orders/127.0.0.1:81")
        await asyncio.to_thread(node.kill)
        # The connection breaks, or a heartbeat fails before that is noticed.
        told = await line(keep.stderr)
        assert told.startswith("suspended: ")
        await asyncio.to_thread(node.restart)
        while told != "connected again":
            told = await line(keep.stderr)
        assert await line(keep.stderr) == "The registry had lost orders/127.0.0.1:81; registered it again."
        keep.terminate()
        output, _ = await keep.communicate()
        assert (output, keep.returncode) == (b"", 0)


async def test_watch_for_people_is_one_line_a_change(environment: dict[str, str], fresh_service: str) -> None:
    """What happened, who, where."""
    registered = await start(environment, "register", "--service", fresh_service, "--port", "82")
    assert await registered.wait() == 0
    watch = await start(environment, "watch", fresh_service)
    assert (await line(watch.stdout)).split() == ["new", "127.0.0.1:82", "http://127.0.0.1:82"]
    watch.terminate()
    assert await watch.wait() == 0


async def test_register_keep_says_when_it_could_not_unregister(environment: dict[str, str]) -> None:
    """The registry is away for good: the lease ends by itself, and the command with code 0."""
    async with running_node() as node:
        environment = {**environment, "ARTEMIS_SERVER": node.url}
        keep = await start(environment, "register", "--service", "orders", "--port", "81", "--keep")
        assert (await line(keep.stderr)).startswith("Registered orders/127.0.0.1:81")
        await asyncio.to_thread(node.kill)
        keep.terminate()
        told = await line(keep.stderr)
        while told.startswith("suspended: "):
            told = await line(keep.stderr)
        assert told.startswith(
            "Could not unregister orders/127.0.0.1:81; its lease ends by itself: no registry node answered"
        )
        assert await keep.wait() == 0


async def test_watch_can_be_of_one_zone(environment: dict[str, str], fresh_service: str) -> None:
    """Others do not show; who moves out is gone."""

    async def register(name: str, zone: str) -> None:
        arguments = ("register", "--service", fresh_service, "--instance", name, "--port", "82", "--zone", zone)
        assert await (await start(environment, *arguments)).wait() == 0

    await register("other", "z1")
    await register("ours", "z2")
    watch = await start(environment, "watch", fresh_service, "--interval", "0.1", "--zone", "z2")
    assert (await line(watch.stdout)).split()[:2] == ["new", "ours"]
    await register("ours", "z1")
    assert (await line(watch.stdout)).split()[:2] == ["delete", "ours"]
    watch.terminate()
    assert await watch.wait() == 0


@pytest.mark.skipif(os.name != "posix", reason="closes a descriptor as shells do")
@pytest.mark.parametrize(
    ("arguments", "code"),
    [("--version", 0), ("run --service s --port 1 --no-health --server http://127.0.0.1:1 -- sh -c 'exit 5'", 5)],
)
def test_a_closed_output_changes_no_exit_code(environment: dict[str, str], arguments: str, code: int) -> None:
    """Some schedulers start programs without one."""
    line = f"exec {shlex.join(ARTEMIS)} {arguments} >&-"
    result = subprocess.run(["/bin/sh", "-c", line], env=environment, stderr=subprocess.PIPE, text=True, check=False)
    assert (result.returncode, "Traceback" in result.stderr) == (code, False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full device")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [("status",), ("status", "--json"), ("--help",), ("--version",)])
def test_a_full_disk_is_one_line_and_code_1(
    environment: dict[str, str], arguments: tuple[str, ...], unbuffered: str
) -> None:
    """Whatever was to be written, buffered or not."""
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [*ARTEMIS, *arguments],
            env={**environment, "PYTHONUNBUFFERED": unbuffered},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    assert (result.returncode, result.stderr) == (1, "artemis: cannot write the result: No space left on device\n")


def test_a_reader_that_has_seen_enough_is_no_trouble(environment: dict[str, str]) -> None:
    """As with head: not a word."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = subprocess.run(
            [*ARTEMIS, "status"], env=environment, stdout=writer, stderr=subprocess.PIPE, check=False, timeout=PATIENCE
        )
    finally:
        os.close(writer)
    assert (result.returncode, result.stderr) == (1, b"")


def hide(*modules: str) -> str:
    """Return a program that runs ``artemis`` as if some modules were not installed."""
    return (
        "import sys; sys.modules.update(dict.fromkeys("
        f"{modules!r})); from artemis.__main__ import main; sys.argv[0] = 'artemis'; sys.exit(main())"
    )


def test_without_the_cli_extra_the_command_says_what_to_install() -> None:
    """The light client SDK has the command too, but not its libraries."""
    result = subprocess.run(
        [sys.executable, "-c", hide("typer"), "services"], capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert "pip install 'artemis-registry[cli]'" in result.stderr


def test_without_the_server_extra_serve_says_what_to_install() -> None:
    """The other commands work without it."""
    result = subprocess.run(
        [sys.executable, "-c", hide("pydantic_settings", "structlog"), "serve"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert "pip install 'artemis-registry[server]'" in result.stderr
    helped = subprocess.run(
        [sys.executable, "-c", hide("pydantic_settings", "structlog"), "--help"],
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    assert helped.returncode == 0


def test_serve_and_demo_have_their_own_help() -> None:
    """The options are those of the command that is loaded for it."""
    for command, option in (("serve", "--lease-ttl"), ("demo", "--kill-every")):
        result = subprocess.run(
            [*ARTEMIS, command, "--help"], capture_output=True, text=True, check=False, timeout=PATIENCE
        )
        assert result.returncode == 0
        assert option in result.stdout
        assert f"Usage: artemis {command}" in result.stdout


def test_importing_the_words_of_the_sdk_loads_no_server_and_no_cli() -> None:
    """``pip install artemis-registry`` alone is enough for a service or a caller."""
    program = (
        "import sys, artemis; from artemis import ArtemisClient, Instance; "
        "print(sorted({name.split('.')[0] for name in sys.modules} & "
        "{'typer', 'rich', 'uvicorn', 'structlog', 'pydantic', 'httptools'}), 'artemis.server' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "[] False\n"
