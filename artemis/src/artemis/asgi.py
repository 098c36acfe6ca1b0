"""Services on ASGI: registered once the application has started, taken out before it stops.

`RegisteredApp` wraps any ASGI application; `lifespan` is for Starlette, FastAPI and Litestar. Both put the client where
requests find it. Not here: serving; and what runs without a lifespan protocol, see `artemis.wsgi` and `artemis.script`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from artemis.client import ArtemisClient, ArtemisError
from artemis.client.forks import AtFork, note_closed, note_open
from artemis.client.listening import until_listening
from artemis.client.sync.workers import Membership, joined, membership_of

if TYPE_CHECKING:
    from artemis.client import HealthCheck, Registration
    from artemis.model import Instance

Scope = MutableMapping[str, object]
Message = MutableMapping[str, object]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An ASGI 3 application, less exactly typed than frameworks do, so that theirs fit."""

STATE: Final = "artemis"
"""Under this name requests find the client: ``request.state.artemis``, ``app.state.artemis``."""

LEAD_INTERVAL: Final = 0.5
"""Seconds after which a worker looks again whether the one that leads is gone."""
LEAVE_PATIENCE: Final = 3.0
"""Seconds that the last worker waits for the one that led to have let go."""

logger = logging.getLogger("artemis.client")

AppT = TypeVar("AppT")
AppT_contra = TypeVar("AppT_contra", contravariant=True)


class Lifespan(Protocol[AppT_contra]):
    """What frameworks take as ``lifespan=``."""

    def __call__(self, app: AppT_contra, /) -> AbstractAsyncContextManager[Mapping[str, object]]:
        """Return what encloses the life of the application; its value is the state of the requests."""
        ...


ClientSource = ArtemisClient | Callable[[], ArtemisClient]
"""A client that has not been entered, or what makes one: an application that starts several times needs the latter."""


