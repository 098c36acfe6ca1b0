"""What every outcome, of a call or of a link, says about the nodes and the registry: one place for all of them.

It moves the client to another node, derives the state of the connection, and tells of both as events. Sends nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from artemis.client.connection import ConnectionState
from artemis.client.errors import printable
from artemis.client.events import NodeSwitched

if TYPE_CHECKING:
    from collections.abc import Callable

    from artemis.client.connection import Connection
    from artemis.client.events import EventFeed, StateChanged
    from artemis.client.nodes.nodes import Nodes


class Contact:
    """Owned by a client, called from its loop; `clock` gives monotonic seconds."""

    def __init__(self, *, nodes: Nodes, connection: Connection, feed: EventFeed, clock: Callable[[], float]) -> None:
        self.nodes = nodes
        self.clock = clock
        self._connection = connection
        self._feed = feed
        self._timer: asyncio.TimerHandle | None = None
        self._watching: asyncio.TimerHandle | None = None
        self._open = False
        self.closed = False
        self._told = nodes.current
        self._on_move: list[Callable[[], None]] = []
        self._on_refused: list[Callable[[], None]] = []
        self._on_heard: list[Callable[[], None]] = []

    @property
    def node(self) -> str:
        """The URL of the node to talk to."""
        return self.nodes.current

    @property
    def state(self) -> ConnectionState:
        """What is known about the registry, at this moment; any thread may ask. Of no use to a closed client: lost."""
        return ConnectionState.LOST if self.closed else self._connection.state_at(self.clock())

    def on_move(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called after the client went to another node; it must not raise, and must not wait."""
        self._on_move.append(callback)

    def on_refused(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called when the node refuses to serve and no other is known to go to; as for `on_move`."""
        self._on_refused.append(callback)

    def on_heard(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called at every usable answer, so it has to be quick; it must not raise."""
        self._on_heard.append(callback)

    def open(self) -> None:
        """Allow timers."""
        self._open = True
        self._watch()

    def close(self) -> None:
        """End the timers; outcomes that come later start none."""
        self._open, self.closed = False, True
        for timer in (self._timer, self._watching):
            if timer is not None:
                timer.cancel()

    def heard(self) -> None:
        """Note that a node gave a usable answer."""
        now = self.clock()
        self._tell(self._connection.watch(now))
        self._tell(self._connection.answered(now))
        for callback in self._on_heard:
            callback()

    def silent(self, reason: str) -> None:
        """Note that a call ended without an answer of any node, or that the only link is lost and not made again."""
        self._tell(self._connection.failed(reason))
        self._tick()

    def failed(self, node: str, reason: str) -> None:
        """Note that a node failed: the client leaves it, if it is its own and there is another."""
        self.nodes.failed(node, self.clock())
        self.moved(reason)
        self.refused(node)

    def refused(self, node: str) -> None:
        """Note that a node would not serve; where the client stays with it nevertheless, it needs to hear of others."""
        if node == self.nodes.current:
            for callback in self._on_refused:
                callback()

    def move(self, node: str, reason: str) -> None:
        """Go to ``node``, not because the present one failed but because it is the better one."""
        self.nodes.move(node)
        self.moved(reason)

    def moved(self, reason: str) -> None:
        """Tell of it if the client talks to another node than was told last; ``reason`` may be a node's own words."""
        before, self._told = self._told, self.nodes.current
        if self._told != before:
            self._feed.publish(NodeSwitched(before, self._told, printable(reason)))
            for callback in self._on_move:
                callback()

    def _tick(self) -> None:
        self._tell(self._connection.tick(self.clock()))
        if self._timer is not None:
            self._timer.cancel()
        due = self._connection.lost_at
        if due is not None and self._open:
            self._timer = asyncio.get_running_loop().call_later(max(0.001, due - self.clock()), self._tick)

    def _watch(self) -> None:
        self._tell(self._connection.watch(self.clock()))
        self._watching = asyncio.get_running_loop().call_later(self._connection.watch_interval, self._watch)

    def _tell(self, change: StateChanged | None) -> None:
        if change is not None:
            self._feed.publish(change)
