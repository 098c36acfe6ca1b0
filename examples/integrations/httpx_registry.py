"""`client.get("http://orders/...")` for httpx, async and blocking: transports that send to live instances of `orders`.

    async with ArtemisClient(servers=[...], region_id=..., zone_id=...) as registry:
        async with httpx.AsyncClient(transport=AsyncRegistryTransport(registry)) as http:
            await http.get("http://orders/list")

    with artemis.sync.ArtemisClient(servers=[...], region_id=..., zone_id=...) as registry:
        with httpx.Client(transport=RegistryTransport(registry)) as http:
            http.get("http://orders/list")

Each request is a choice of its own, and what becomes of it, to the end of the body of the answer, is told to the
balancer, which leaves failing instances out. DNS is not asked for names of services. `https://orders/` goes to
instances with an https url alone; the name that is verified is the service's. A path in the url of an instance comes
before that of the request. Names with a dot are hosts unless `is_service` says otherwise:
`is_service=lambda host: host == "com.example.orders"`. Try it beside examples/service.py:

    python examples/integrations/httpx_registry.py [URL of the registry]
"""

import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx

import artemis
import artemis.sync
from artemis import Instance

IDEMPOTENT = {"DELETE", "GET", "HEAD", "OPTIONS", "PUT", "TRACE"}
TROUBLE = {502, 503, 504}
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout)
BROKEN = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)


def is_service(host: str) -> bool:
    """Take a name without a dot for a service; `localhost` and addresses are not."""
    return "." not in host and ":" not in host and host != "localhost"


def base_of(instance: Instance) -> httpx.URL:
    """Return the URL of an instance; without a scheme it is taken for http."""
    url = instance.url or ""
    try:
        base = httpx.URL(url if "://" in url else f"http://{url}")
    except httpx.InvalidURL as error:
        raise httpx.UnsupportedProtocol(f"{url!r} is not the URL of an instance: {error}") from None
    if base.scheme not in {"http", "https"} or not base.host:
        raise httpx.UnsupportedProtocol(f"{url!r} is not the URL of an instance that speaks HTTP")
    return base


def check_port(request: httpx.Request) -> None:
    if request.url.port is not None:
        raise httpx.UnsupportedProtocol(
            f"{request.url} names a service and a port, but the ports are those of its instances"
        )


def sent_to(instance: Instance, request: httpx.Request) -> httpx.Request:
    """Return the request with the address of an instance; the header Host, and TLS, still name the service."""
    base = base_of(instance)
    if request.url.scheme == "https" and base.scheme != "https":
        raise httpx.UnsupportedProtocol(f"{request.url} asks for TLS, and the instance {instance.url} has none")
    path = base.raw_path.partition(b"?")[0].rstrip(b"/") + request.url.raw_path
    return httpx.Request(
        request.method,
        request.url.copy_with(scheme=base.scheme, host=base.host, port=base.port, raw_path=path),
        headers=request.headers,
        stream=request.stream,
        extensions={"sni_hostname": request.url.host, **request.extensions},
    )


def may_repeat(error: Exception, request: httpx.Request) -> bool:
    """Say whether another instance may be asked: nothing was sent, or it may be carried out twice and has no body."""
    if isinstance(error, NOT_SENT):
        return True
    has_body = "Content-Length" in request.headers or "Transfer-Encoding" in request.headers
    return isinstance(error, BROKEN) and request.method in IDEMPOTENT and not has_body


class Reported(httpx.AsyncByteStream, httpx.SyncByteStream):
    """The body of an answer, which tells the balancer how the request ended: after it, or in its middle."""

    def __init__(
        self,
        answer: httpx.Response,
        balancer: artemis.Balancer | artemis.sync.Balancer,
        instance: Instance,
        begun: float,
    ) -> None:
        self._stream: Any = answer.stream  # of one kind or the other, as the transport is
        self._ok = answer.status_code not in TROUBLE
        self._begun = begun
        self._balancer = balancer
        self._instance = instance

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._stream:
                yield part
        except httpx.TransportError:
            self._ok = False
            raise

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._stream
        except httpx.TransportError:
            self._ok = False
            raise

    async def aclose(self) -> None:
        self._report()
        await self._stream.aclose()

    def close(self) -> None:
        self._report()
        self._stream.close()

    def _report(self) -> None:
        self._balancer.report(self._instance, ok=self._ok, seconds=time.monotonic() - self._begun)


