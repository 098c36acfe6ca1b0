"""What a node's assembly knows of it and status operations show: settings, process, doors (spec 2.4).

Not here: what the node itself knows, such as instances and leases. Values are plain, numbers that change come from
callables, so that the status handlers stay free of sockets and files.
"""

from collections.abc import Callable, Mapping

import msgspec

from artemis.model.status import ShownWorker

MASK = "******"

_SECRET = ("password", "passwd", "secret", "token", "credential")
_NO_SECRET = ("_file", "-file", "_dir", "-dir")


class Setting(msgspec.Struct, frozen=True):
    """The value of one option in force, as text, and the id of the source that it comes from."""

    value: str
    source: str


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """Where a node runs (spec 2.4): the fields of `deployment.json` beside region and zone."""

    app_id: str | None = None
    machine_name: str | None = None
    ip: str | None = None
    port: int = 0
    protocol: str | None = None
    path: str | None = None


class Vitals(msgspec.Struct, frozen=True, kw_only=True):
    """How the node stands on its machine, None for what is not known: see `artemis.model.vitals`. Times in ms, but
    `certificate_expires`, which is in seconds since 1970."""

    certificate_expires: int | None = None
    counters: Mapping[str, int] = {}
    data_free: int | None = None
    data_total: int | None = None
    files_limit: int | None = None
    files_open: int | None = None
    least_lifetime: int = 0
    pauses: int = 0
    snapshot_age: int | None = None


def _none() -> dict[str, int]:
    return {}


def _no_workers() -> None:
    """A node in one process."""


class NodeAbout(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. Made by the assembly, given to `Node.about`; the default describes a node without doors.

    `version` is that of the software, `started` the node's monotonic milliseconds at its start. `sources` are the
    sources of settings by id, each with its priority, the highest winning; `settings` all options by name, those of
    `deployment_settings` also being shown with the deployment. `doors` returns the open connections per door,
    `sessions` the open sessions of the Java WebSocket endpoints `registry` and `discovery`, `vitals` how it stands on
    its machine, `workers` the processes of a node with several, None for one with a single one.
    """

    version: str = ""
    started: int = 0
    sources: Mapping[str, int] = {}
    settings: Mapping[str, Setting] = {}
    deployment_settings: tuple[str, ...] = ("host", "path-prefix", "port", "region", "self-url", "zone")
    deployment: Deployment = Deployment()
    doors: Callable[[], Mapping[str, int]] = _none
    sessions: Callable[[], Mapping[str, int]] = _none
    workers: Callable[[], list[ShownWorker] | None] = _no_workers
    vitals: Callable[[], Vitals] = Vitals


def shown(name: str, value: str) -> str:
    """Return the value of an option as it may be shown: options that hold a secret themselves are masked."""
    lowered = name.lower()
    secret = any(word in lowered for word in _SECRET) and not lowered.endswith(_NO_SECRET)
    return MASK if secret and value else value
