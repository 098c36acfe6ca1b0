"""The handshake of a link, step by step: who is there, do both belong together, and do both know the secret.

The dialler greets, the other answers with a greeting of its own; the dialler proves, the other proves. A proof is an
HMAC of the secret over the bytes of both greetings, with all names, versions and both nonces, and over the direction:
it fits no other handshake and no other side. The other proves second, so a stranger who dials learns nothing that he
could try secrets on. Both sides judge everything for themselves.
Not here: sockets, and whether a node of that id is connected already (`mesh`). Nonces, `now` (monotonic) and `wall`, in
milliseconds, come in.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

import msgspec

from artemis.cluster.addresses import BadAddress, peer_url
from artemis.cluster.mesh.wire import (
    BadGreeting,
    Code,
    Elsewhere,
    Hello,
    Proof,
    Refusal,
    decode_greeting,
    encode_greeting,
)
from artemis.cluster.mesh.wording import named, no_common_version, quoted, sentence
from artemis.cluster.messages import SPOKEN, Versions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artemis.cluster.mesh.wire import Greeting

_DIALLER = b"artemis mesh: the dialler"
_ACCEPTOR = b"artemis mesh: the dialled"
_REFUSER = b"artemis mesh: the dialled refuses"
_FRONT = b"artemis mesh: the dialled sends on"


Precedence = tuple[bool, int, int, str]
"""Of two nodes with the same id the one with the larger of these stays: one that serves rather than one that starts,
then the one with more links to members, as a copy that was started apart has none, then the one that started later,
whose epoch the others follow."""


class Party(msgspec.Struct, frozen=True, kw_only=True):
    """Who takes part: a node of a cluster, in one life. `url` is where clients and others reach it.

    Of a node of several processes this is one of them: `machine` is what they have in common, `link` where links with
    this one are made.
    """

    cluster: str
    region: str
    zone: str
    node: str
    epoch: int
    url: str
    link: str = ""
    machine: str = ""

    @property
    def dialled_at(self) -> str:
        """Return where links with it are made."""
        return self.link or self.url

    def beside(self, other: Party) -> bool:
        """Whether both are processes of one machine."""
        return bool(self.machine) and self.machine == other.machine


class Skew(msgspec.Struct, frozen=True):
    """How far the other's wall clock is ahead of ours, in milliseconds, and by how much that may be wrong."""

    offset: int
    error: int

    @property
    def least(self) -> int:
        """Return how far the clocks are apart at least."""
        return max(0, abs(self.offset) - self.error)


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """The other side of a link that both agreed to; `protocol` is the version of the messages, `rtt` milliseconds.

    `listed` says whether it has us in its list of peers, `up` whether it serves, `links` how many members it can send
    to.
    """

    party: Party
    protocol: int
    skew: Skew
    rtt: int
    listed: bool
    up: bool = True
    links: int = 0

    @property
    def precedence(self) -> Precedence:
        """Return what decides which of two nodes with the same id stays."""
        return self.up, self.links, self.party.epoch, self.party.url


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for one handshake.

    `secret` is empty where there is none; then both ends of the connection must be on loopback. `max_skew`:
    milliseconds that wall clocks may be apart. `listed` says whether the other is in our list of peers, `up` whether
    we serve, `links` how many members we can send to. `versions` of the messages are those that we speak. `front`:
    there will be no link, as those are made elsewhere.
    """

    me: Party
    secret: bytes
    max_skew: int
    loopback: bool
    listed: bool = False
    up: bool = True
    links: int = 0
    versions: Versions = SPOKEN
    front: bool = False


class RefusedError(Exception):
    """There will be no link. `peer` is who is refused, where that was proved; `proof` is that of who refuses."""

    def __init__(self, code: str, text: str, peer: Peer | None = None, proof: bytes = b"") -> None:
        super().__init__(text)
        self.refusal = Refusal(code, text, proof)
        self.peer = peer


class TwinError(RefusedError):
    """The other has proved that it is a second node with our id. `stays` says whether we go on, and not the other."""

    def __init__(self, text: str, peer: Peer, *, stays: bool) -> None:
        super().__init__(Code.NODE_ID, text, peer)
        self.stays = stays


class ElsewhereError(Exception):
    """The other has proved that it is a node of several processes, and that links with those are made at `urls`."""

    def __init__(self, urls: Sequence[str], peer: Peer) -> None:
        super().__init__(f"links with node {quoted(peer.party.node)} are made at {', '.join(map(quoted, urls))}")
        self.urls = urls
        self.peer = peer


class _Side:
    """What both sides do."""

    def __init__(self, terms: Terms, nonce: bytes, wall: int) -> None:
        self._terms = terms
        me = terms.me
        self._mine = Hello(
            oldest=terms.versions.oldest,
            newest=terms.versions.newest,
            cluster=me.cluster,
            region=me.region,
            zone=me.zone,
            node=me.node,
            epoch=me.epoch,
            url=me.url,
            wall=wall,
            secured=bool(terms.secret),
            listed=terms.listed,
            nonce=nonce,
            up=terms.up,
            links=terms.links,
            link=me.link,
            machine=me.machine,
            front=terms.front,
        )
        self._sent = (0, wall)
        self._transcript = b""

    def _judge(self, theirs: Hello) -> None:
        """Refuse who does not belong to us; the first reason counts."""
        mine = self._mine
        them, us = named(theirs.node, theirs.url), named(mine.node, mine.url)
        if theirs.cluster != mine.cluster:
            raise RefusedError(
                Code.CLUSTER,
                f"{them} is of cluster {quoted(theirs.cluster)}, {us} of cluster {quoted(mine.cluster)}; "
                "give nodes that belong together the same --cluster-name",
            )
        if theirs.region.lower() != mine.region.lower():
            raise RefusedError(
                Code.REGION,
                f"{them} is of region {quoted(theirs.region)}, {us} of region {quoted(mine.region)}; "
                "a cluster is of one region",
            )
        if _versions(theirs).common(self._terms.versions) is None:
            text = no_common_version(them, _versions(theirs), us, self._terms.versions)
            raise RefusedError(Code.VERSION, text)
        myself = (theirs.node, theirs.epoch, theirs.url) == (mine.node, mine.epoch, mine.url)
        # Siblings link by a door of their own; at one for everybody a machine meets itself.
        ours = (theirs.front or mine.front) and bool(theirs.machine) and theirs.machine == mine.machine
        if myself or ours:
            raise RefusedError(Code.MYSELF, f"{us} has met itself; leave its own address out of its --peers")
        if theirs.secured != mine.secured:
            has, lacks = (them, us) if theirs.secured else (us, them)
            raise RefusedError(
                Code.SECRET, f"{has} has a cluster secret, {lacks} has none; give both the same --cluster-secret-file"
            )
        if not mine.secured and not self._terms.loopback:
            raise RefusedError(
                Code.INSECURE,
                f"{them} and {us} meet beyond loopback without a secret; give all --cluster-secret-file",
            )

    def _prove(self, side: bytes, wall: int) -> bytes:
        return hmac.digest(self._terms.secret, side + wall.to_bytes(8) + self._transcript, hashlib.sha256)

    def _prove_refusal(self, code: str, text: str) -> bytes:
        said = encode_greeting(Refusal(code, text))
        return hmac.digest(self._terms.secret, _REFUSER + self._transcript + said, hashlib.sha256)

    def _prove_elsewhere(self, urls: Sequence[str]) -> bytes:
        said = encode_greeting(Elsewhere(list(urls)))
        return hmac.digest(self._terms.secret, _FRONT + self._transcript + said, hashlib.sha256)

    def _check(self, side: bytes, proof: Proof, theirs: Hello) -> None:
        if not hmac.compare_digest(self._prove(side, proof.wall), proof.proof):
            raise self._other_secret(theirs.node, theirs.url)

    def _other_secret(self, node: str, url: str) -> RefusedError:
        them, us = named(node, url), named(self._mine.node, self._mine.url)
        return RefusedError(Code.SECRET, f"the cluster secrets of {them} and {us} differ; give both the same")

    def _check_twin(self, peer: Peer) -> None:
        """Raise TwinError for another node with our id; only what is proved may end one of the two."""
        theirs, mine = peer.party, self._mine
        if theirs.node != mine.node:
            return
        stays = (mine.up, mine.links, mine.epoch, mine.url) > peer.precedence
        urls = (mine.url, theirs.url) if stays else (theirs.url, mine.url)
        text = (
            f"there are two nodes with the id {quoted(mine.node)}, and no two may use the same data directory or a "
            f"copy of it: {quoted(urls[0])} stays, {quoted(urls[1])} ends"
        )
        raise TwinError(text, peer, stays=stays)

    def _peer(self, theirs: Hello, skew: Skew, rtt: int) -> Peer:
        party = Party(
            cluster=theirs.cluster,
            region=theirs.region,
            zone=theirs.zone,
            node=theirs.node,
            epoch=theirs.epoch,
            url=theirs.url,
            link=theirs.link,
            machine=theirs.machine,
        )
        return Peer(
            party=party,
            protocol=min(theirs.newest, self._mine.newest),
            skew=skew,
            rtt=rtt,
            listed=theirs.listed,
            up=theirs.up,
            links=theirs.links,
        )


class Dialling(_Side):
    """The dialler's side: send `hello`, give the answer to `answered`, send what it returns, ask `proven`."""

    def __init__(self, terms: Terms, nonce: bytes, now: int, wall: int) -> None:
        super().__init__(terms, nonce, wall)
        self._sent = (now, wall)
        #: The bytes of the first request.
        self.hello = encode_greeting(self._mine)
        self._theirs: Hello | None = None
        self._met: Peer | None = None

    @property
    def met(self) -> Peer:
        """Return who answered, by its own account: nothing is proved yet. Raises RefusedError before `answered`."""
        if self._met is None:
            raise _unexpected(self._mine)
        return self._met

    @property
    def front(self) -> bool:
        """Whether who answered says that links with it are made elsewhere."""
        return self._theirs is not None and self._theirs.front

    def answered(self, payload: bytes, now: int, wall: int) -> bytes:
        """Take the answer to `hello` and return the bytes of the second request. Raises RefusedError."""
        theirs = _read(payload)
        if not isinstance(theirs, Hello):
            raise _unexpected(theirs)
        self._judge(theirs)
        self._transcript = _transcript(self.hello, payload)
        sent, wall_then = self._sent
        rtt = now - sent
        self._theirs = theirs
        self._met = self._peer(theirs, skew(theirs.wall, wall_then, rtt), rtt)
        return encode_greeting(Proof(proof=self._prove(_DIALLER, wall), wall=wall))

    def proven(self, payload: bytes) -> Peer:
        """Take the answer to the second request. Raises RefusedError, a TwinError where the peer has our id, and
        ElsewhereError."""
        proof = _read(payload)
        if isinstance(proof, Refusal) and self._theirs is not None:
            expected = self._prove_refusal(proof.code, proof.text)
            if hmac.compare_digest(expected, proof.proof):
                raise RefusedError(quoted(proof.code), sentence(proof.text), proof=proof.proof)
        if isinstance(proof, Elsewhere) and self._met is not None:
            if not hmac.compare_digest(self._prove_elsewhere(proof.urls), proof.proof):
                raise self._other_secret(self._met.party.node, self._met.party.url)
            raise ElsewhereError(proof.urls, self._met)
        if not isinstance(proof, Proof) or self._theirs is None or self._met is None:
            raise _unexpected(proof)
        self._check(_ACCEPTOR, proof, self._theirs)
        self._check_twin(self._met)
        check_clocks(self._met, self._met.skew, self._terms.max_skew)
        return self._met


