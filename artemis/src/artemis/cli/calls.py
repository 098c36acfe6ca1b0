"""Plain calls to one node beyond what the SDK does: pages of status, explain, and what operators do.

Not here: lookups and registrations, which go through the SDK's client with its failover.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Generic, NamedTuple, TypeVar

import aiohttp
import msgspec
import typer

from artemis.cli.codes import FAILED
from artemis.cli.output import say
from artemis.cli.reach import spelt, unreachable
from artemis.cli.trust import trusted
from artemis.client.calls.transport import in_words
from artemis.model import ResponseStatus, decode, encode
from artemis.model.tolerant import MalformedBody
from msgtrans.tls import client_context

T = TypeVar("T", bound=msgspec.Struct)
S = TypeVar("S")

_SECONDS = 30
_PATIENCE = aiohttp.ClientTimeout(total=_SECONDS, connect=5)
_SHORT = aiohttp.ClientTimeout(total=5)
_ELSEWHERE = (1.0, 1.0, 1.0, None)
"""Seconds after which a node that has not answered is asked over a further connection, which another process of it may
take; the last one is the last."""

_ELSEWHERE_LATER = (3.0, 3.0, 3.0, None)
"""The same for one that may have much to answer."""

_AT_ONCE = 16
_UNAUTHORIZED = 401
_NOT_FOUND = 404


class _RefusedError(Exception):
    """The node refuses a call, in words for people."""


class _UnreachableError(Exception):
    """No node answers, in words for people."""


class _Problem(msgspec.Struct):
    """What a node says when it refuses a request as such."""

    message: str = ""


def get(server: str, path: str, answer: type[T], query: Mapping[str, str] | None = None) -> T:
    """GET an operation of a node and return its answer; ends the command when there is none or it says no."""
    return _there(server, path, _run(server, _got(server, path, answer, query)))


def find(server: str, path: str, answer: type[T]) -> T | None:
    """GET an operation that a node may not have; None where it has not."""
    return _run(server, _got(server, path, answer))


def post(server: str, path: str, answer: type[T], request: msgspec.Struct, token: str = "") -> T:
    """POST to an operation, as an operator where `token` is given; ends the command as `get` does."""
    return _there(server, path, _run(server, _call(server, path, answer, body=encode(request), token=token)))


class Conversation:
    """Calls to one node over one connection, as an operator where `token` is given. `with` it.

    A node of several processes answers all of them by the same one.
    """

    def __init__(self, server: str, token: str = "") -> None:
        self._server, self._token = server, token
        self._runner = asyncio.Runner()
        self._session: aiohttp.ClientSession | None = None

    def __enter__(self) -> Conversation:
        self._session = self._runner.run(self._connect())
        return self

    def __exit__(self, *exc: object) -> None:
        if self._session is not None:
            self._runner.run(self._session.close())
        self._runner.close()

    def post(self, path: str, answer: type[T], request: msgspec.Struct) -> T:
        """POST to an operation; ends the command as `get` does."""
        call = _call(self._server, path, answer, body=encode(request), token=self._token, session=self._session)
        return _there(self._server, path, _outcome(self._server, call, self._runner.run))

    async def _connect(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(timeout=_PATIENCE)


def ask(server: str, path: str, answer: type[T], request: msgspec.Struct | None = None, token: str = "") -> T | None:
    """Ask for what is only told besides, by POST where there is a `request`; None where the node does not tell it."""
    try:
        return asyncio.run(_call(server, path, answer, body=None if request is None else encode(request), token=token))
    except _UnreachableError as error:
        raise unreachable(server, str(error)) from None
    except _RefusedError:
        return None


def get_each(servers: Sequence[str], path: str, answer: type[T]) -> list[T | str]:
    """GET an operation of several nodes at once; where one gives no answer, why not, in words for people."""

    async def one(server: str) -> T | str:
        try:
            found = await _call(server, path, answer, patience=_SHORT)
        except (_RefusedError, _UnreachableError) as error:
            return str(error)
        return f"{server} does not know {path}" if found is None else found

    async def all_of_them() -> list[T | str]:
        return list(await asyncio.gather(*map(one, servers)))

    return asyncio.run(all_of_them())


class Timed(NamedTuple, Generic[T]):
    """An answer, with the wall clock in ms when it was asked for, and how many ms it took."""

    answer: T
    asked: float
    took: float


def timed_each(servers: Sequence[str], path: str, answer: type[T]) -> list[Timed[T] | str]:
    """GET an operation of several nodes, a few at once, and say how long each took; where one gives no answer, why."""

    async def one(server: str, turn: asyncio.Semaphore) -> Timed[T] | str:
        async with turn:
            try:
                found = await _of_any_process(lambda: _timed(server, path, answer), _ELSEWHERE)
            except (_RefusedError, _UnreachableError) as error:
                return str(error)
        return found or f"{server} does not know {path}"

    async def all_of_them() -> list[Timed[T] | str]:
        turn = asyncio.Semaphore(_AT_ONCE)
        return list(await asyncio.gather(*(one(server, turn) for server in servers)))

    return asyncio.run(all_of_them())


async def _got(server: str, path: str, answer: type[T], query: Mapping[str, str] | None = None) -> T | None:
    return await _of_any_process(lambda: _call(server, path, answer, query=query), _ELSEWHERE_LATER)


async def _of_any_process(call: Callable[[], Coroutine[None, None, S]], pauses: Iterable[float | None]) -> S:
    """Call a node for what changes nothing; where one process of it hangs, another one may answer."""
    tries: list[asyncio.Task[S]] = []
    try:
        for pause in pauses:
            tries.append(asyncio.create_task(call()))
            done, _ = await asyncio.wait(tries, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            if done:
                break
        return done.pop().result()
    finally:
        for each in tries:
            each.cancel()
        await asyncio.gather(*tries, return_exceptions=True)


async def _timed(server: str, path: str, answer: type[T]) -> Timed[T] | None:
    asked, began = time.time() * 1000, time.monotonic()
    found = await _call(server, path, answer, patience=_SHORT)
    return None if found is None else Timed(found, asked, (time.monotonic() - began) * 1000)


def _run(server: str, call: Coroutine[None, None, T | None]) -> T | None:
    return _outcome(server, call, asyncio.run)


def _outcome(
    server: str,
    call: Coroutine[None, None, T | None],
    run: Callable[[Coroutine[None, None, T | None]], T | None],
) -> T | None:
    try:
        return run(call)
    except _UnreachableError as error:
        raise unreachable(server, str(error)) from None
    except _RefusedError as refusal:
        say(str(refusal))
        raise typer.Exit(FAILED) from None


def _there(server: str, path: str, found: T | None) -> T:
    if found is None:
        say(f"{server} does not know {path}; is it a node of another kind or version?")
        raise typer.Exit(FAILED)
    return found


async def _call(
    server: str,
    path: str,
    answer: type[T],
    *,
    query: Mapping[str, str] | None = None,
    body: bytes | None = None,
    token: str = "",
    patience: aiohttp.ClientTimeout = _PATIENCE,
    session: aiohttp.ClientSession | None = None,
) -> T | None:
    """Make one call, over `session` where there is one; None where the node does not know the operation."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if body is not None:
        headers["Content-Type"] = "application/json"
    url = f"{server.rstrip('/')}/api/{path}"
    try:
        async with (
            aiohttp.ClientSession(timeout=patience) if session is None else nullcontext(session) as connection,
            connection.request(
                "GET" if body is None else "POST",
                url,
                params=query,
                data=body,
                headers=headers,
                allow_redirects=False,
                ssl=client_context(trusted()) if url.startswith("https:") else True,
            ) as response,
        ):
            raw = await response.read()
            status = response.status
    except TimeoutError:
        raise _UnreachableError(f"no answer within {patience.total:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _UnreachableError(in_words(error)) from None
    if status == _NOT_FOUND:
        return None
    if status == _UNAUTHORIZED:
        raise _RefusedError(_denied(server, token))
    if status >= 300:
        raise _RefusedError(_refusal(server, path, status, raw))
    return _answer(server, path, answer, raw, token)


def _answer(server: str, path: str, answer: type[T], raw: bytes, token: str) -> T:
    try:
        decoded = decode(answer, raw)
    except MalformedBody as error:
        raise _RefusedError(f"{server} answers {path} with something else: {error}") from None
    status = getattr(decoded, "response_status", None)
    if decoded is None or (isinstance(status, ResponseStatus) and status.status == "fail"):
        said = status.message or status.error_code if isinstance(status, ResponseStatus) else "nothing"
        # Where the node speaks of the header that a token travels in, people at a terminal need the option for it.
        why = (
            _denied(server, token)
            if "Authorization" in (said or "")
            else f"{server} refuses {path}: {spelt(said or 'nothing')}"
        )
        raise _RefusedError(why)
    return decoded


def _denied(server: str, token: str) -> str:
    if token:
        return f"{server} does not accept this admin token; it comes from --token-file or ARTEMIS_TOKEN."
    return f"{server} does this for operators alone: give its admin token by --token-file FILE or ARTEMIS_TOKEN."


def _refusal(server: str, path: str, status: int, raw: bytes) -> str:
    try:
        said = msgspec.json.decode(raw, type=_Problem).message
    except msgspec.MsgspecError:
        said = ""
    return f"{server} refuses {path} (HTTP {status}): {said or 'it does not say why; is it a node of the registry?'}"
