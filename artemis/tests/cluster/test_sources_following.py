"""Sources that are followed while a node runs."""

import asyncio
from collections.abc import Collection
from pathlib import Path

import structlog
from structlog.testing import LogCapture

from artemis.cluster.addresses import PeerUrl, peer_url
from artemis.cluster.sources.listing import Source, SourceError
from artemis.server.config import ServeConfig, checked
from artemis.server.peer_sources import follow_source, sources_of

A, B = peer_url("http://a:1"), peer_url("http://b:1")


class Script(Source):
    """A source that gives these answers in turn, then tells that it has none left and goes on failing."""

    label = "script"
    every = 0.0
    empty_after = 0

    def __init__(self, *answers: Collection[PeerUrl] | Exception) -> None:
        self._answers = list(answers)
        self.over = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def read(self) -> Collection[PeerUrl]:
        """Return or raise the next answer."""
        if not self._answers:
            self._loop.call_soon_threadsafe(self.over.set)
            raise SourceError("it is over")
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def followed(*answers: Collection[PeerUrl] | Exception) -> tuple[list[tuple[str, set[PeerUrl]]], LogCapture]:
    """What becomes of these answers: the lists that were handed on, and the log."""
    lists: list[tuple[str, set[PeerUrl]]] = []
    log = LogCapture()
    source = Script(*answers)
    logger = structlog.wrap_logger(None, processors=[log], wrapper_class=structlog.stdlib.BoundLogger)
    task = asyncio.create_task(
        follow_source(source, lambda label, urls: lists.append((label, set(urls))), lambda: 0, logger)
    )
    async with asyncio.timeout(10):
        await source.over.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    return lists, log


async def test_each_other_list_is_handed_on_once() -> None:
    """With the name of its source; an emptied one too."""
    lists, _ = await followed([A, B], [B, A], [A], [])
    assert [("script", {A, B}), ("script", {A}), ("script", set())] == lists


async def test_a_failure_changes_nothing_and_is_told_once() -> None:
    """Whatever it is; the source goes on being read."""
    lists, log = await followed(SourceError("broken"), SourceError("broken"), [A], ValueError("a surprise"), [B])
    assert [("script", {A}), ("script", {B})] == lists
    kept = [entry["reason"] for entry in log.entries if entry["event"] == "list of nodes kept"]
    assert [
        "broken; nobody is known yet",
        "ValueError('a surprise'); the nodes that it named before are kept",
    ] == kept[:2]


def test_options_name_the_sources() -> None:
    """Nodes found by name are like this one: same scheme, same port."""
    assert [] == sources_of(ServeConfig(), A)
    found = sources_of(checked({"peers_file": Path("f"), "peers_dns": "127.0.0.1", "peers_refresh": 7.0}, {}), A)
    assert [("file f", 1.0), ("DNS name 127.0.0.1", 7.0)] == [(source.label, source.every) for source in found]
    assert [peer_url("http://127.0.0.1:1")] == list(found[1].read())
