"""Who belongs to a cluster around an engine, by what a node says of itself: as a handshake judges it (design 4.1).

Pure. Not here: clocks, which are asked for, and what becomes of who is refused (`announcing`).
"""

from __future__ import annotations

from artemis.cluster.addresses import BadAddress, peer_url
from artemis.cluster.engine.signs import Foreign, Sign, versions_of
from artemis.cluster.mesh.handshake import Party
from artemis.cluster.mesh.wire import Code, Refusal
from artemis.cluster.mesh.wording import named, no_common_version, quoted
from artemis.cluster.messages import Versions


def objection(me: Party, spoken: Versions, node: str, sign: Sign) -> Refusal | None:
    """Return why a node is none of ours, None if it is; the first reason counts."""
    them, us = named(node, sign.url), named(me.node, me.url)
    if sign.cluster != me.cluster:
        text = f"{them} is of cluster {quoted(sign.cluster)}, {us} of cluster {quoted(me.cluster)}"
        return Refusal(Code.CLUSTER, f"{text}; give nodes that belong together the same --cluster-name")
    if sign.region.lower() != me.region.lower():
        text = f"{them} is of region {quoted(sign.region)}, {us} of region {quoted(me.region)}"
        return Refusal(Code.REGION, f"{text}; a cluster is of one region: give that of one another --cluster-name")
    if versions_of(sign).common(spoken) is None:
        return other_version(me, spoken, node, sign)
    try:
        url = peer_url(sign.url)
    except BadAddress as error:
        return Refusal(Code.SELF_URL, f"{them} announces no usable URL: {error}; set its --self-url")
    if url.on_loopback and not peer_url(me.url).on_loopback:
        text = f"{them} announces an address where no other machine reaches it; set its --self-url"
        return Refusal(Code.SELF_URL, text)
    return None


def other_version(me: Party, spoken: Versions, node: str, sign: Sign | Foreign) -> Refusal:
    """Return the refusal of a node that speaks no version of the messages that this one speaks."""
    text = no_common_version(named(node, sign.url), versions_of(sign), named(me.node, me.url), spoken)
    return Refusal(Code.VERSION, text)