class RegisteredApp:
    """Any ASGI application, with its instances in the registry from after its start-up until before its shutdown.

    ::

        client = ArtemisClient(servers=["http://127.0.0.1:8080"], region_id="local", zone_id="zone1")
        app = RegisteredApp(app, client, Instance(service_id="orders", port=9000))

    - ``instances``, ``health``: as of `ArtemisClient.registered`.
    - ``required``: servers begin to listen after an application has said that it started. Unless it is required, the
      registration waits until the server accepts connections at the first instance's ``ip`` and ``port`` (30 s at most)
      and goes on trying when the registry is away. A required one is made before the application says that it started:
      if that fails, so does the start, and callers may find the instance a moment before the server listens.
    - The client lives as long as the application, and requests find it in ``scope["state"]["artemis"]``.

    At shutdown the instances are unregistered and the callers told (``drain_timeout``), then the application shuts
    down. Servers send the shutdown after they have stopped to accept connections *and* the requests under way have
    ended: until then callers still find an instance whose port is closed, and should go on to another one. With long
    requests bound that time (uvicorn: ``--timeout-graceful-shutdown``), or start the server with `artemis run`, which
    unregisters before the server hears of its end.

    Works with applications that do not know the lifespan protocol. The server has to: one that does not registers
    nothing. Worker processes of one user that serve the same instances are one instance, as of `artemis.wsgi`: the
    first leads and renews it; when it ends another takes over, within a second; whoever ends last unregisters.
    """

    def __init__(
        self,
        app: App,
        client: ClientSource,
        *instances: Instance,
        health: HealthCheck | None = None,
        required: bool = False,
    ) -> None:
        self._app = app
        self._source = client
        self._instances = instances
        self._health = health
        self._required = required
        self._client: ArtemisClient | None = None
        self._state: Mapping[str, object] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or the lifespan."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        if self._client is not None:
            # Servers copy the state of the lifespan into each request; one that has none is helped out.
            scope.setdefault("state", dict(self._state))
            _state_of(scope)[STATE] = self._client
        await self._app(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        try:
            client = _client_of(self._source)
            state = _state_of(scope)
        except Exception as error:
            # One that leaves here would mean that there is no lifespan, and the server would go on without.
            logger.exception("the application does not start: there is no client")
            await send({"type": "lifespan.startup.failed", "message": f"no client of the registry: {error!r}"})
            return
        state[STATE] = client
        self._state = state
        async with _Inner.running(self._app, scope) as inner:
            failure = await inner.start()
            if failure is None:
                failure = await self._serve(client, inner, receive, send)
            await send(failure)

    async def _serve(self, client: ArtemisClient, inner: _Inner, receive: Receive, send: Send) -> Message:
        """Go from the end of the application's start-up to the end of its shutdown; return the last message."""
        started = False
        try:
            async with AsyncExitStack() as stack:
                await _enter(stack, client, self._instances, health=self._health, required=self._required)
                self._client = client
                await send({"type": "lifespan.startup.complete"})
                started = True
                await receive()
                self._client = None
        except Exception as error:
            # Whatever it is, the server has to hear of it: one that leaves here would mean "without a lifespan".
            logger.exception("the registration failed while the application %s", "ended" if started else "started")
            await inner.stop()
            event = "shutdown" if started else "startup"
            return {"type": f"lifespan.{event}.failed", "message": f"registration failed: {error}"}
        return await inner.stop()


def lifespan(
    client: ClientSource,
    *instances: Instance,
    health: HealthCheck | None = None,
    required: bool = False,
    inner: Lifespan[AppT] | None = None,
) -> Lifespan[AppT]:
    """Return a lifespan for Starlette, FastAPI (``lifespan=``) and Litestar (``lifespan=[...]``).

    ::

        app = FastAPI(lifespan=lifespan(client, Instance(service_id="orders", port=9000)))

    Arguments as of `RegisteredApp`; ``inner`` is a lifespan of the application's own: its first half runs before the
    registration, its second after the instances are out. ``app.state.artemis`` is the client, and where the framework
    has it, ``request.state.artemis``. What a required registration raises ends the start of the application.
    """

    @asynccontextmanager
    async def living(app: AppT) -> AsyncIterator[Mapping[str, object]]:
        async with AsyncExitStack() as stack:
            state: dict[str, object] = {}
            if inner is not None:
                state.update(await stack.enter_async_context(inner(app)) or {})
            entered = await _enter(stack, _client_of(client), instances, health=health, required=required)
            state[STATE] = entered
            shared: object = getattr(app, "state", None)
            if shared is not None:
                setattr(shared, STATE, entered)
            yield state

    return living


async def _enter(
    stack: AsyncExitStack,
    client: ArtemisClient,
    instances: tuple[Instance, ...],
    *,
    health: HealthCheck | None,
    required: bool,
) -> ArtemisClient:
    entered = await stack.enter_async_context(client)
    if instances:
        await stack.enter_async_context(_registered(client, instances, health=health, required=required))
    return entered


@asynccontextmanager
async def _registered(
    client: ArtemisClient, instances: tuple[Instance, ...], *, health: HealthCheck | None, required: bool
) -> AsyncIterator[None]:
    """Be registered, or one of the workers that are, of whom one keeps the registration; the last takes it out."""
    membership = await asyncio.to_thread(joined, membership_of(instances))
    at_fork = AtFork(membership.drop)
    note_open(at_fork)

    async def lead() -> None:
        try:
            # Before it leads: one that takes over must not wait, lest the lease ends meanwhile.
            await until_listening(instances[0], client.server)
            while not membership.try_to_lead():  # noqa: ASYNC110 - another process ends, which has no event
                await asyncio.sleep(LEAD_INTERVAL)
            await registration.__aenter__()
        except Exception:
            logger.exception("the application is not registered")

    try:
        leads = membership.try_to_lead()
        registration = client.registered(*instances, health=health, required=required and leads)
        if leads and required:
            await registration.__aenter__()
            leading = None
        else:
            leading = asyncio.create_task(lead(), name="artemis asgi registration")
        try:
            yield
        finally:
            if leading is not None:
                leading.cancel()
                await asyncio.wait([leading])
            await _leave(membership, registration)
    finally:
        membership.drop()
        note_closed(at_fork)


async def _leave(membership: Membership, registration: Registration) -> None:
    if not await asyncio.to_thread(membership.leave):
        registration.hand_over()
        return
    # Whoever led before may just be letting go, and a worker that comes now must not be taken out.
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LEAVE_PATIENCE
    while not membership.try_to_lead() and loop.time() < deadline:  # noqa: ASYNC110 - another process ends
        await asyncio.sleep(0.01)
    if not membership.shared:
        await registration.unregister()
        return
    try:
        # One that has not registered it takes out what the one before has left.
        await registration.take_out()
    except (ArtemisError, ValueError) as error:
        logger.warning("the last worker could not unregister, leases end by themselves: %s", error)


def _client_of(source: ClientSource) -> ArtemisClient:
    return source if isinstance(source, ArtemisClient) else source()


def _state_of(scope: Scope) -> MutableMapping[str, object]:
    state = scope.setdefault("state", {})
    if not isinstance(state, MutableMapping):
        raise TypeError(f"the state of an ASGI scope must be a mapping, not {state!r}")
    return state


class _Inner:
    """The lifespan of the wrapped application, in a task of its own, which it may end early or not know at all."""

    def __init__(self, app: App, scope: Scope) -> None:
        self._told: asyncio.Queue[Message] = asyncio.Queue(2)
        self._said: asyncio.Queue[Message] = asyncio.Queue(2)
        self._known = True
        self._task = asyncio.create_task(self._run(app, scope), name="artemis asgi lifespan")

    @classmethod
    @asynccontextmanager
    async def running(cls, app: App, scope: Scope) -> AsyncIterator[_Inner]:
        """Run it for as long as the block lasts."""
        inner = cls(app, scope)
        try:
            yield inner
        finally:
            inner._task.cancel()
            await asyncio.wait([inner._task])

    async def start(self) -> Message | None:
        """Let it start up; return its message if that failed. One that ends before it answered needs no lifespan."""
        answer = await self._ask("startup")
        if answer is None:
            self._known = False
        return answer if answer is not None and answer["type"] == "lifespan.startup.failed" else None

    async def stop(self) -> Message:
        """Let it shut down; return its last message."""
        answer = await self._ask("shutdown") if self._known else None
        return answer or {"type": "lifespan.shutdown.complete"}

    async def _ask(self, event: str) -> Message | None:
        self._told.put_nowait({"type": f"lifespan.{event}"})
        said = asyncio.ensure_future(self._said.get())
        try:
            await asyncio.wait([said, self._task], return_when=asyncio.FIRST_COMPLETED)
            return said.result() if said.done() else None
        finally:
            said.cancel()

    async def _run(self, app: App, scope: Scope) -> None:
        try:
            await app(scope, self._told.get, self._said.put)
        except Exception:
            # As servers take it: an application that raises on "lifespan" does without, and says no more than that.
            logger.debug("the application does without a lifespan", exc_info=True)