class Accepting(_Side):
    """The side that was dialled: `greeted` gives the answer to the first request; `proved` judges the second, and then
    `proof` is the answer to that."""

    def __init__(self, terms: Terms, nonce: bytes) -> None:
        super().__init__(terms, nonce, 0)
        self._theirs: Hello | None = None

    def greeted(self, payload: bytes, now: int, wall: int) -> bytes:
        """Take the first request and return the bytes of the answer. Raises RefusedError."""
        theirs = _read(payload)
        if not isinstance(theirs, Hello) or self._theirs is not None:
            raise _unexpected(theirs)
        self._judge(theirs)
        them = named(theirs.node, theirs.url)
        if _on_loopback(theirs.link or theirs.url) and not self._terms.loopback:
            raise RefusedError(
                Code.SELF_URL,
                f"{them} announces an address where no other machine reaches it; set its --self-url",
            )
        answer = encode_greeting(msgspec.structs.replace(self._mine, wall=wall))
        self._transcript = _transcript(payload, answer)
        self._theirs = theirs
        self._sent = (now, wall)
        return answer

    def proved(self, payload: bytes, now: int) -> Peer:
        """Take the second request. Raises RefusedError; after a TwinError `proof` is to be answered all the same, so
        that both know."""
        proof = _read(payload)
        if not isinstance(proof, Proof) or self._theirs is None:
            raise _unexpected(proof)
        self._check(_DIALLER, proof, self._theirs)
        sent, wall_then = self._sent
        rtt = now - sent
        peer = self._peer(self._theirs, skew(proof.wall, wall_then, rtt), rtt)
        self._check_twin(peer)
        check_clocks(peer, peer.skew, self._terms.max_skew)
        return peer

    def refusal(self, refusal: Refusal) -> bytes:
        """Return the bytes of the answer to a second request whose proof was good, if there is to be no link all the
        same; nobody else is to be given anything that he could try secrets on."""
        proof = self._prove_refusal(refusal.code, refusal.text)
        return encode_greeting(msgspec.structs.replace(refusal, proof=proof))

    def elsewhere(self, urls: Sequence[str]) -> bytes:
        """Return the bytes of the answer to a second request whose proof was good, where links are made elsewhere."""
        return encode_greeting(Elsewhere(list(urls), self._prove_elsewhere(urls)))

    def proof(self, wall: int) -> bytes:
        """Return the bytes of the answer to the second request."""
        return encode_greeting(Proof(proof=self._prove(_ACCEPTOR, wall), wall=wall))


