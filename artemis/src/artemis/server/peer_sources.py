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


async def follow_source(
    source: Source,
    listed: Callable[[str, Collection[PeerUrl]], None],
    now: Callable[[], int],
    log: FilteringBoundLogger,
) -> None:
    """Read `source` again and again, and hand on with its label each list that applies; until cancelled.

    A source that cannot be read changes nothing. Why is logged once for each reason.
    """
    listing = Listing(source.empty_after)
    told = ""
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
        if listing.trouble not in {"", told}:
            log.warning("list of nodes kept", source=source.label, reason=listing.trouble)
        told = listing.trouble
        await asyncio.sleep(source.every)
