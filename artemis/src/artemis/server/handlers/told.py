"""Told: whether those who follow a service know what happened to it (an addition to the originals).

For whoever takes an instance away and wants to stop it only when nobody calls it any more. A node knows the sessions
and long polls that it has, and what it has written to them. Whoever wants to know of all nodes asks each of them, with
the cursor of the first answer: one that has not heard of the change yet has told nobody.
Not here, because no node knows it: who polls, and what is still on its way to a peer or was read and not acted upon
yet.
"""

from artemis.model import ToldRequest, ToldResponse
from artemis.model.responses import BAD_REQUEST, SUCCESS, failure
from artemis.push import read_cursor
from artemis.server.node import Node


def told(node: Node, request: ToldRequest | None, now: int) -> ToldResponse:  # noqa: ARG001
    """Say how many follow a service, and how many of them have not been written all that happened until now."""
    if request is None:
        return ToldResponse(response_status=failure(BAD_REQUEST, "request is null"))
    if request.service_id is None or not request.service_id.strip():
        return ToldResponse(response_status=failure(BAD_REQUEST, "serviceId is null or empty"))
    if not node.serves_discovery:
        return ToldResponse(response_status=node.unavailable("discovery"))
    reached = node.stream.reached(request.service_id)
    lacking = request.cursor is not None and node.stream.catching_up.lacks(read_cursor(request.cursor))
    waiting = reached.subscribers if lacking else reached.waiting
    return ToldResponse(
        response_status=SUCCESS,
        subscribers=reached.subscribers,
        told=not waiting,
        waiting=waiting,
        cursor=node.cursor(),
    )
