"""Requests about thousands of instances, in slices short enough for an event loop.

A batch of 10 000 registrations is one request but tens of milliseconds of work; nobody else may wait that long. The
doors run such a
request as a generator, a slice per loop turn. Instances are handled in order and the outcome is that of the request in
one piece. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from artemis.model import FailedInstance, RegistryRequest, RegistryResponse, ResponseStatus, decode_steps
from artemis.model.rust import EitherRegistryRequest, EitherStatus, KeysResponse
from artemis.server.handlers.dialect import keys_of
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
    if not isinstance(request, RegistryRequest):
        return False
    return len(request.instances if request.instances is not None else keys_of(request) or ()) > SLICE


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
    if not (isinstance(request, RegistryRequest) and is_large(request)):
        return call.whole(request, now())
    failed: list[msgspec.Struct | None] = []
    told: list[list[str]] = []
    answer: RegistryResponse | KeysResponse | None = None
    for number, part in enumerate(_slices(request)):
        if number:
            yield
        response = call.part(part, now())
        assert isinstance(response, RegistryResponse | KeysResponse)  # noqa: S101 - what a RegistryRequest is answered
        failures = _failures(response)
        if not failures and response.response_status.status == "fail":
            return response
        failed += failures
        told.append((response.versions or []) if isinstance(response, RegistryResponse) else [])
        if answer is None or failures:
            answer = response
    assert answer is not None  # noqa: S101 - there was at least one slice
    if any(told):
        return _versioned(request, answer.response_status, failed, told)
    if not failed:
        return answer
    name = "failed_instance_keys" if isinstance(answer, KeysResponse) else "failed_instances"
    return msgspec.structs.replace(answer, **{name: failed})


def _versioned(
    request: RegistryRequest,
    status: ResponseStatus | EitherStatus,
    failed: list[msgspec.Struct | None],
    told: list[list[str]],
) -> RegistryResponse:
    """Put the versions of all slices together; those of a slice that told none are as they were named."""
    named = request.versions or []
    versions: list[str] = []
    for part, some in zip(_slices(request), told, strict=True):
        start, count = len(versions), len(part.instances or ())
        versions += some or [text or "" for text in named[start : start + count]]
        versions += [""] * (start + count - len(versions))
    assert isinstance(status, ResponseStatus)  # noqa: S101 - keys have no versions
    instances = [each for each in failed if isinstance(each, FailedInstance)]
    return RegistryResponse(failed_instances=[*instances] or None, response_status=status, versions=versions)


def _failures(response: RegistryResponse | KeysResponse) -> Sequence[msgspec.Struct | None]:
    return (response.failed_instance_keys if isinstance(response, KeysResponse) else response.failed_instances) or ()


def _slices(request: RegistryRequest) -> Iterator[RegistryRequest]:
    """The same request in several, each of SLICE instances or keys at most."""
    keys = keys_of(request)
    for start in range(0, len(request.instances or keys or ()), SLICE):
        end = start + SLICE
        if keys is not None:
            yield EitherRegistryRequest(instance_keys=keys[start:end])
        else:
            versions = request.versions[start:end] if request.versions else None
            yield RegistryRequest(instances=(request.instances or [])[start:end], versions=versions)
