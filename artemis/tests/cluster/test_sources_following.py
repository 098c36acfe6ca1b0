"""Sources that are followed while a node runs."""

import asyncio
from collections.abc import Collection
from itertools import count, repeat
from pathlib import Path

import structlog
from structlog.testing import LogCapture

from artemis.cluster.addresses import PeerUrl, peer_url
from artemis.cluster.sources.listing import Source, SourceError
from artemis.server.config import ServeConfig, checked
from artemis.server.peer_sources import REPEAT, follow_source, sources_of

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


async def followed(
    *answers: Collection[PeerUrl] | Exception,
    step: int = 0,
    empty_after: int = 0,
    troubles: list[str] | None = None,
) -> tuple[list[tuple[str, set[PeerUrl]]], LogCapture]:
    """What becomes of these answers: the lists that were handed on, and the log.

    `step` milliseconds pass with each look at the clock; `troubles` takes what was wrong.
    """
    lists: list[tuple[str, set[PeerUrl]]] = []
    log = LogCapture()
    source = Script(*answers)
    source.empty_after = empty_after
    wrong = [] if troubles is None else troubles
    clock = count(0, step) if step else repeat(0)
    logger = structlog.wrap_logger(None, processors=[log], wrapper_class=structlog.stdlib.BoundLogger)
    task = asyncio.create_task(
        follow_source(
            source,
            lambda label, urls: lists.append((label, set(urls))),
            lambda _, why: wrong.append(why),
            lambda: next(clock),
            logger,
        )
    )
    async with asyncio.timeout(30):
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


async def test_what_is_wrong_is_told_again_every_few_minutes_while_it_lasts() -> None:
    """Whoever looks at the log later sees it too; a source that works is not told of."""
    broken = SourceError("broken")
    _, log = await followed(*[broken] * 20, [A], [A], [A], step=REPEAT // 6)
    kept = [entry["reason"] for entry in log.entries if entry["event"] == "list of nodes kept"]
    assert 3 <= kept.count("broken; nobody is known yet") < 10


async def test_a_name_that_stands_for_nobody_is_wrong() -> None:
    """Not so a file that names nobody, as somebody wrote it so."""
    wrong: list[str] = []
    lists, _ = await followed([], [], [A], [], step=10, empty_after=5, troubles=wrong)
    assert [("script", set()), ("script", {A})] == lists
    unsure = "it names no nodes, which is not believed at once; "
    first = [
        f"{unsure}nobody is known yet",
        "it names no nodes",
        "",
        f"{unsure}the nodes that it named before are kept",
    ]
    assert first == wrong[:4]
    none: list[str] = []
    await followed([], [], troubles=none)
    assert "it names no nodes" not in none


def test_options_name_the_sources() -> None:
    """Nodes found by name are like this one: same scheme, same port."""
    assert [] == sources_of(ServeConfig(), A)
    found = sources_of(checked({"peers_file": Path("f"), "peers_dns": "127.0.0.1", "peers_refresh": 7.0}, {}), A)
    assert [("file f", 1.0), ("DNS name 127.0.0.1", 7.0)] == [(source.label, source.every) for source in found]
    assert [peer_url("http://127.0.0.1:1")] == list(found[1].read())
