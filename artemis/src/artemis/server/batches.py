"""Requests about thousands of instances, in slices short enough for an event loop.

A batch of 10 000 registrations is one request but tens of milliseconds of work; nobody else may wait that long. The
doors run such a
request as a generator, a slice per loop turn. Instances are handled in order and the outcome is that of the request in
one piece. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import NamedTuple

import msgspec

from artemis.model import RegistryRequest, RegistryResponse, decode_steps
from artemis.server.node import Node
from artemis.server.operations import Operation

#: Instances handled between two looks at the rest of the world: about 3 ms of registrations.
SLICE = 250

#: Bodies up to this many bytes are read in one piece (64 KiB is about 200 instances).
SMALL_BODY = 64 * 1024


class Call(NamedTuple):
    """How to call an operation of a node: the decoded request and the time in, the response out.

    `whole` is for a request in one piece, `part` for each slice of one.
    """

    whole: Callable[[msgspec.Struct | None, int], object]
    part: Callable[[msgspec.Struct | None, int], object]

    @classmethod
    def of(cls, operation: Operation, node: Node) -> Call:
        """The plain call of an operation."""
        call = partial(operation.call, node)
        return cls(call, call)


def is_large(request: msgspec.Struct | None) -> bool:
    """Whether a request, however small its body, is too much for one piece."""
    return isinstance(request, RegistryRequest) and request.instances is not None and len(request.instances) > SLICE


def read_and_call(
    operation: Operation,
    call: Call,
    body: bytes,
    now: Callable[[], int],
    *,
    msgpack: bool = False,
    ignore_trailing: bool = False,
) -> Generator[None, None, object]:
    """Read the body of a request and make the call, in slices; returns the response. Raises MalformedBody."""
    request = yield from decode_steps(operation.request_type, body, msgpack=msgpack, ignore_trailing=ignore_trailing)
    return (yield from call_in_slices(call, request, now))


def call_in_slices(call: Call, request: msgspec.Struct | None, now: Callable[[], int]) -> Generator[None, None, object]:
    """Make a call; yields between slices and returns the response.

    Only requests with many instances are sliced, everything else is called at once. `now` gives the node's monotonic
    milliseconds anew for every slice. When a slice is refused as a whole (the node stopped serving meanwhile) its
    answer is the answer.
    """
    if not (isinstance(request, RegistryRequest) and request.instances is not None and is_large(request)):
        return call.whole(request, now())
    instances, failed = request.instances, []
    response: RegistryResponse | None = None
    for start in range(0, len(instances), SLICE):
        if start:
            yield
        part = call.part(RegistryRequest(instances=instances[start : start + SLICE]), now())
        assert isinstance(part, RegistryResponse)  # noqa: S101 - a RegistryRequest is answered by a RegistryResponse
        if part.response_status.status == "fail":
            return part
        failed += part.failed_instances or []
        if response is None or part.failed_instances:
            response = part
    assert response is not None  # noqa: S101 - there was at least one slice
    if failed:
        return RegistryResponse(failed_instances=failed, response_status=response.response_status)
    return response
