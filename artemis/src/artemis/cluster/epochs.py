"""Lives of nodes that are over: when their numbers may be forgotten (design 4.1 "Sweeping", [base]).

An epoch is closed when a later one of its node is known, and leaves the vector a lifetime after that.
Not here: the forgetting (`artemis.registry.merging`).
"""

from collections.abc import Iterable

from artemis.registry import Origin


class Epochs:
    """Which epochs are closed since when. Owned by a replica; `now` is monotonic milliseconds."""

    __slots__ = ("_closed", "_latest")

    def __init__(self) -> None:
        self._closed: dict[Origin, int] = {}
        # The latest epoch of each node that sends renewals.
        self._latest: dict[str, int] = {}

    def seen(self, node: str, epoch: int) -> None:
        """Note that a node lives in this epoch."""
        if epoch > self._latest.get(node, 0):
            self._latest[node] = epoch

    def gone(self, node: str) -> None:
        """Forget what a node said of itself; it is connected no longer."""
        self._latest.pop(node, None)

    def due(self, origins: Iterable[Origin], lifetime: int, now: int) -> dict[str, int]:
        """Return, for each node with epochs that were closed a lifetime ago, below which epoch to forget.

        `origins` are all that the vector names, and those of changes that wait.
        """
        origins = set(origins)
        latest = dict(self._latest)
        for origin in origins:
            latest[origin.node] = max(origin.epoch, latest.get(origin.node, 0))
        closed = {
            origin: self._closed.get(origin, now) for origin in origins if origin.epoch < latest.get(origin.node, 0)
        }
        self._closed = closed
        due: dict[str, int] = {}
        for origin, since in closed.items():
            if now - since > lifetime:
                due[origin.node] = max(origin.epoch + 1, due.get(origin.node, 0))
        return due