class AsyncRegistryTransport(httpx.AsyncBaseTransport):
    """Asks at most `attempts` instances for one request; everything else goes to `inner` as it is.

    502 to 504 count against the instance, and are the caller's answer all the same. Closing it closes `inner`, not
    the registry's client.
    """

    def __init__(
        self,
        registry: artemis.ArtemisClient,
        inner: httpx.AsyncBaseTransport | None = None,
        *,
        attempts: int = 3,
        is_service: Callable[[str], bool] = is_service,
    ) -> None:
        self._registry = registry
        self._inner = inner or httpx.AsyncHTTPTransport()
        self._attempts = attempts
        self._is_service = is_service
        self._balancers: dict[str, artemis.Balancer] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        if not self._is_service(host):
            return await self._inner.handle_async_request(request)
        check_port(request)
        balancer = self._balancers.setdefault(host, self._registry.balancer(host))
        await balancer.ready()  # the first time it looks the service up, then it returns at once
        failed: list[Instance] = []
        tried = 0
        while True:
            instance, begun = balancer.next(avoid=failed), time.monotonic()
            try:
                answer = await self._inner.handle_async_request(sent_to(instance, request))
            except httpx.UnsupportedProtocol:
                # It says nothing about how the instance is, and others may do.
                if instance in failed:
                    raise
                failed.append(instance)
            except httpx.TransportError as error:
                balancer.report(instance, ok=False)
                failed.append(instance)
                tried += 1
                if tried >= self._attempts or not may_repeat(error, request):
                    raise
            else:
                answer.stream = Reported(answer, balancer, instance, begun)
                return answer

    async def aclose(self) -> None:
        await self._inner.aclose()


class RegistryTransport(httpx.BaseTransport):
    """The same for code that blocks, with `artemis.sync.ArtemisClient`; thread-safe as `httpx.Client` is."""

    def __init__(
        self,
        registry: artemis.sync.ArtemisClient,
        inner: httpx.BaseTransport | None = None,
        *,
        attempts: int = 3,
        is_service: Callable[[str], bool] = is_service,
    ) -> None:
        self._registry = registry
        self._inner = inner or httpx.HTTPTransport()
        self._attempts = attempts
        self._is_service = is_service
        self._balancers: dict[str, artemis.sync.Balancer] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        if not self._is_service(host):
            return self._inner.handle_request(request)
        check_port(request)
        balancer = self._balancers.setdefault(host, self._registry.balancer(host))
        failed: list[Instance] = []
        tried = 0
        while True:
            instance, begun = balancer.next(avoid=failed), time.monotonic()
            try:
                answer = self._inner.handle_request(sent_to(instance, request))
            except httpx.UnsupportedProtocol:
                # It says nothing about how the instance is, and others may do.
                if instance in failed:
                    raise
                failed.append(instance)
            except httpx.TransportError as error:
                balancer.report(instance, ok=False)
                failed.append(instance)
                tried += 1
                if tried >= self._attempts or not may_repeat(error, request):
                    raise
            else:
                answer.stream = Reported(answer, balancer, instance, begun)
                return answer

    def close(self) -> None:
        self._inner.close()


def main(registry_url: str) -> None:
    with (
        artemis.sync.ArtemisClient(servers=[registry_url], region_id="local", zone_id="zone1") as registry,
        httpx.Client(transport=RegistryTransport(registry)) as http,
    ):
        for _ in range(3):
            print(http.get("http://greetings/hello").text)


if __name__ == "__main__":
    main(*sys.argv[1:] or ["http://127.0.0.1:8080"])
