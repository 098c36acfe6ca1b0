"""Scripts and programs of one's own: registered for as long as their main function runs.

::

    @registered(Instance(service_id="reports", port=9000), servers=["http://127.0.0.1:8080"])
    def main() -> None:
        serve_for_ever(port=9000)

Not here: frameworks, see `artemis.asgi` and `artemis.wsgi`; programs in other languages, see ``artemis run``.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar, cast

from artemis.client import ArtemisClient
from artemis.client.sync.client import ArtemisClient as BlockingClient
from artemis.model import Instance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artemis.client import ClientOptions, HealthCheck

P = ParamSpec("P")
T = TypeVar("T")

TERMINATED: Final = 128 + signal.SIGTERM
"""The exit code of a program that SIGTERM ended, as shells count."""


def registered(
    *instances: Instance,
    servers: Sequence[str] | None = None,
    region_id: str | None = None,
    zone_id: str | None = None,
    options: ClientOptions | None = None,
    health: HealthCheck | None = None,
    required: bool = True,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator that registers the instances while the function runs, plain or ``async``.

    - ``servers``: URLs of nodes; the variable ``ARTEMIS_SERVERS`` (separated by commas) unless given;
    - ``region_id``, ``zone_id``: the variables ``ARTEMIS_REGION`` and ``ARTEMIS_ZONE`` unless given;
    - ``options``, ``health``, ``required``: as of `ArtemisClient` and its ``registered``.

    Nothing happens before the function is called, but ``TypeError`` for what is no instance. Calling raises what
    registering raises, and ``ValueError`` if no servers are known. However the function ends, the instances are
    unregistered and the callers told.

    In the main thread SIGTERM ends the function too, a plain one with ``SystemExit``, an async one by cancelling it,
    and after that the program with the exit code 143. A program that handles SIGTERM by itself is left alone. A plain
    function that waits in C code meets the end when it returns from there.
    """
    if not instances:
        raise ValueError("nothing to register: give at least one instance")
    for each in instances:
        if not isinstance(each, Instance):
            raise TypeError(
                f"registered() takes instances, not {type(each).__name__}; it makes the client itself, of servers=[URL]"
            )

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        if inspect.iscoroutinefunction(function):
            coroutine = cast("Callable[P, Coroutine[None, None, object]]", function)

            @wraps(function)
            async def living(*args: P.args, **kwargs: P.kwargs) -> object:
                known, region, zone = _place(servers, region_id, zone_id)
                async with (
                    _cancelled_by_sigterm(),
                    ArtemisClient(servers=known, region_id=region, zone_id=zone, options=options) as client,
                    client.registered(*instances, health=health, required=required),
                ):
                    return await coroutine(*args, **kwargs)

            return cast("Callable[P, T]", living)

        @wraps(function)
        def alive(*args: P.args, **kwargs: P.kwargs) -> T:
            known, region, zone = _place(servers, region_id, zone_id)
            with (
                _ended_by_sigterm(),
                BlockingClient(servers=known, region_id=region, zone_id=zone, options=options) as client,
                client.registered(*instances, health=health, required=required),
            ):
                return function(*args, **kwargs)

        return alive

    return decorate


def _place(
    servers: Sequence[str] | None, region_id: str | None, zone_id: str | None
) -> tuple[Sequence[str], str | None, str | None]:
    if servers is None:
        servers = [url.strip() for url in os.environ.get("ARTEMIS_SERVERS", "").split(",") if url.strip()]
    if not servers:
        raise ValueError("no registry to register with: give servers=[URL, ...] or set ARTEMIS_SERVERS=URL,URL")
    return servers, region_id or os.environ.get("ARTEMIS_REGION"), zone_id or os.environ.get("ARTEMIS_ZONE")


def _nobody_else_handles_it() -> bool:
    main = threading.current_thread() is threading.main_thread()
    return main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    if not _nobody_else_handles_it():
        yield
        return

    def end(*_: object) -> None:
        # The second one finds what there was before, so that a program that hangs while it ends can be ended.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise SystemExit(TERMINATED)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@asynccontextmanager
async def _cancelled_by_sigterm() -> AsyncIterator[None]:
    task = asyncio.current_task()
    if task is None or not _nobody_else_handles_it():
        yield
        return
    loop, told = asyncio.get_running_loop(), False

    def end(*_: object) -> None:
        nonlocal told
        told = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        loop.call_soon_threadsafe(task.cancel)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    except asyncio.CancelledError:
        if told:
            raise SystemExit(TERMINATED) from None
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
