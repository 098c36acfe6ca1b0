"""Whose a bucket is, in the words it has of itself, and whether it is made as one of ours must be.

A stream's description is given by whoever creates it and names one incarnation; who loses that race reads it. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from artemis.cluster.engine.port import MAX_TOLD

FORMAT = 1
"""How the entries of a bucket are written."""

DUPLICATES = 60.0
"""Seconds for which the engine remembers which puts it has done; one is not repeated for so long."""


class Identity(msgspec.Struct, frozen=True, kw_only=True, tag="artemis", tag_field="kind"):
    """What the creator of a bucket wrote into its description. `id` is random."""

    format: int
    cluster: str
    region: str
    id: str


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Those parts of a stream's configuration that matter here, in the engine's names."""

    name: str
    subjects: list[str] = []
    description: str = ""
    retention: str = "limits"
    max_consumers: int = -1
    max_msgs: int = -1
    max_bytes: int = -1
    max_age: int = 0
    max_msgs_per_subject: int = -1
    max_msg_size: int = -1
    discard: str = "old"
    storage: str = "file"
    num_replicas: int = 1
    duplicate_window: int = 0
    sealed: bool = False
    no_ack: bool = False
    deny_delete: bool = False
    deny_purge: bool = False
    allow_rollup_hdrs: bool = False
    allow_direct: bool = False


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of a stream."""

    messages: int = 0
    bytes: int = 0
    first_seq: int = 0
    last_seq: int = 0
    subjects: dict[str, int] | None = None


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine says of a stream; `created` is text with nanoseconds, and differs for each incarnation."""

    config: Config
    created: str
    state: State = State()


def config_of(name: str, prefix: str, identity: Identity, *, max_entries: int, replicas: int) -> Config:
    """Return how to create a bucket of ours."""
    return Config(
        name=name,
        subjects=[f"{prefix}>"],
        description=msgspec.json.encode(identity).decode(),
        max_msgs=max_entries,
        max_msgs_per_subject=1,
        discard="new",
        num_replicas=replicas,
        duplicate_window=int(DUPLICATES * 1e9),
        deny_delete=True,
        allow_direct=True,
    )


def objection(stream: Stream, prefix: str, cluster: str, region: str) -> str:
    """Say why a stream is not the bucket of this cluster, empty when it is."""
    config = stream.config
    try:
        identity = msgspec.json.decode(config.description, type=Identity)
    except msgspec.MsgspecError:
        return f"the stream {config.name} was not created by a node: it is somebody else's"
    for what, theirs, ours in (("cluster", identity.cluster, cluster), ("region", identity.region, region)):
        if theirs != ours:
            return f"the stream {config.name} belongs to the {what} {theirs[:200]!r}, not {ours!r}"
    if identity.format != FORMAT:
        return f"the stream {config.name} is written in format {identity.format}, and this node reads {FORMAT}"
    return _unfit(stream, prefix)


def incarnation(stream: Stream) -> str:
    """Return what tells one incarnation of a bucket from every other one."""
    identity = msgspec.json.decode(stream.config.description, type=Identity)
    return f"{identity.id} {stream.created}"


def _unfit(stream: Stream, prefix: str) -> str:
    config = stream.config
    wanted: Mapping[str, object] = {
        "subjects": [f"{prefix}>"],
        "retention": "limits",
        "max_bytes": -1,
        "max_age": 0,
        "max_msgs_per_subject": 1,
        "discard": "new",
        "storage": "file",
        "sealed": False,
        "no_ack": False,
        "deny_delete": True,
        "deny_purge": False,
        "allow_rollup_hdrs": False,
        "allow_direct": True,
    }
    for name, value in wanted.items():
        if getattr(config, name) != value:
            return (
                f"the stream {config.name} was changed: {name} is {getattr(config, name)!r} and must be {value!r}, "
                "or records get lost"
            )
    if 0 <= config.max_msg_size < MAX_TOLD:
        return f"the stream {config.name} was changed: its max_msg_size of {config.max_msg_size} is too small"
    return ""
