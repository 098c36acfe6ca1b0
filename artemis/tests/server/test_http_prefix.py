"""A path prefix, as Java's node URLs contain the servlet context (spec 2): everything is there with and without it."""

import json
from collections.abc import Callable
from urllib.parse import urljoin

import pytest
from doors import Wire, get, instance, post

from artemis.server.config import ServeConfig, own_url

PREFIX = "/artemis-service"


@pytest.mark.parametrize("start_of_path", ["", PREFIX])
@pytest.mark.parametrize("family", ["/api/", "/artemis/api/"])
async def test_operations_answer_with_and_without_the_prefix(
    start: Callable, connect: Callable, start_of_path: str, family: str
) -> None:
    """Both path families answer below the prefix and without it."""
    async with start(path_prefix=PREFIX) as server:
        wire: Wire = await connect(server)
        path = start_of_path + family
        registered = await wire.post(path + "registry/register.json", {"instances": [instance()]})
        assert registered["responseStatus"]["status"] == "success"
        await wire.send(get(path + "discovery/services.json"))
        status, _, body = await wire.answer()
        assert (status, len(json.loads(body)["services"])) == (200, 1)


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/metrics", PREFIX, "/"])
async def test_pages_answer_with_and_without_the_prefix(start: Callable, connect: Callable, path: str) -> None:
    """Health, metrics and the front page are there too."""
    async with start(path_prefix=PREFIX) as server:
        wire: Wire = await connect(server)
        for target in {path, PREFIX + path.removeprefix(PREFIX)}:
            await wire.send(get(target))
            assert (await wire.answer())[0] == 200


@pytest.mark.parametrize(
    "path", ["/artemis-servicex/health/ready", "/other/health/ready", PREFIX * 2 + "/health/ready"]
)
async def test_what_only_looks_like_the_prefix_is_not_found(start: Callable, connect: Callable, path: str) -> None:
    """Another prefix, a longer one and a repeated one are answered 404."""
    async with start(path_prefix=PREFIX) as server:
        wire: Wire = await connect(server)
        await wire.send(get(path))
        assert (await wire.answer())[0] == 404


async def test_the_front_page_lists_paths_with_the_prefix(start: Callable, connect: Callable) -> None:
    """What the front page names can be asked for as it stands."""
    async with start(path_prefix=PREFIX) as server:
        wire: Wire = await connect(server)
        await wire.send(get(PREFIX + "/"))
        page = json.loads((await wire.answer())[2])
        assert PREFIX + "/api/registry/register.json" in page["operations"]
        assert PREFIX + "/health/ready" in page["pages"]


async def test_the_announced_url_has_the_prefix(start: Callable, connect: Callable) -> None:
    """Clients join the node's URL and their paths with one slash, so the URL of the node ends with the prefix."""
    async with start(path_prefix=PREFIX) as server:
        wire: Wire = await connect(server)
        status = await wire.post(PREFIX + "/api/status/node.json", {})
        assert status["nodeStatus"]["node"]["url"] == f"http://127.0.0.1:{server.address[1]}{PREFIX}"


def test_a_given_url_stays_as_it_is() -> None:
    """--self-url says the whole URL."""
    assert own_url(ServeConfig(path_prefix="/a/b", self_url="http://lb:80/x"), 1) == "http://lb:80/x"


@pytest.mark.parametrize("prefix", ["artemis", "/", "/artemis/", "//a", "/a b", "/a?b", "/ä", "/a//b", "/%41"])
def test_a_prefix_that_is_no_path_is_refused(prefix: str) -> None:
    """The prefix starts with a slash, does not end with one, and has unreserved characters only."""
    with pytest.raises(ValueError, match="must start with a slash"):
        ServeConfig(path_prefix=prefix)


async def test_posts_without_the_prefix_do_not_change(wire: Wire) -> None:
    """A node without a prefix finds nothing below one."""
    await wire.send(post(PREFIX + "/api/registry/register.json", b"{}"))
    assert (await wire.answer())[0] == 404


@pytest.mark.parametrize("start_of_path", ["", PREFIX])
@pytest.mark.parametrize(
    "path", ["/ws", "/ws/registry/heartbeat", "/artemis/websocket/discovery/all-instance-change", "/ws?x=1"]
)
async def test_a_websocket_endpoint_says_what_it_is(
    start: Callable, connect: Callable, start_of_path: str, path: str
) -> None:
    """A request that asks for no upgrade is told to (RFC 9110 section 15.5.22), and the connection goes on."""
    async with start(path_prefix=PREFIX) as server:
        wire: Wire = await connect(server)
        await wire.send(get(start_of_path + path))
        status, fields, body = await wire.answer()
        assert (status, fields["upgrade"]) == (426, "websocket")
        assert "WebSocket client" in json.loads(body)["message"]
        await wire.send(get("/health"))
        assert (await wire.answer())[::2] == (200, b"OK")


@pytest.mark.parametrize("start_of_path", ["", PREFIX])
@pytest.mark.parametrize("path", ["/docs/", "/artemis/docs", "/artemis/docs/", "/artemis/openapi.json"])
async def test_addresses_that_people_try_lead_to_the_page(
    start: Callable, connect: Callable, start_of_path: str, path: str
) -> None:
    """The redirect is relative to where it was met, and what it leads to is there."""
    async with start(path_prefix=PREFIX) as server:
        wire: Wire = await connect(server)
        await wire.send(get(start_of_path + path))
        status, fields, _ = await wire.answer()
        assert status == 308
        where = urljoin(start_of_path + path, fields["location"])
        assert where in {f"{start_of_path}/docs", f"{start_of_path}/openapi.json"}
        await wire.send(get(where))
        assert (await wire.answer())[0] == 200