def skew(theirs: int, ours: int, rtt: int) -> Skew:
    """Return how far a clock is off that showed `theirs` at some time in the `rtt` that began when ours showed
    `ours`."""
    error = (rtt + 1) // 2
    return Skew(theirs - ours - error, error)


def check_clocks(peer: Peer, skew: Skew, limit: int) -> None:
    """Raise RefusedError when the clocks are further apart than `limit` milliseconds, whatever the round trip hides."""
    if skew.least > limit:
        direction = "ahead of" if skew.offset > 0 else "behind"
        them = named(peer.party.node, peer.party.url)
        text = (
            f"the clock of {them} is {skew.least} ms or more {direction} the clock here; {limit} ms are allowed, "
            "an eighth of the lease TTL; let both machines follow the same time server"
        )
        raise RefusedError(Code.CLOCK, text, peer)


def _versions(hello: Hello) -> Versions:
    return Versions(hello.oldest, hello.newest)


def _read(payload: bytes) -> Greeting:
    try:
        return decode_greeting(payload)
    except BadGreeting as error:
        raise RefusedError(Code.MALFORMED, f"{error}; is a node of a cluster there?") from error


def _unexpected(greeting: Greeting) -> RefusedError:
    if isinstance(greeting, Refusal):
        return RefusedError(quoted(greeting.code), sentence(greeting.text))
    return RefusedError(Code.ORDER, "a handshake has two steps, each once: first who is there, then the proof")


def _on_loopback(url: str) -> bool:
    try:
        return peer_url(url).on_loopback
    except BadAddress as error:
        raise RefusedError(Code.SELF_URL, f"{error}; set the --self-url of that node") from error


def _transcript(hello: bytes, answer: bytes) -> bytes:
    return len(hello).to_bytes(4) + hello + answer
