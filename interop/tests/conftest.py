"""Runs each test on every build of the Rust crate and every transport; without the builds, none."""

from __future__ import annotations

import pytest
from rust_peers import Peer

VERSIONS = ("1.0.0", "1.0.10", "2.0")
# never published, and built by hand only: no tests are skipped for want of it
UNPUBLISHED = tuple(version for version in ("1.0.3",) if Peer(version, "tcp").program.exists())
PEERS = [Peer(version, transport) for version in VERSIONS + UNPUBLISHED for transport in ("tcp", "ws", "quic")]
NAMES = [f"{one.version}-{one.transport}" for one in PEERS]


@pytest.fixture(params=PEERS, ids=NAMES)
def peer(request: pytest.FixtureRequest) -> Peer:
    """A build with the crate's default features."""
    return _built(request.param)


@pytest.fixture(params=[one._replace(compresses=True) for one in PEERS], ids=NAMES)
def compressing_peer(request: pytest.FixtureRequest) -> Peer:
    """A build that can compress."""
    return _built(request.param)


def _built(peer: Peer) -> Peer:
    if not peer.program.exists():
        pytest.skip(f"{peer.program.name} is not built: `make test-interop` builds it, with cargo")
    return peer
