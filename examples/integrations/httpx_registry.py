"""`client.get("http://orders/...")` for httpx, async and blocking: transports that send to live instances of `orders`.

    async with ArtemisClient(servers=[...], region_id=..., zone_id=...) as registry:
        async with httpx.AsyncClient(transport=AsyncRegistryTransport(registry)) as http:
            await http.get("http://orders/list")

    with artemis.sync.ArtemisClient(servers=[...], region_id=..., zone_id=...) as registry:
        with httpx.Client(transport=RegistryTransport(registry)) as http:
            http.get("http://orders/list")

Each request is a choice of its own, and what becomes of it is told to the balancer, which leaves failing instances
out. DNS is not asked for names of services. Try it beside examples/service.py:

    python examples/integrations/httpx_registry.py [URL of the registry]
"""

import sys
import time
from collections.abc import Callable

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


def sent_to(instance: Instance, request: httpx.Request) -> httpx.Request:
    """Return the request with the address of an instance; the header Host, and TLS, still name the service."""
    base = httpx.URL(instance.url or "")
    return httpx.Request(
        request.method,
        request.url.copy_with(scheme=base.scheme, host=base.host, port=base.port),
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
        balancer = self._balancers.setdefault(host, self._registry.balancer(host))
        await balancer.ready()  # the first time it looks the service up, then it returns at once
        failed: list[Instance] = []
        while True:
            instance, begun = balancer.next(avoid=failed), time.monotonic()
            try:
                answer = await self._inner.handle_async_request(sent_to(instance, request))
            except httpx.TransportError as error:
                balancer.report(instance, ok=False)
                failed.append(instance)
                if len(failed) >= self._attempts or not may_repeat(error, request):
                    raise
            else:
                seconds = time.monotonic() - begun
                balancer.report(instance, ok=answer.status_code not in TROUBLE, seconds=seconds)
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
        balancer = self._balancers.setdefault(host, self._registry.balancer(host))
        failed: list[Instance] = []
        while True:
            instance, begun = balancer.next(avoid=failed), time.monotonic()
            try:
                answer = self._inner.handle_request(sent_to(instance, request))
            except httpx.TransportError as error:
                balancer.report(instance, ok=False)
                failed.append(instance)
                if len(failed) >= self._attempts or not may_repeat(error, request):
                    raise
            else:
                seconds = time.monotonic() - begun
                balancer.report(instance, ok=answer.status_code not in TROUBLE, seconds=seconds)
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
