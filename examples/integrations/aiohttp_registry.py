"""`session.get("http://orders/...")` for aiohttp: a middleware that sends such requests to live instances of `orders`.

    async with ArtemisClient(servers=[...], region_id=..., zone_id=...) as registry:
        async with aiohttp.ClientSession(middlewares=[RegistryMiddleware(registry)]) as http:
            async with http.get("http://orders/list") as answer:
                ...

Each request is a choice of its own, and what becomes of it is told to the balancer, which leaves failing instances
out. DNS is not asked for names of services. Try it beside examples/service.py:

    python examples/integrations/aiohttp_registry.py [URL of the registry]
"""

import asyncio
import sys
import time
from collections.abc import Callable

import aiohttp
from yarl import URL

from artemis import ArtemisClient, Balancer, Instance

IDEMPOTENT = {"DELETE", "GET", "HEAD", "OPTIONS", "PUT", "TRACE"}
TROUBLE = {502, 503, 504}


def is_service(host: str) -> bool:
    """Take a name without a dot for a service; `localhost` and addresses are not."""
    return "." not in host and ":" not in host and host != "localhost"


def may_repeat(error: Exception, request: aiohttp.ClientRequest) -> bool:
    """Say whether another instance may be asked: nothing was sent, or it may be carried out twice and has no body."""
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return True
    return isinstance(error, aiohttp.ClientConnectionError) and request.method in IDEMPOTENT and not request.body


class RegistryMiddleware:
    """Middleware for `aiohttp.ClientSession` (3.12 or later); owns nothing, so there is nothing to close.

    A request goes to at most `attempts` instances: to another one if no connection came about, and for idempotent
    methods without a body also if the connection broke. An answer of any status is the caller's; 502 to 504 count
    against the instance.
    """

    def __init__(
        self, registry: ArtemisClient, *, attempts: int = 3, is_service: Callable[[str], bool] = is_service
    ) -> None:
        self._registry = registry
        self._attempts = attempts
        self._is_service = is_service
        self._balancers: dict[str, Balancer] = {}

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        asked = request.url
        host = asked.host or ""
        if not self._is_service(host):
            return await handler(request)
        balancer = self._balancers.setdefault(host, self._registry.balancer(host))
        await balancer.ready()  # the first time it looks the service up, then it returns at once
        failed: list[Instance] = []
        try:
            while True:
                instance = balancer.next(avoid=failed)
                # The connection goes to the instance and is pooled for it; the header Host still names the service.
                base = URL(instance.url or "")
                request.url = asked.with_scheme(base.scheme).with_host(base.host or "").with_port(base.port)
                begun = time.monotonic()
                try:
                    answer = await handler(request)
                except (aiohttp.ClientConnectionError, TimeoutError) as error:
                    balancer.report(instance, ok=False)
                    failed.append(instance)
                    if len(failed) >= self._attempts or not may_repeat(error, request):
                        raise
                else:
                    seconds = time.monotonic() - begun
                    balancer.report(instance, ok=answer.status not in TROUBLE, seconds=seconds)
                    return answer
        finally:
            request.url = asked  # redirects and cookies are those of the service, not of an instance


async def main(registry_url: str) -> None:
    async with (
        ArtemisClient(servers=[registry_url], region_id="local", zone_id="zone1") as registry,
        aiohttp.ClientSession(middlewares=[RegistryMiddleware(registry)]) as http,
    ):
        for _ in range(3):
            async with http.get("http://greetings/hello") as answer:
                print(await answer.text())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:] or ["http://127.0.0.1:8080"]))
