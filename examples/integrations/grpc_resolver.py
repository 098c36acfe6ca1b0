"""gRPC by the name of a service: a channel that sends each call to a live instance of it.

    async with ArtemisClient(servers=[...], region_id=..., zone_id=...) as registry:
        async with await RegistryChannel.to(registry, "orders") as channel:
            stub = OrdersStub(channel)  # as generated
            await stub.List(...)

gRPC for Python has no interface for name resolvers of one's own. A list of addresses in the target
(`ipv4:10.0.0.7:80,10.0.0.8:80` with the policy `round_robin`) works, but it is fixed for the life of a channel: every
change of the service would mean a new channel and new connections to everybody. So this is a `grpc.aio.Channel` that
holds one channel for each instance, follows the registry, and chooses among those that are connected. DNS is not asked
for names of services.

Limits: a call goes to one instance; if that breaks in the middle the caller gets UNAVAILABLE, as the call may have been
carried out (the next call goes elsewhere). Instances need an `ip` and a `port`. `grpc.aio` alone. Retry and balancing
policies of a service config work within the channel of one instance, so they have nothing to choose from.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Self

import grpc
import grpc.aio

from artemis import ArtemisClient, Balancer, Instance

State = grpc.ChannelConnectivity
# What says something about the instance, and not about the request.
FAULTS = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}


def address(instance: Instance) -> str:
    """Return the target of an instance; the scheme keeps gRPC from asking DNS."""
    ip = instance.ip or ""
    return f"ipv6:[{ip}]:{instance.port}" if ":" in ip else f"ipv4:{ip}:{instance.port}"


class RegistryChannel(grpc.aio.Channel):
    """One event loop. Closing it closes the channels of the instances; the registry's client stays its owner's.

    `connect` makes the channel to a target; the default is not encrypted. With TLS give the name to be verified:
    `lambda target: grpc.aio.secure_channel(target, credentials, [("grpc.ssl_target_name_override", "orders")])`.
    """

    def __init__(self, registry: ArtemisClient, service_id: str, connect: Callable[[str], grpc.aio.Channel]) -> None:
        self._registry = registry
        self._service_id = service_id
        self._connect = connect
        self._balancer: Balancer = registry.balancer(service_id)
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def to(
        cls,
        registry: ArtemisClient,
        service_id: str,
        connect: Callable[[str], grpc.aio.Channel] = grpc.aio.insecure_channel,
    ) -> Self:
        """Look the service up, and begin to connect to its instances."""
        channel = cls(registry, service_id, connect)
        await channel._balancer.ready()
        for instance in (await registry.service(service_id)).instances:
            channel._channel(instance)
        channel._run(channel._follow())
        return channel

    def unary_unary(self, method: str, *arguments: Any, **options: Any) -> "Method":
        return Method(self, "unary_unary", method, arguments, options)

    def unary_stream(self, method: str, *arguments: Any, **options: Any) -> "Method":
        return Method(self, "unary_stream", method, arguments, options)

    def stream_unary(self, method: str, *arguments: Any, **options: Any) -> "Method":
        return Method(self, "stream_unary", method, arguments, options)

    def stream_stream(self, method: str, *arguments: Any, **options: Any) -> "Method":
        return Method(self, "stream_stream", method, arguments, options)

    def begin(self, call: Callable[[grpc.aio.Channel], grpc.aio.Call]) -> grpc.aio.Call:
        """Make a call at a chosen instance, and tell the balancer what becomes of it."""
        instance = self._choose()
        begun = asyncio.get_running_loop().time()
        called = call(self._channel(instance))
        called.add_done_callback(lambda done: self._run(self._report(instance, done, begun)))
        return called

    def get_state(self, try_to_connect: bool = False) -> State:
        """Return the best state of any instance."""
        states = {channel.get_state(try_to_connect) for channel in self._channels.values()}
        return next((s for s in (State.READY, State.CONNECTING, State.IDLE) if s in states), State.TRANSIENT_FAILURE)

    async def wait_for_state_change(self, last_observed_state: State) -> None:
        while self.get_state() == last_observed_state:  # noqa: ASYNC110 - gRPC waits for one channel alone
            await asyncio.sleep(0.05)

    async def channel_ready(self) -> None:
        """Wait until some instance is connected."""
        while self.get_state(try_to_connect=True) is not State.READY:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.05)

    async def close(self, grace: float | None = None) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(channel.close(grace) for channel in self._channels.values()))
        self._channels.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _choose(self) -> Instance:
        """Return an instance whose channel is connected, or else one that may still be."""
        avoid: list[Instance] = []
        first = instance = self._balancer.next()
        while self._channel(instance).get_state(try_to_connect=True) is not State.READY:
            avoid.append(instance)
            instance = self._balancer.next(avoid=avoid)
            if instance in avoid:  # all were looked at: wait for a connection within the call
                return first
        return instance

    def _channel(self, instance: Instance) -> grpc.aio.Channel:
        target = address(instance)
        channel = self._channels.get(target)
        if channel is None:
            channel = self._channels[target] = self._connect(target)
            channel.get_state(try_to_connect=True)
        return channel

    async def _follow(self) -> None:
        """Connect to instances that come; let calls to those that go end before their channels are closed."""
        async for change in self._registry.watch(self._service_id):
            if change.change_type != "delete":
                self._channel(change.instance)
            elif (left := self._channels.pop(address(change.instance), None)) is not None:
                self._run(left.close(grace=30))

    async def _report(self, instance: Instance, call: grpc.aio.Call, begun: float) -> None:
        code = await call.code()
        if code is not grpc.StatusCode.CANCELLED:
            seconds = asyncio.get_running_loop().time() - begun
            self._balancer.report(instance, ok=code not in FAULTS, seconds=seconds)

    def _run(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Method(
    grpc.aio.UnaryUnaryMultiCallable,
    grpc.aio.UnaryStreamMultiCallable,
    grpc.aio.StreamUnaryMultiCallable,
    grpc.aio.StreamStreamMultiCallable,
):
    """A method of the service as stubs hold it: each call of it goes to an instance of its own."""

    def __init__(
        self, channel: RegistryChannel, kind: str, method: str, arguments: Sequence[Any], options: dict[str, Any]
    ) -> None:
        self._channel = channel
        self._kind = kind
        self._method = method
        self._arguments = arguments
        self._options = options

    def __call__(self, request: Any = None, **options: Any) -> Any:
        given = [] if request is None else [request]

        def call(channel: grpc.aio.Channel) -> grpc.aio.Call:
            made = getattr(channel, self._kind)(self._method, *self._arguments, **self._options)
            return made(*given, **options)

        return self._channel.begin(call)
