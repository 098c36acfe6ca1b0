"""What travels on a link beside the messages themselves: handshake, pulse, and the word on why a link ends.

Each is a MessagePack map, in which unknown names are ignored, so that later versions can add some; the proofs of a
handshake cover its bytes as they came. The biz_type says which it is; those from 200 to 209 belong to the mesh.
Not here: what is a good answer (`handshake`), and the messages (`artemis.cluster.messages`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeVar

import msgspec

from artemis.cluster.standing import Standing

HELLO = 200
"""A request: who dials; the answer is who was dialled, or a refusal."""
PROVE = 201
"""A request: the dialler's proof; the answer is the other's, or a refusal."""
PING = 202
"""A request, once a second: does the link live, how long is the round trip, what do clocks show and nodes say of
themselves."""
MESSAGE = 203
"""A one-way packet: one message of `artemis.cluster.messages`."""
ENDING = 204
"""A one-way packet, a `Refusal`: why the sender is about to close the link."""

MESH_CODES = range(200, 210)
MAX_GREETING = 16 * 1024
"""Bytes of anything here at most."""
NONCE = 32
"""Bytes of a nonce, fresh for each handshake, and of a proof."""

MAX_PROCESSES = 64
"""Processes that one node has at most."""

_Text = Annotated[str, msgspec.Meta(max_length=2000)]
_Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Secret = Annotated[bytes, msgspec.Meta(min_length=NONCE, max_length=NONCE)]


class Code(StrEnum):
    """Why a link is refused or ended."""

    NO_CLUSTER = "no-cluster"
    CLUSTER = "cluster"
    REGION = "region"
    VERSION = "version"
    SECRET = "secret"  # noqa: S105 - the name of a reason
    INSECURE = "insecure"
    MYSELF = "myself"
    NODE_ID = "node-id"
    NOT_A_MEMBER = "not-a-member"
    UNREACHABLE = "unreachable"
    SAME_NODE = "same-node"
    SELF_URL = "self-url"
    CLOCK = "clock"
    WEBSOCKET = "websocket"
    ORDER = "order"
    MALFORMED = "malformed"
    SILENT = "silent"
    REPLACED = "replaced"
    STOPPING = "stopping"


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag="hello", tag_field="kind"):
    """Who a node is: `oldest` to `newest` are the versions of the messages that it speaks.

    `wall` is its wall clock in milliseconds, `secured` whether it has a cluster secret, `url` where others reach it,
    `listed` whether it has the other in its list of peers rather than met it first when it was dialled itself, `up`
    whether its start is over and it serves all, `links` how many members it can send to.
    Of a node of several processes `machine` is what they all have in common in one life of the machine, and `link`
    where links with this one are made, empty for at `url`. `front` says that whoever answers here makes no link, and
    tells instead where those are made.
    """

    oldest: _Number
    newest: _Number
    cluster: _Text
    region: _Text
    zone: _Text
    node: Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
    epoch: _Number
    url: _Text
    wall: _Number
    secured: bool
    listed: bool
    nonce: _Secret
    up: bool = True
    links: _Number = 0
    link: _Text = ""
    machine: _Text = ""
    front: bool = False


class Refusal(msgspec.Struct, frozen=True, tag="refusal", tag_field="kind"):
    """No link, and why: a `Code` for machines (a later version may have others), a sentence for the operator.

    `proof` is there if the other has proved itself before: that the refusal is of a node that has the cluster secret.
    """

    code: _Text
    text: _Text
    proof: Annotated[bytes, msgspec.Meta(max_length=NONCE)] = b""


class Elsewhere(msgspec.Struct, frozen=True, tag="elsewhere", tag_field="kind"):
    """No link here: the node is several processes, and links are made with each of them, there.

    `proof` says that a node with the cluster secret answers so. Peers that speak an older version of the messages than
    `MACHINES` never hear it.
    """

    urls: Annotated[list[_Text], msgspec.Meta(min_length=1, max_length=MAX_PROCESSES)]
    proof: Annotated[bytes, msgspec.Meta(max_length=NONCE)] = b""


class Proof(msgspec.Struct, frozen=True, kw_only=True, tag="proof", tag_field="kind"):
    """The proof that a node has the secret, over both greetings; `wall` is its wall clock now."""

    proof: _Secret
    wall: _Number


class Pulse(msgspec.Struct, frozen=True, kw_only=True, tag="pulse", tag_field="kind"):
    """A sign of life: the wall clock in milliseconds, what the node says of itself, and how many members it can send
    to."""

    wall: _Number
    standing: Standing
    links: _Number = 0


Greeting = Hello | Refusal | Elsewhere | Proof | Pulse
GreetingT = TypeVar("GreetingT", Hello, Refusal, Elsewhere, Proof, Pulse)

_ENCODE = msgspec.msgpack.Encoder().encode
_DECODER: msgspec.msgpack.Decoder[Greeting] = msgspec.msgpack.Decoder(Greeting)


class BadGreeting(ValueError):  # noqa: N818 - what it is, in the words of the log
    """Bytes are none of these; the text says why."""


def encode_greeting(greeting: Greeting) -> bytes:
    """Return the bytes of a greeting."""
    return _ENCODE(greeting)


def decode_greeting(data: bytes) -> Greeting:
    """Read a greeting. Raises BadGreeting, and nothing else."""
    if len(data) > MAX_GREETING:
        raise BadGreeting(f"a greeting has {MAX_GREETING} bytes at most, not {len(data)}")
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadGreeting(f"a greeting cannot be read: {error}") from error


IN_NO_CLUSTER = encode_greeting(
    Refusal(Code.NO_CLUSTER, "this node is in no cluster of peers; start it with --peers, --peers-dns or --peers-file")
)
"""What a node without a cluster answers to nodes that dial it."""
