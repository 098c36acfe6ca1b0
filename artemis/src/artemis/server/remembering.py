"""What a node knows from before: who it is, and what its last snapshot holds.

Not here: the files of snapshots (`persistence`), those of ids (`identity`), and who holds the directory (`claim`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from artemis.server.clock import wall_ms
from artemis.server.config import own_url
from artemis.server.identity import fallback_id, identify
from artemis.server.node import NodeIdentity
from artemis.server.persistence import LATEST, PREVIOUS, Persistence
from artemis.server.workers.leftovers import newer_leftover

if TYPE_CHECKING:
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from artemis.registry.restore import Saved
    from artemis.server.config import ServeConfig
    from artemis.server.workers.place import Place


class Remembered(NamedTuple):
    """Who the node is, what it knew when it was here last, and its snapshots; both None without a data directory."""

    identity: NodeIdentity
    saved: Saved | None = None
    persistence: Persistence | None = None


def data_directory(config: ServeConfig, place: Place | None) -> Path | None:
    """Return the directory of a node, or of one worker of several."""
    return config.data_dir if place is None else place.directory_of(config.data_dir)


def cluster_name(config: ServeConfig) -> str:
    """Return what the node's data is of; a node without others is of no cluster, whatever its option says."""
    return config.cluster_name if config.clustered else ""


def remember(
    config: ServeConfig, place: Place | None, port: int, log: FilteringBoundLogger, *, enforced: bool
) -> Remembered:
    """Read what there is in the data directory, which this process holds; `enforced` says whether the system keeps
    others from it. `port` is the one it listens on. Raises `DataDirectoryError`."""
    url, directory, cluster = own_url(config, port), data_directory(config, place), cluster_name(config)
    identified = identify(
        directory,
        fallback_id(url) if place is None else place.node_id,
        wall_ms(),
        region=config.region,
        cluster=cluster,
        snapshots=(LATEST, PREVIOUS),
    )
    known = identified.identity
    identity = NodeIdentity(
        node_id=known.node_id,
        epoch=known.epoch,
        region=config.region,
        zone=config.zone,
        url=url,
        machine="" if place is None else place.machine,
    )
    if directory is None:
        return Remembered(identity)
    persistence = Persistence(directory, config.snapshot_interval, log)
    persistence.told_first(identified.damage, enforced=enforced)
    # What was said of the cluster beside the id goes for the snapshots as well; without it they have to say it.
    wanted = "" if known.previous else cluster
    saved = persistence.load(identity, known.previous, wanted)
    if place is None or place.index == 0:
        saved = _take_over(config, directory, saved, wanted, persistence, log)
    return Remembered(identity, saved, persistence)


def _take_over(
    config: ServeConfig,
    directory: Path,
    own: Saved | None,
    cluster: str,
    persistence: Persistence,
    log: FilteringBoundLogger,
) -> Saved | None:
    """Return what is saved, or what a worker saved later that is no more."""
    left = newer_leftover(directory, LATEST, config.workers, own, region=config.region, cluster=cluster)
    if left is None:
        return own
    persistence.tell_later(
        log.info,
        "snapshot of a former worker taken over",
        file=str(left.path),
        records=len(left.saved.rows),
        reason="it is newer than that of the first worker",
    )
    # Of what that worker had not put into a bucket nobody else knows: all of it is compared.
    return msgspec.structs.replace(left.saved, header=msgspec.structs.replace(left.saved.header, bucket=None))
