"""The checks of a process's health that `artemis run` makes: HTTP, TCP, or a command. Each says why it failed.

What failures in a row mean is decided in `artemis.cli.run_health`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

import aiohttp

from artemis.cli.run_children import CannotStartError
from artemis.client.calls.transport import in_words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artemis.cli.run_children import Children

_WELL = range(200, 400)

logger = logging.getLogger("artemis.cli")


class Check(Protocol):
    """One way to ask whether the process is well."""

    async def __call__(self) -> str:
        """Return an empty text if it is, else why not; takes a bounded time and raises nothing."""


async def said_by(check: Check) -> str:
    """Return what a check says; one that raises all the same has failed, and does not end the checking."""
    try:
        return await check()
    except Exception as error:
        logger.debug("a health check raised", exc_info=True)
        return f"the check itself failed: {error!r}"


class HttpCheck:
    """GET ``url`` answers with a status from 200 to 399 within ``timeout`` seconds; redirects are not followed."""

    def __init__(self, url: str, timeout: float) -> None:
        self._url = url
        self._timeout = timeout

    async def __call__(self) -> str:
        """Ask once, on a connection of its own, as a stuck server may well serve old ones."""
        patience = aiohttp.ClientTimeout(total=self._timeout)
        try:
            async with (
                aiohttp.ClientSession(timeout=patience) as session,
                session.get(self._url, allow_redirects=False) as answer,
            ):
                return "" if answer.status in _WELL else f"{self._url} answers with status {answer.status}"
        except TimeoutError:
            return f"{self._url} does not answer within {self._timeout:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return f"{self._url}: {in_words(error)}"


class TcpCheck:
    """``host``:``port`` accepts a connection within ``timeout`` seconds."""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self._host = host
        self._port = port
        self._timeout = timeout

    async def __call__(self) -> str:
        """Connect once and hang up."""
        try:
            async with asyncio.timeout(self._timeout):
                _, writer = await asyncio.open_connection(self._host, self._port)
        except TimeoutError:
            return f"port {self._port} of {self._host} accepts no connection within {self._timeout:g} s"
        except OSError:
            return f"port {self._port} of {self._host} accepts no connection"
        except ValueError as error:  # a name that cannot be one, which only looking it up finds out
            return f"{self._host}: {error}"
        writer.transport.abort()
        return ""


class CommandCheck:
    """A shell command ends with code 0 within ``timeout`` seconds; it is killed then, with all that it started."""

    def __init__(self, command: str, children: Children, env: Mapping[str, str], timeout: float) -> None:
        self._command = command
        self._children = children
        self._env = env
        self._timeout = timeout

    async def __call__(self) -> str:
        """Run it once, silently."""
        try:
            child = self._children.start(["/bin/sh", "-c", self._command], env=self._env, leads=True, silent=True)
        except CannotStartError as error:
            return f"the health command cannot be started: {error}"
        try:
            async with asyncio.timeout(self._timeout):
                code = await asyncio.shield(child.ended)
        except TimeoutError:
            return f"the health command does not end within {self._timeout:g} s"
        finally:
            child.kill()
        return "" if code == 0 else f"the health command ends with code {code}"
