"""What travels over the link, what over HTTP, and what becomes of a call when the link does not last."""

import asyncio
from collections.abc import Sequence

import pytest

from artemis import LinkKind, Reply, TransportFailure
from artemis.client.links.carrier import MAX_REFUSAL, Carrier
from artemis.client.links.link import Confirmation, LinkFailure, Subscribed, Want

NODE = "http://127.0.0.1:8080"
PATH = "status/node.json"
REFUSAL = b'{"responseStatus":{"status":"fail","errorCode":"bad-request","message":"it does not fit"}}'


class Http:
    """Answers calls and remembers them."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.closed = False

    async def call(self, node: str, path: str, body: bytes, timeout: float) -> Reply:  # noqa: ASYNC109 - as `Transport.call`
        """Answer."""
        _ = body, timeout
        self.asked.append((node, path))
        return Reply(b"over http")

    async def close(self) -> None:
        """Note it."""
        self.closed = True


class Scripted:
    """A link that answers, or fails, as it is told."""

    kind = LinkKind.MSGTRANS
    node = NODE
    lifetime: float | None = None
    carries_calls = True
    confirms = True

    def __init__(self, outcome: bytes | LinkFailure) -> None:
        self.outcome = outcome

    async def call(self, path: str, body: bytes, timeout: float) -> Reply:  # noqa: ASYNC109 - as `Transport.call`
        """Do as told."""
        _ = path, body, timeout
        if isinstance(self.outcome, LinkFailure):
            raise self.outcome
        return Reply(self.outcome, "cursor", 1.5)

    async def subscribe(self, wants: Sequence[Want]) -> Subscribed:
        """Nothing."""
        _ = wants
        return Subscribed()

    async def unsubscribe(self, service_ids: Sequence[str]) -> None:
        """Nothing."""

    async def confirm(self) -> Confirmation:
        """Nothing."""
        return Confirmation(current=False, cursor=None, age=0.0)

    async def ended(self) -> LinkFailure:
        """Never."""
        await asyncio.Event().wait()
        raise AssertionError

    async def close(self) -> None:
        """Nothing."""


async def called(
    link: Scripted | None, node: str = NODE, path: str = PATH
) -> tuple[Reply | TransportFailure, list[tuple[str, str]]]:
    """Make a call; return what came of it, and what went over HTTP."""
    http = Http()
    carrier = Carrier(http, lambda: link, lambda _node, _port: None)
    try:
        outcome: Reply | TransportFailure = await carrier.call(node, path, b"{}", 1.0)
    except TransportFailure as failure:
        outcome = failure
    await carrier.close()
    assert http.closed
    return outcome, http.asked


async def test_a_call_goes_over_the_link_to_its_node() -> None:
    """With the position of its answer."""
    assert (Reply(b"over the link", "cursor", 1.5), []) == await called(Scripted(b"over the link"))


@pytest.mark.parametrize(
    ("link", "node", "path"),
    [
        (None, NODE, PATH),
        (Scripted(b"x"), "http://127.0.0.2:8080", PATH),
        (Scripted(b"x"), NODE, "management/service.json"),
    ],
)
async def test_everything_else_goes_over_http(link: Scripted | None, node: str, path: str) -> None:
    """Without a link, to another node, and what has no number."""
    assert (Reply(b"over http"), [(node, path)]) == await called(link, node, path)


async def test_a_call_that_was_cut_off_is_a_failed_attempt() -> None:
    """The node may have carried it out, so whoever called decides whether to repeat it."""
    outcome, asked = await called(Scripted(LinkFailure("the link broke")))
    assert isinstance(outcome, TransportFailure)
    assert ("the link broke", []) == (str(outcome), asked)


async def test_a_call_that_was_never_sent_goes_over_http_at_once() -> None:
    """Nothing can have come of it."""
    outcome, asked = await called(Scripted(LinkFailure("the link had ended", sent=False)))
    assert (Reply(b"over http"), [(NODE, PATH)]) == (outcome, asked)


async def test_http_has_the_last_word_on_what_is_a_bad_request() -> None:
    """A packet is bounded; an answer that merely quotes the words is an answer."""
    assert Reply(b"over http") == (await called(Scripted(REFUSAL)))[0]
    long = REFUSAL + b" " * MAX_REFUSAL
    assert Reply(long, "cursor", 1.5) == (await called(Scripted(long)))[0]


class Offering(Scripted):
    """A link to a node that serves QUIC."""

    async def call(self, path: str, body: bytes, timeout: float) -> Reply:  # noqa: ASYNC109 - as `Transport.call`
        """Say so."""
        _ = path, body, timeout
        return Reply(b"{}", quic=4433)


@pytest.mark.parametrize(
    ("link", "path", "told"),
    [
        (Offering(b""), PATH, [(NODE, 4433)]),
        (Offering(b""), "cluster/up-registry-nodes.json", [(NODE, 4433)]),
        (Offering(b""), "cluster/up-discovery-nodes.json", [(NODE, 4433)]),
        (Offering(b""), "discovery/lookup.json", []),
        (Scripted(b"{}"), PATH, [(NODE, None)]),
        (None, PATH, [(NODE, None)]),
    ],
)
async def test_what_a_node_says_of_quic_is_told(
    link: Scripted | None, path: str, told: list[tuple[str, int | None]]
) -> None:
    """Also that it says nothing of it any more, but only where it would."""
    heard: list[tuple[str, int | None]] = []
    await Carrier(Http(), lambda: link, lambda node, port: heard.append((node, port))).call(NODE, path, b"{}", 1.0)
    assert told == heard


class Quic(Scripted):
    """A link over UDP."""

    kind = LinkKind.QUIC


@pytest.mark.parametrize(
    ("link", "over_http"), [(Quic, True), (Scripted, False)], ids=["udp may be lost", "tcp is as dead as the node"]
)
async def test_a_call_that_nobody_answers_goes_over_http_if_it_went_over_quic(
    link: type[Scripted], over_http: bool
) -> None:
    """Other failures are the node's on either."""
    outcome, asked = await called(link(LinkFailure("no answer", silent=True)))
    assert over_http == isinstance(outcome, Reply)
    assert over_http == bool(asked)
    assert isinstance((await called(link(LinkFailure("gone"))))[0], TransportFailure)
