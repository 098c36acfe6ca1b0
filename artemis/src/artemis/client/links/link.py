"""The seam between the SDK and what stays open to a node: what every link can do, and what comes over it.

Not here: how one is made (the modules beside this one), which is used (`ladder`), what pushes mean for a view
(`artemis.client.discovery`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from artemis.client.errors import printable

if TYPE_CHECKING:
    from artemis.client.calls.transport import Reply
    from artemis.model import Instance


class LinkKind(Enum):
    """How a client hears of changes, the best first.

    - ``QUIC``: one connection of the binary protocol, over UDP, carries calls and pushes; it outlives a change of the
      address that the node sees;
    - ``MSGTRANS``: the same over TCP;
    - ``WEBSOCKET``: the same through a WebSocket, for proxies that pass nothing else;
    - ``JAVA_WEBSOCKET``: pushes of a node of the Java product, without cursors; calls go over HTTP;
    - ``LONG_POLL``: HTTP requests that wait for changes;
    - ``POLL``: nothing is open; every service is looked up regularly.
    """

    QUIC = "quic"
    MSGTRANS = "msgtrans"
    WEBSOCKET = "websocket"
    JAVA_WEBSOCKET = "java-websocket"
    LONG_POLL = "long-poll"
    POLL = "poll"


class LinkFailure(Exception):  # noqa: N818 - an outcome that never leaves the SDK, not an error for its users
    """A link could not be made or has ended; the text says why in words for people.

    ``offered`` is False when the node, or what is between, does not speak this kind: another kind may work there. None
    says that it is not known, because nothing was heard. ``sent`` is False when what was asked has certainly not
    reached the node. ``silent``: nobody said anything, the time was over.
    """

    def __init__(self, text: str, *, offered: bool | None = True, sent: bool = True, silent: bool = False) -> None:
        super().__init__(printable(text))
        self.offered = offered
        self.sent = sent
        self.silent = silent


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a push: ``new``, ``change``, ``delete``, or ``reload``: look the service up again."""

    change_type: str
    instance: Instance
    change_time: int


@dataclass(frozen=True, slots=True)
class Push:
    """What a node says of one service, in lower case; ``*`` means all of them, and the instances name theirs.

    ``cursor`` holds when the whole push is applied; None where the node knows no cursors. With ``full_sync`` the
    changes are all instances there are. ``age`` is set by long polls, whose every answer confirms its service, also one
    without changes: how many seconds old the data may have been when it came, and ``missing``, how many nodes that
    leaves out. Elsewhere it is None, and `Link.confirm` tells.
    """

    service: str
    changes: tuple[Change, ...]
    cursor: str | None = None
    full_sync: bool = False
    age: float | None = None
    missing: int = 0


@dataclass(frozen=True, slots=True)
class Want:
    """A service to be told of, from the position ``cursor`` on; None means from now on."""

    service_id: str
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A node's word that everything up to ``cursor`` was pushed before it; its data was ``age`` seconds old then, and
    that leaves ``missing`` nodes out.

    With ``current`` False there was more to push than fits: what is held is not known to be current, ask again. With
    ``heard`` False it is not even a sign of life: something before the node says that it has no time now.
    """

    current: bool
    cursor: str | None
    age: float
    heard: bool = True
    missing: int = 0


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The outcome of subscribing: ``cursor`` of the node's answer, ``refused`` services with the reason.

    ``cursor`` is None where there were several answers, as to services with different cursors, or none that has one.
    """

    cursor: str | None = None
    refused: dict[str, str] = field(default_factory=dict)


EVERYTHING = "*"
"""The service of a push that is about all of them."""

OnPush = Callable[[Push], None]
"""Told of every push, in order, from the loop; must not raise, and must not wait."""


def unheard(push: Push) -> None:
    """Be told of a push that nobody has asked for."""


class Link(Protocol):
    """Something open to one node. Owned by `artemis.client.links.live`; methods may be called concurrently.

    Every method but ``close`` raises ``LinkFailure`` once the link has ended.
    """

    kind: LinkKind
    node: str
    lifetime: float | None
    """Seconds after which a new one has to replace it, because the node ends it soon after; None: never."""

    @property
    def carries_calls(self) -> bool:
        """Whether `call` may be used; otherwise calls go over HTTP."""
        ...

    @property
    def confirms(self) -> bool:
        """Whether `confirm` says what it says; otherwise it is a sign of life, and only lookups tell how old data is.

        Long polls confirm each service by itself, see `Push`, so there it is False.
        """
        ...

    async def call(self, path: str, body: bytes, timeout: float) -> Reply:  # noqa: ASYNC109 - as `Transport.call`
        """As `Transport.call`, to this link's node."""
        ...

    async def subscribe(self, wants: Sequence[Want]) -> Subscribed:
        """Be told of services; each once more with a cursor brings what was missed since."""
        ...

    async def unsubscribe(self, service_ids: Sequence[str]) -> None:
        """Be told of services no longer."""
        ...

    async def confirm(self) -> Confirmation:
        """Ask whether everything has been pushed; also the sign of life of the link."""
        ...

    async def ended(self) -> LinkFailure:
        """Wait until the link has ended; return why.

        ``offered`` then says what that means: True, the node is lost; False, it does not speak this kind after all;
        None, it ended the link in good order and takes a new one.
        """
        ...

    async def finish(self) -> None:
        """Hand on no more pushes, and wait until the calls that are under way have ended, as another link is used."""
        ...

    async def close(self) -> None:
        """End the link; once more does nothing."""
        ...
