"""`session.get("http://orders/...")` for aiohttp: a middleware that sends such requests to live instances of `orders`.

    async with ArtemisClient(servers=[...], region_id=..., zone_id=...) as registry:
        async with aiohttp.ClientSession(middlewares=[RegistryMiddleware(registry)]) as http:
            async with http.get("http://orders/list") as answer:
                ...

Each request is a choice of its own, and what becomes of it, to the end of the body of the answer, is told to the
balancer, which leaves failing instances out. DNS is not asked for names of services. `https://orders/` goes to
instances with an https url alone; the name that is verified is the service's. A path in the url of an instance comes
before that of the request. Names with a dot are hosts unless `is_service` says otherwise:
`is_service=lambda host: host == "com.example.orders"`. Try it beside examples/service.py:

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


def target(asked: URL, instance: Instance) -> URL:
    """Return the URL of the request at an instance; `aiohttp.InvalidURL` if it may not or cannot go there."""
    url = instance.url or ""
    try:
        base = URL(url if "://" in url else f"http://{url}")
        usable = base.scheme in {"http", "https"} and base.host
    except ValueError:
        usable = None
    if not usable:
        raise aiohttp.InvalidURL(url, "is not the URL of an instance")
    if asked.scheme == "https" and base.scheme != "https":
        raise aiohttp.InvalidURL(asked, f"asks for TLS, and the instance {url} has none")
    return (
        asked.with_scheme(base.scheme)
        .with_host(base.host or "")
        .with_port(base.port)
        .with_path(base.raw_path.rstrip("/") + asked.raw_path, encoded=True, keep_query=True, keep_fragment=True)
    )


def may_repeat(error: Exception, request: aiohttp.ClientRequest) -> bool:
    """Say whether another instance may be asked: nothing was sent, or it may be carried out twice and has no body."""
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return True
    return isinstance(error, aiohttp.ClientConnectionError) and request.method in IDEMPOTENT and not request.body


def report_at_end(answer: aiohttp.ClientResponse, balancer: Balancer, instance: Instance, begun: float) -> None:
    """Tell the balancer how a request ended, when its connection is given back: after the body, or in its middle."""

    def report() -> None:
        ok = answer.status not in TROUBLE and answer.content.exception() is None
        balancer.report(instance, ok=ok, seconds=time.monotonic() - begun)

    if answer.connection is None:  # an answer without a body has ended already
        report()
    else:
        answer.connection.add_callback(report)


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
        if asked.explicit_port is not None:
            raise aiohttp.InvalidURL(asked, "names a service and a port, but the ports are those of its instances")
        balancer = self._balancers.setdefault(host, self._registry.balancer(host))
        await balancer.ready()  # the first time it looks the service up, then it returns at once
        failed: list[Instance] = []
        tried = 0
        try:
            while True:
                instance = balancer.next(avoid=failed)
                # The connection goes to the instance and is pooled for it; the header Host still names the service.
                begun = time.monotonic()
                try:
                    request.url = target(asked, instance)
                    answer = await handler(request)
                except aiohttp.InvalidURL:
                    # It says nothing about how the instance is, and others may do.
                    if instance in failed:
                        raise
                    failed.append(instance)
                except (aiohttp.ClientConnectionError, TimeoutError) as error:
                    balancer.report(instance, ok=False)
                    failed.append(instance)
                    tried += 1
                    if tried >= self._attempts or not may_repeat(error, request):
                        raise
                else:
                    report_at_end(answer, balancer, instance, begun)
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
