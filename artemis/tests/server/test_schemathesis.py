"""Whatever the OpenAPI document allows, and more, is answered as it says, by a real node over HTTP, never with 5xx."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from artemis.server.app import NodeServer
from artemis.server.config import ServeConfig
from artemis.server.openapi import openapi_document
from artemis.server.operations import OPERATIONS

schemathesis = pytest.importorskip("schemathesis")

schemathesis.checks.load_all_checks()
CHECKS = schemathesis.checks.CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    ]
)
SCHEMA = schemathesis.openapi.from_dict(openapi_document(OPERATIONS))
CALLS = {found.ok().label: found.ok() for found in SCHEMA.get_all_operations()}

EXAMPLES = 12


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A node in a thread of its own, as schemathesis waits for its answers."""
    ready, ended = threading.Event(), asyncio.Event()
    running: dict[str, object] = {}
    failures: list[tuple[str, str]] = []

    async def serve() -> None:
        config = ServeConfig(port=0, region="r1", zone="z1", rate_limits=False)
        server = NodeServer(config, structlog.get_logger())
        server._report = lambda operation, trace: failures.append((operation, trace))
        await server.start()
        running.update(url=server.url, loop=asyncio.get_running_loop())
        ready.set()
        await ended.wait()
        await server.stop()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    yield str(running["url"])
    loop = running["loop"]
    assert isinstance(loop, asyncio.AbstractEventLoop)
    loop.call_soon_threadsafe(ended.set)
    thread.join(10)
    assert failures == []


@pytest.mark.parametrize("label", CALLS)
def test_answers_are_as_described(url: str, label: str) -> None:
    """Allowed requests, and such as the schema does not allow, get one of the answers that are described."""
    modes = schemathesis.GenerationMode
    cases = st.one_of(
        CALLS[label].as_strategy(generation_mode=modes.POSITIVE),
        CALLS[label].as_strategy(generation_mode=modes.NEGATIVE),
    )

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def check(case: schemathesis.Case) -> None:
        if case.query and "wait" in case.query:
            case.query["wait"] = "1ms"
        case.validate_response(case.call(base_url=url), checks=CHECKS)

    check()
