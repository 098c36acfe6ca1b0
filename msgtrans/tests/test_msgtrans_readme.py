"""The programs of the README do what the README says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import msgtrans

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the README's own command has made a certificate."""
    folder = tmp_path_factory.mktemp("folder")
    [command] = [block for block in re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL) if "openssl" in block]
    if shutil.which("openssl") is not None:
        subprocess.run(["/bin/sh", "-ec", command], cwd=folder, capture_output=True, timeout=30, check=True)
    return folder


@pytest.mark.parametrize("block", range(len(BLOCKS)))
def test_the_blocks_run(block: int, folder: Path) -> None:
    """Every Python block is a whole program: it compiles, runs with its own imports, and complains about nothing.

    One that serves for ever says when it does, and ends well when it is told to.
    """
    compile(BLOCKS[block], f"README.md, Python block {block}", "exec")
    command = [sys.executable, "-W", "error", "-c", BLOCKS[block]]
    if "server.pem" in BLOCKS[block] and not (folder / "server.pem").exists():
        pytest.skip("openssl is not installed")
    if ".run(ready=" in BLOCKS[block]:
        with subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as serving:
            assert serving.stdout is not None
            assert serving.stdout.readline().startswith("serving tcp://127.0.0.1:")
            serving.terminate()
            assert ("", "", 0) == (*serving.communicate(timeout=30), serving.returncode)
        return
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30, check=False)
    warned = "lost a connection: "  # by the program that stops a server
    complaints = [line for line in done.stderr.splitlines() if not line.startswith(warned)]
    assert ([], 0) == (complaints, done.returncode)
    assert bool(done.stdout) == ("print(" in BLOCKS[block])


def test_the_example_runs() -> None:
    """The first Python block is a whole program, and prints what stands below it."""
    text = README.read_text()
    program = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    told = re.search(r"It prints `(.*?)` and `(.*?)`\.", text)
    assert program is not None
    assert told is not None
    done = subprocess.run([sys.executable, "-c", program[1]], capture_output=True, text=True, timeout=30, check=False)
    assert done.stderr == ""
    assert sorted(told.groups()) == sorted(done.stdout.splitlines())


def test_every_public_word_is_documented() -> None:
    """Each public name has a docstring, and the package lists its names in order."""
    assert sorted(msgtrans.__all__) == sorted(set(msgtrans.__all__))
    for name in msgtrans.__all__:
        if name not in {"__version__", "Event"}:
            assert getattr(msgtrans, name).__doc__, name


def shown(value: object) -> str:
    """A default as the README writes it."""
    match value:
        case None | True | False | msgspec.UNSET:
            return {None: "none", True: "on", False: "off", msgspec.UNSET: "as whoever uses it has it"}[value]
        case int() if value >= 1 << 20 and value % (1 << 20) == 0:
            return f"{value >> 20} MiB"
        case int() if value > 1024 and value % 1024 == 0:
            return f"{value >> 10} KiB"
        case int() if value >= 10_000:
            return f"{value:,}".replace(",", " ")
        case float():
            return f"{value:g}"
        case msgtrans.RetryConfig() | msgtrans.AlertLevels():
            return "three retries" if isinstance(value, msgtrans.RetryConfig) else "those below"
        case () | {}:
            return "empty"
        case (str(), *_):
            return " ".join(f"`{one}`" for one in value)
        case _:
            return str(value)


@pytest.mark.parametrize(
    "config",
    [
        msgtrans.TcpServerConfig,
        msgtrans.TcpClientConfig,
        msgtrans.WebSocketServerConfig,
        msgtrans.WebSocketClientConfig,
        msgtrans.QuicServerConfig,
        msgtrans.QuicClientConfig,
        msgtrans.TlsServerConfig,
        msgtrans.TlsClientConfig,
        msgtrans.Optimizations,
        msgtrans.Pacing,
        msgtrans.RateLimit,
        msgtrans.RetryConfig,
        msgtrans.CircuitBreakerConfig,
        msgtrans.LoadBalancerConfig,
        msgtrans.ReconnectingConfig,
        msgtrans.SmartPoolConfig,
        msgtrans.ConnectionConfig,
        msgtrans.ExpertConfig,
        msgtrans.PerformanceConfig,
        msgtrans.AlertLevels,
        msgtrans.WorkersConfig,
    ],
)
def test_the_options_are_listed_with_their_defaults(config: type[msgspec.Struct]) -> None:
    """The README names every option of every config, with the default that it has."""
    options = []
    for field in msgspec.structs.fields(config):
        if field.required:
            options.append(f"`{field.name}` (required)")
        else:
            default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
            options.append(f"`{field.name}` ({shown(default)})")
    assert f"| `{config.__name__}` | {', '.join(options)} |" in README.read_text()
