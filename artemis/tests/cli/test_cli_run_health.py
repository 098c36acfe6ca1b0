"""When a process counts as healthy, and what the checks of it say."""

import asyncio
import os
import re

import pytest
from aiohttp import web

from artemis.cli.run_checks import CommandCheck, HttpCheck, TcpCheck, said_by
from artemis.cli.run_children import Children
from artemis.cli.run_health import Health


@pytest.mark.parametrize(
    ("healthy", "unhealthy", "checks", "changes"),
    [
        (1, 3, "+", "+"),
        (1, 3, "----", "...."),
        (1, 3, "+--+---", "+.....-"),
        (1, 1, "+-+-", "+-+-"),
        (2, 2, "+-++-+--++", "...+...-.+"),
    ],
)
def test_thresholds_are_in_a_row(healthy: int, unhealthy: int, checks: str, changes: str) -> None:
    """A check that says the contrary starts the count again; it begins as not healthy."""
    health = Health(healthy=healthy, unhealthy=unhealthy)
    seen = ""
    for check in checks:
        changed = health.heard("" if check == "+" else "broken")
        seen += ("+" if health.good else "-") if changed else "."
    assert changes == seen


def test_it_remembers_why_and_whether_it_ever_was() -> None:
    """For what is told to people."""
    health = Health(unhealthy=1)
    assert (False, False, "not checked yet") == (health.good, health.ever, health.reason)
    health.heard("port closed")
    assert (False, "port closed") == (health.ever, health.reason)
    health.heard("")
    health.heard("status 500")
    assert (False, True, "status 500") == (health.good, health.ever, health.reason)


async def test_http_is_well_with_a_good_status_alone() -> None:
    """From 200 to 399, without following; errors, silence and closed ports are told as what they are."""
    hang = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/hang":
            await hang.wait()
        return web.Response(status=int(request.query.get("status", "200")), headers={"Location": "/hang"})

    app = web.Application()
    app.router.add_get("/{any:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    assert "" == await HttpCheck(f"{url}/", 5)()
    assert "" == await HttpCheck(f"{url}/?status=302", 5)()
    assert f"{url}/?status=503 answers with status 503" == await HttpCheck(f"{url}/?status=503", 5)()
    assert f"{url}/hang does not answer within 0.05 s" == await HttpCheck(f"{url}/hang", 0.05)()
    hang.set()
    await runner.cleanup()
    assert f"{url}/: Connection refused" == await HttpCheck(f"{url}/", 5)()


async def test_tcp_is_well_while_the_port_accepts() -> None:
    """Nothing is sent."""
    said = bytearray()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            said.extend(await reader.read())
        except ConnectionResetError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        assert "" == await TcpCheck("127.0.0.1", port, 5)()
    assert f"port {port} of 127.0.0.1 accepts no connection" == await TcpCheck("127.0.0.1", port, 5)()
    assert b"" == bytes(said)


async def test_a_command_is_well_that_ends_with_0() -> None:
    """It is a line for the shell, sees the environment of the process, and is killed when it takes too long."""
    with Children() as children:

        async def said(line: str, seconds: float = 30.0) -> str:
            return await CommandCheck(line, children, {**os.environ, "PORT": "81"}, seconds)()

        assert "" == await said("test $PORT = 81 && echo unseen")
        assert "the health command ends with code 3" == await said("exit 3")
        assert "the health command ends with code 127" == await said("nonesuch-command")
        assert "the health command does not end within 0.05 s" == await said("sleep 60 & wait", 0.05)


async def test_a_check_that_breaks_is_a_failed_one() -> None:
    """Whatever it raises; a name that cannot be one is told as that."""

    async def broken() -> str:
        raise LookupError("out of order")

    assert "the check itself failed: LookupError('out of order')" == await said_by(broken)
    assert re.match("a..b: .*label empty", await said_by(TcpCheck("a..b", 80, 1.0)))  # each Python has words of its own
