"""Options that change while a node runs: which do, from where, and what a bad file does."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from doors import instance

from artemis.server.config import ServeConfig, load_config
from artemis.server.reload import LIVE_OPTIONS, file_state, follow, reconfigured

PATIENCE = 60


class Log:
    """Keeps what is logged; `line` waits for an action."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []
        self.more = asyncio.Event()

    def info(self, action: str, **fields: object) -> None:
        """Keep a line."""
        self.lines.append((action, fields))
        self.more.set()

    warning = error = exception = info

    async def line(self, action: str) -> dict[str, object]:
        """The fields of the first line with this action; it is taken away."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for found in self.lines:
                    if found[0] == action:
                        self.lines.remove(found)
                        return found[1]
                self.more.clear()
                await self.more.wait()


@asynccontextmanager
async def following(server, file, flags=None) -> AsyncIterator[tuple[Log, asyncio.Event]]:
    """A node that follows its file; yields its log and the event that SIGHUP sets."""
    log, hangup = Log(), asyncio.Event()
    task = asyncio.create_task(follow(server, file, flags or {}, hangup, log, file_state(file)))
    try:
        yield log, hangup
    finally:
        task.cancel()
        await asyncio.wait([task])


def config(**options: object) -> ServeConfig:
    """Options of a node r1/z1."""
    return ServeConfig(port=0, region="r1", zone="z1", **options)


async def test_a_changed_file_reaches_leases_switches_and_limits(server, wire, tmp_path: Path):
    """Without a signal, within about a second, the node lives by the new lines; the others keep their values."""
    file = tmp_path / "artemis.toml"
    file.write_text("")
    flags = {"port": 0, "region": "r1", "zone": "z1"}
    await wire.post("/api/registry/register.json", {"instances": [instance()]})
    async with following(server, file, flags) as (log, _):
        file.write_text(
            "lease-ttl = 40\nself-preservation = false\nallow-registry-from-other-zone = false\n"
            "max-instances = 1\nmax-connections = 77\nrate-limit-per-caller = 50\n"
        )
        fields = await log.line("configuration read again")
    assert 40.0 == fields["lease_ttl"]
    assert 40_000 == server.node.registry.timings.ttl
    assert not server.node.registry.self_preservation()[0].enabled
    assert 50 == server.gate.per_caller
    refused = await wire.post("/api/registry/register.json", {"instances": [instance(8, zoneId="z2")]})
    assert "no-permission" == refused["failedInstances"][0]["errorCode"]
    full = await wire.post("/api/registry/register.json", {"instances": [instance(8)]})
    assert "1 instances" in full["failedInstances"][0]["errorMessage"]
    assert (40.0, 77) == (server.config.lease_ttl, server.config.max_connections)


async def test_a_bad_file_changes_nothing_and_is_explained(server, tmp_path: Path):
    """The node keeps what it had, says what is wrong, and takes the file once it is right again."""
    file = tmp_path / "artemis.toml"
    file.write_text("")
    flags = {"port": 0, "region": "r1", "zone": "z1"}
    async with following(server, file, flags) as (log, hangup):
        file.write_text("lease-ttl = 0\nallow-registry-from-other-zone = false\n")
        hangup.set()
        assert "lease-ttl" in str((await log.line("configuration kept"))["reason"])
        assert (20_000, True) == (server.node.registry.timings.ttl, server.config.allow_registry_from_other_zone)
        file.unlink()
        hangup.set()
        assert "cannot read" in str((await log.line("configuration kept"))["reason"])
        file.write_text("lease-ttl = 30\n")
        await log.line("configuration read again")
    assert 30_000 == server.node.registry.timings.ttl


async def test_nothing_ends_the_following_of_a_file(server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Values nested too deep, a pipe in the file's place and an error of our own are told, and the node follows on."""
    file = tmp_path / "artemis.toml"
    file.write_text("")
    flags = {"port": 0, "region": "r1", "zone": "z1"}
    async with following(server, file, flags) as (log, hangup):
        file.write_text("x = " + "[" * 5_000 + "]" * 5_000)
        assert "too deep" in str((await log.line("configuration kept"))["reason"])
        file.unlink()
        os.mkfifo(file)
        assert "not a regular file" in str((await log.line("configuration kept"))["reason"])
        file.unlink()
        with monkeypatch.context() as patch:
            patch.setattr(server, "reconfigure", lambda config: 1 // (config is None))
            file.write_text("lease-ttl = 30\n")
            assert "ZeroDivisionError" in str((await log.line("configuration kept"))["reason"])
        hangup.set()
        await log.line("configuration read again")
    assert 30_000 == server.node.registry.timings.ttl


async def test_what_a_start_has_read_is_not_read_again(server, tmp_path: Path):
    """A file that has not changed since the start is left alone, and a changed one is read although it is the first
    look."""
    file = tmp_path / "artemis.toml"
    file.write_text("lease-ttl = 30\n")
    seen, log = file_state(file), Log()
    file.write_text("lease-ttl = 40.0\n")
    task = asyncio.create_task(
        follow(server, file, {"port": 0, "region": "r1", "zone": "z1"}, asyncio.Event(), log, seen)
    )
    assert 40.0 == (await log.line("configuration read again"))["lease_ttl"]
    task.cancel()
    await asyncio.wait([task])


async def serving_with(file: object, *, pass_fds: tuple[int, ...] = ()) -> asyncio.subprocess.Process:
    """A node that has begun to serve with this configuration."""
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "artemis", "serve", "--port", "0", "--config", str(file)],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        pass_fds=pass_fds,
    )
    assert process.stdout is not None
    assert (await process.stdout.readline()).startswith(b"listening")
    return process


