"""Operations of operators whose request has a place for the token itself, as the tools of the originals send it.

Their head names no token, and HTTP 401 means a dead node to them (spec 0.1), so who asks is judged with the body at
hand and a refusal is an answer like every other (spec 2.6).
Not here: the token and how it is compared; see `admin`.
"""

from __future__ import annotations

from collections import Counter

import msgspec

from artemis.model.management import OperateInstanceRequest, OperateServerRequest
from artemis.model.responses import NO_PERMISSION, failure
from artemis.server.admin import AdminGuard, Denial
from artemis.server.batches import Call
from artemis.server.operations import Operation

#: The requests with a `token`.
_SIGNED = (OperateInstanceRequest, OperateServerRequest)


def has_token(operation: Operation) -> bool:
    """Whether requests of an operation of operators may carry the token themselves."""
    return operation.admin and issubclass(operation.request_type, _SIGNED)


def guarded(operation: Operation, call: Call, guard: AdminGuard, given: bytes, counters: Counter[str]) -> Call:
    """The call for a caller who sent `given` beside the request; one without the token is answered `no-permission`.

    The operators' token is not handed on, so that no record shows it; any other `token` is a note of the caller.
    `counters` counts the `denied`.
    """

    def judged(request: msgspec.Struct | None, now: int) -> object:
        signed = request if isinstance(request, _SIGNED) else None
        said = b"" if signed is None or signed.token is None else signed.token.encode("utf-8", "surrogatepass")
        denial = guard.judge(given)
        if denial is not None and guard.judge(said) is not None:
            counters["denied"] += 1
            return denied(operation, denial)
        if signed is not None and said and guard.asks_for(said):
            request = msgspec.structs.replace(signed, token=None)
        return call.whole(request, now)

    return Call(judged, judged)


def denied(operation: Operation, denial: Denial) -> msgspec.Struct:
    """The answer of an operation that is not done."""
    text = denial.text
    if denial.can_help and has_token(operation):
        text += ", or as token of the request"
    return operation.response_type(response_status=failure(NO_PERMISSION, text))
