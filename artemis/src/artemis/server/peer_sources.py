"""The sources of the list of nodes that a node's options name, and how they are followed while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from artemis.cluster.sources.file import PeersFile
from artemis.cluster.sources.listing import Listing, Source, SourceError
from artemis.cluster.sources.names import PeersName
from artemis.server.beside import beside

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from artemis.cluster.addresses import PeerUrl
    from artemis.server.config import ServeConfig


def sources_of(config: ServeConfig, own: PeerUrl) -> list[Source]:
    """The sources beside the options themselves; nodes found by name are like this one, `own`, where nothing else is
    said."""
    sources: list[Source] = []
    if config.peers_file is not None:
        sources.append(PeersFile(config.peers_file))
    if config.peers_dns is not None:
        sources.append(PeersName(config.peers_dns, scheme=own.scheme, port=own.port, every=config.peers_refresh))
    return sources


REPEAT = 300_000
"""Milliseconds after which it is said again what is wrong with a source, while that lasts."""


async def follow_source(
    source: Source,
    listed: Callable[[str, Collection[PeerUrl]], None],
    troubled: Callable[[str, str], None],
    now: Callable[[], int],
    log: FilteringBoundLogger,
) -> None:
    """Read `source` again and again, and hand on with its label each list that applies; until cancelled.

    A source that cannot be read changes nothing. `troubled` hears with its label why its list may not be what it should
    be, empty as soon as it is. That is logged for each reason, and again every few minutes while it lasts.
    """
    listing = Listing(source.empty_after)
    told, again = "", 0
    while True:
        try:
            if listing.answered(await beside(source.read), now()):
                log.info("nodes listed", source=source.label, nodes=sorted(str(url) for url in listing.applied or ()))
                listed(source.label, listing.applied or ())
        except SourceError as error:
            listing.failed(str(error))
        except Exception as error:  # else one surprise would be the end of following, silently
            listing.failed(repr(error))
            log.exception("nodes not listed", source=source.label)
        trouble = listing.trouble or _nobody(source, listing)
        if trouble != told:
            troubled(source.label, trouble)
        if trouble and (trouble != told or now() >= again):
            again = now() + REPEAT
            log.warning("list of nodes kept", source=source.label, reason=trouble)
        told = trouble
        await asyncio.sleep(source.every)


def _nobody(source: Source, listing: Listing) -> str:
    """Return what is to be said of a source that names nobody, where that is no choice: a name in DNS stands for
    something, and the node itself is part of it."""
    return "it names no nodes" if source.empty_after > 0 and listing.applied == frozenset() else ""