async def logged(process: asyncio.subprocess.Process, text: bytes) -> bytes:
    """The next line of a node's log that has a text in it."""
    assert process.stderr is not None
    while text not in (line := await process.stderr.readline()):
        assert line
    return line


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP on this platform")
async def test_a_configuration_from_a_pipe_holds(tmp_path: Path):
    """What a pipe said once is in effect until the end: a drained one is not taken for an empty file."""
    reading, writing = os.pipe()
    os.write(writing, b"lease-ttl = 33\nregion = 'piped'\n")
    os.close(writing)
    async with asyncio.timeout(PATIENCE):
        process = await serving_with(f"/dev/fd/{reading}", pass_fds=(reading,))
        os.close(reading)
        assert b"region=piped" in await logged(process, b"node up")
        await logged(process, b"configuration is not read again")
        process.send_signal(signal.SIGHUP)
        assert b"not a regular file" in await logged(process, b"configuration")
        process.terminate()
        _, rest = await process.communicate()
    assert (0, False) == (process.returncode, b"read again" in rest)


async def test_a_pipe_in_the_place_of_the_file_does_not_keep_a_node_from_ending(tmp_path: Path):
    """A node does not wait at its end for somebody to write to it."""
    file = tmp_path / "artemis.toml"
    file.write_text("")
    async with asyncio.timeout(PATIENCE):
        process = await serving_with(file)
        file.unlink()
        os.mkfifo(file)
        await logged(process, b"not a regular file")
        process.terminate()
        await process.communicate()
    assert 0 == process.returncode


async def test_options_that_need_a_restart_are_named(server, tmp_path: Path):
    """They keep their values; the log names them."""
    file = tmp_path / "artemis.toml"
    file.write_text('host = "127.0.0.2"\nlease-ttl = 25\n')
    async with following(server, file, {"port": 0, "region": "r1"}) as (log, hangup):
        hangup.set()
        assert "lease-ttl" == (await log.line("configuration read again"))["changed"]
        assert "host, zone" == (await log.line("options wait for a restart"))["options"]
    assert ("127.0.0.1", "z1") == (server.config.host, server.config.zone)


async def test_flags_go_on_winning(server, tmp_path: Path):
    """A line of the file does not beat the flag that the node was started with."""
    file = tmp_path / "artemis.toml"
    file.write_text("lease-ttl = 25\nlegacy-lease-ttl = 50\n")
    async with following(server, file, {"port": 0, "region": "r1", "zone": "z1", "lease_ttl": 20.0}) as (log, hangup):
        hangup.set()
        assert "legacy-lease-ttl" == (await log.line("configuration read again"))["changed"]
    assert (20_000, 50_000) == (server.node.registry.timings.ttl, server.node.registry.timings.legacy_ttl)


async def test_an_option_that_leaves_the_file_returns_to_its_default(server, tmp_path: Path):
    """What the file no longer says is again as if it never had; where each value comes from is known."""
    file = tmp_path / "artemis.toml"
    file.write_text("lease-ttl = 25\n")
    old = load_config(file, {"port": 0, "region": "r1", "zone": "z1"})
    taken = reconfigured(server, server.config, old)
    assert ("file", ("lease_ttl",)) == (taken.config.given["lease_ttl"].source, taken.changed)
    file.write_text("")
    back = reconfigured(server, taken.config, load_config(file, {"port": 0, "region": "r1", "zone": "z1"}))
    assert (20.0, False) == (back.config.lease_ttl, "lease_ttl" in back.config.given)


async def test_every_live_option_can_be_applied(start):
    """Each option that is said to reload live differs after a change, and nothing else does."""
    other: dict[str, object] = {
        "lease_ttl": 30.0,
        "legacy_lease_ttl": 80.0,
        "heartbeat_interval": 4.0,
        "tombstone_lifetime": 700.0,
        "preservation_hold": 5.0,
        "peer_grace": 8.0,
        "peer_suspect": 4.0,
        "peer_down": 9.0,
        "rate_limit_map": {"registry.register": 5000},
        "log_level": "info",
        "log_format": "json",
        "java_peers": ("http://127.0.0.1:1/artemis-service",),
        "federate": {"eu": ("http://127.0.0.1:1",)},
    }
    async with start() as server:
        for name in sorted(LIVE_OPTIONS - {"log_level", "log_format", "peers"}):
            old = getattr(server.config, name)
            new = other.get(name, (not old) if isinstance(old, bool) else None)
            if new is None:
                new = ["10.9.9.9"] if isinstance(old, list | tuple | frozenset) else type(old)(old + 1)
            outcome = server.reconfigure(server.config.model_copy(update={name: new}))
            assert (name,) == outcome.changed
            assert () == outcome.kept


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP on this platform")
async def test_sighup_reads_the_file_again(tmp_path: Path):
    """A process that gets SIGHUP goes on, with what the file says now."""
    file = tmp_path / "artemis.toml"
    file.write_text("")
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "artemis", "serve", "--port", "0", "--config", str(file)],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(PATIENCE):
        assert (await process.stdout.readline()).startswith(b"listening")
        file.write_text("lease-ttl = 33\n")
        process.send_signal(signal.SIGHUP)
        while b"lease_ttl=33.0" not in (line := await process.stderr.readline()):
            assert line
        process.terminate()
        await process.communicate()
    assert 0 == process.returncode
