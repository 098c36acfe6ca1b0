"""How the names of nodes are looked up."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from artemis import ArtemisClient, ClientOptions, UnreachableError
from artemis.client.calls.transport import HttpTransport, TransportFailure
from artemis.client.links.link import LinkFailure, LinkKind
from artemis.client.links.opening import NodeOpener
from artemis.client.nodes.names import MOST, Names

OPTIONS = ClientOptions(attempts=2, attempt_timeout=0.05, link_timeout=0.05, backoff=0.0)


class Hanging:
    """A name service that says nothing until it is told to; ``asked`` are the names in order."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers = threading.Event()

    def __call__(self, host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        self.asked.append(host)
        self.answers.wait()
        raise socket.gaierror(socket.EAI_NONAME, "no such name")


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    """Put the name service in place of the system's."""
    one = Hanging()
    monkeypatch.setattr(socket, "getaddrinfo", one)
    yield one
    one.answers.set()


async def test_a_name_service_that_hangs_holds_up_nobody_else(hanging: Hanging) -> None:
    """The pool of the loop stays free for the user, and each name is looked up once, by calls and links together."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    servers = ["http://registry.example:1", "http://registry.example:2"]
    async with ArtemisClient(servers=servers, options=OPTIONS) as client:
        with pytest.raises(UnreachableError):
            await client.api.node_status()
        with pytest.raises(UnreachableError):
            await client.api.node_status()
        assert await asyncio.to_thread(lambda: "free") == "free"
    assert hanging.asked == ["registry.example"]


@pytest.mark.parametrize("kind", [LinkKind.MSGTRANS, LinkKind.WEBSOCKET, LinkKind.JAVA_WEBSOCKET])
async def test_a_link_is_not_tried_while_the_name_is_not_found(hanging: Hanging, kind: LinkKind) -> None:
    """Nothing else of the process looks it up then, and the node counts as one that is not there."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    http = HttpTransport(max_answer_bytes=1000)
    opener = NodeOpener(http=http, options=OPTIONS, tls=None, random=None)  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(LinkFailure, match=r"'registry\.example' is not found within 0\.05 s") as caught:
            await opener.open(kind, "http://registry.example:1", lambda _: None)
        assert caught.value.offered
    assert await asyncio.to_thread(lambda: "free") == "free"
    assert hanging.asked == ["registry.example"]
    hanging.answers.set()


async def test_a_name_that_is_not_there_is_told(hanging: Hanging) -> None:
    """In the words of the system; an address is no name and is not looked up."""
    hanging.answers.set()
    http = HttpTransport(max_answer_bytes=1000)
    with pytest.raises(TransportFailure, match=r"the name 'registry\.example' is not found: no such name"):
        await http.find("http://registry.example:1", 30.0)
    await http.find("http://127.0.0.1:1", 30.0)
    await http.find("http://[::1]:1", 30.0)
    assert hanging.asked == ["registry.example"]


async def test_names_that_hang_are_bounded(hanging: Hanging) -> None:
    """Each holds a thread; a further name fails at once, and all can be asked again when the service answers."""
    names = Names()
    asked = [asyncio.ensure_future(names.resolve(f"n{number}.example")) for number in range(MOST)]
    await asyncio.sleep(0)
    with pytest.raises(OSError, match="name service may hang"):
        await names.resolve("further.example")
    hanging.answers.set()
    for one in asked:
        with pytest.raises(socket.gaierror):
            await one
    with pytest.raises(socket.gaierror):
        await names.resolve("further.example")


def refuse(thread: threading.Thread) -> None:
    """Start no thread, as a system at its limit."""
    raise RuntimeError("can't start new thread")


async def test_a_system_without_threads_is_told_and_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a failed attempt; what could not be asked for does not stand in the way of the next question."""
    http = HttpTransport(max_answer_bytes=1000)
    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", refuse)
        for _ in range(2):
            with pytest.raises(TransportFailure, match=r"'localhost' cannot be looked up: can't start new thread"):
                await http.find("http://localhost:1", 30.0)
    await http.find("http://localhost:1", 30.0)


async def test_at_the_end_of_the_interpreter_the_loop_asks_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread starts any more then, and a client that unregisters needs the name all the same."""
    ended = threading.Thread()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(threading, "main_thread", lambda: ended)
    found = await Names().resolve("localhost", 80, socket.AF_INET)
    assert [(one["host"], one["port"]) for one in found] == [("127.0.0.1", 80)]


async def test_a_name_of_this_machine_is_found() -> None:
    """By the system's own means."""
    found = await Names().resolve("localhost", 80, socket.AF_INET)
    assert {(one["host"], one["port"]) for one in found} == {("127.0.0.1", 80)}
