"""What status operations show of the process around a node: made once at the start (spec 2.4).

Not here: what is shown of it and how, see `about` and `handlers.status`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from artemis._version import __version__
from artemis.server.about import Deployment, NodeAbout, Vitals
from artemis.server.config import ServeConfig
from artemis.server.provenance import PRIORITY, shown_settings


def describe(
    config: ServeConfig,
    url: str,
    started: int,
    *,
    doors: Callable[[], Mapping[str, int]],
    sessions: Callable[[], Mapping[str, int]],
    vitals: Callable[[], Vitals],
) -> NodeAbout:
    """All that is known of a node that announces `url` and started at `started` monotonic milliseconds.

    Address, port, protocol and path are those that clients use, so they come from the URL.
    """
    parts = urlsplit(url)
    deployment = Deployment(
        app_id="artemis",
        machine_name=socket.gethostname(),
        ip=parts.hostname,
        port=parts.port or (443 if parts.scheme == "https" else 80),
        protocol=parts.scheme,
        path=parts.path or "/",
    )
    return NodeAbout(
        version=__version__,
        started=started,
        sources=PRIORITY,
        settings=shown_settings(config, url),
        deployment=deployment,
        doors=doors,
        sessions=sessions,
        vitals=vitals,
    )
