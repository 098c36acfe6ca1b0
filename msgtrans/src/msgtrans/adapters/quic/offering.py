"""Which application protocols a client offers to which server: what that server took last goes first.

Pure. Not here: what may be offered at all (`QuicClientConfig.offers`), and connecting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from msgtrans.config import QuicClientConfig

REMEMBERED: Final = 1024
"""Servers that are remembered; beyond that the oldest is forgotten, which costs it a refused handshake."""


class Offers:
    """What servers took that refused the first offer. For all clients of a process; forgetting it costs a handshake."""

    def __init__(self) -> None:
        self._taken: dict[str, tuple[str, ...]] = {}

    def order(self, config: QuicClientConfig) -> tuple[tuple[str, ...], ...]:
        """The config's offers, in the order in which to try them."""
        taken = self._taken.get(config.uri)
        return tuple(sorted(config.offers, key=lambda offer: offer != taken))

    def learn(self, config: QuicClientConfig, taken: tuple[str, ...]) -> None:
        """The server took this one."""
        self._taken.pop(config.uri, None)
        if taken != config.offers[0]:
            self._taken[config.uri] = taken
            if len(self._taken) > REMEMBERED:
                self._taken.pop(next(iter(self._taken)), None)
