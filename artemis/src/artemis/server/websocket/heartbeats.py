"""The heartbeat endpoint (spec 3.2): a message in, the messages of its answer out.

The only way in which Java clients keep their leases, so a message that is the same as the last one is recognised and
renewed without parsing. Synchronous; no I/O. Not here: frames, connections and their turns.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from artemis.model import FailedInstance, MalformedBody, RegistryResponse, decode, encode
from artemis.model.responses import BAD_REQUEST, DATA_NOT_FOUND, INTERNAL_SERVICE_ERROR, failure
from artemis.model.rust import KeysResponse, LocatedKey
from artemis.registry import RegistryError
from artemis.server.batches import SLICE, SMALL_BODY, Call, call_in_slices, is_large, read_and_call
from artemis.server.gate import Gate
from artemis.server.node import Node
from artemis.server.operations import OPERATIONS, Operation
from artemis.server.recognition import HeartbeatMemory

if TYPE_CHECKING:
    from artemis.server.workers.barrier import Barrier

#: Bytes that one answer aims to stay below: at 8 KiB the buffer of a Java client ends, and the connection with it.
ANSWER_SIZE = 7 * 1024

#: Bytes of the longest answer that a Java client takes (spec 0.8).
LARGEST_ANSWER = 8 * 1024

#: Bytes that an instance counts as for which there is no answer, when work is cut into slices.
_DEALT = 8 * 1024

Failure = FailedInstance | LocatedKey | None

#: Messages of an answer, made turn by turn.
Steps = Generator[list[bytes], None, None]

_OPERATION = next(operation for operation in OPERATIONS if operation.name == "registry.heartbeat")


class Heartbeats:
    """Answers the messages of all heartbeat sessions of one node.

    `now` gives the node's monotonic milliseconds, `report` is told of exceptions that no handler expected, as
    (operation name, traceback text); `counters` counts what went wrong, `requests` all requests by operation. `gate`
    is asked first about every message.
    """

    def __init__(
        self,
        node: Node,
        now: Callable[[], int],
        report: Callable[[str, str], None],
        counters: Counter[str],
        requests: Counter[str],
        gate: Gate,
    ) -> None:
        self._node = node
        self._now = now
        self._report = report
        self._counters = counters
        self._requests = requests
        self._gate = gate
        #: What holds answers until the other workers of the machine have what they are about, None without others.
        self.barrier: Barrier | None = None

    def answer(self, message: bytes, memory: HeartbeatMemory, caller: str) -> list[bytes] | Steps:
        """Answer one message of the session that `memory` belongs to; `caller` is the peer's address.

        Small ones at once; those of thousands of instances as a generator, to be advanced once per turn of the loop.
        One message unless so much failed that a Java client could not take it; then several, each an answer of its
        own. An instance that is too large for any answer is registered at once, when it is only unknown. What cannot be
        read is answered with `bad-request` (defect 10).
        """
        self._requests[_OPERATION.name] += 1
        now = self._now()
        refusal = self._gate.refuse(_OPERATION, caller, now)
        if refusal is not None:
            return [encode(refusal)]
        digest = memory.digest(message)
        if memory.renew(self._node, digest, now):
            return [_OPERATION.success_json]
        call = memory.caller(self._node, digest)
        barrier = self.barrier
        mark = 0 if barrier is None else barrier.mark()
        if len(message) > SMALL_BODY:
            answer: list[bytes] | Steps = self._steps(
                read_and_call(_OPERATION, call, message, self._now, ignore_trailing=True)
            )
        else:
            answer = self._answer_small(call, message)
        if barrier is not None and (not isinstance(answer, list) or barrier.behind(mark)):
            return _held(answer, barrier, mark)
        return answer

    def _answer_small(self, call: Call, message: bytes) -> list[bytes] | Steps:
        try:
            request = decode(_OPERATION.request_type, message, ignore_trailing=True)
            if is_large(request):
                return self._steps(call_in_slices(call, request, self._now))
            return [text for text in answers(_OPERATION, call.whole(request, self._now()), self._deal) if text]
        except MalformedBody as error:
            return [self._malformed(error)]
        except Exception:  # noqa: BLE001 - whatever a handler does, the peer gets an answer and the log the trace
            return [self._failed()]

    def _steps(self, work: Generator[None, None, object]) -> Steps:
        """Do `work`, then make its answers, a slice of either per step."""
        try:
            while True:
                try:
                    next(work)
                except StopIteration as stop:
                    response = stop.value
                    break
                yield []
            batch: list[bytes] = []
            size = 0
            for message in answers(_OPERATION, response, self._deal):
                if message:
                    batch.append(message)
                size += len(message) or _DEALT
                if size > SMALL_BODY:
                    yield batch
                    batch, size = [], 0
            yield batch
        except MalformedBody as error:
            yield [self._malformed(error)]
        except Exception:  # noqa: BLE001 - as above
            yield [self._failed()]

    def _deal(self, item: Failure) -> bool:
        """Register an unknown instance from its heartbeat: it is too large for an answer that a client registers from.

        One that was removed less than a heartbeat ago stays so, as this may be a message that was on its way; a later
        one says that its owner is still there. What cannot be registered is counted.
        """
        node, now = self._node, self._now()
        instance = item.instance if isinstance(item, FailedInstance) and item.error_code == DATA_NOT_FOUND else None
        if instance is not None and node.serves_registry:
            lease = node.registry.find(instance.service_id or "", instance.instance_id or "")
            died = node.registry.died(lease) if lease is not None and lease.record.removed else None
            if died is None or now - died >= node.registry.timings.heartbeat:
                with suppress(RegistryError):  # the registry is full, and counts that
                    lease = node.registry.register(instance, now)
                    if node.asked is not None:
                        node.asked.registered(lease, now)
                    return True
        self._counters["oversized_answer"] += 1
        return False

    def _malformed(self, error: MalformedBody) -> bytes:
        self._counters["malformed_message"] += 1
        return encode(RegistryResponse(response_status=failure(BAD_REQUEST, str(error))))

    def _failed(self) -> bytes:
        self._counters["internal_error"] += 1
        self._report(_OPERATION.name, traceback.format_exc())
        status = failure(INTERNAL_SERVICE_ERROR, "the server failed; its log has the details")
        return encode(RegistryResponse(response_status=status))


def _held(answer: list[bytes] | Steps, barrier: Barrier, mark: int) -> Steps:
    """Give the answer once the siblings have what it changed; heartbeats that change anything are rare."""
    for batch in [answer] if isinstance(answer, list) else answer:
        if batch and barrier.behind(mark):
            known: list[bool] = []
            barrier.hold(lambda known=known: known.append(True))  # type: ignore[misc]
            while not known:
                yield []
        yield batch


def answers(
    operation: Operation, response: object, deal: Callable[[Failure], bool] = lambda _: False, size: int = ANSWER_SIZE
) -> Iterator[bytes]:
    """Yield the JSON of a registry response, split where it would be longer than `size` bytes.

    Each part is a whole response with some of the failed instances or keys, in order. Only one that is longer by itself
    goes beyond `size`. One that is beyond LARGEST_ANSWER is left out; `deal` is called with it, and returns whether it
    has not failed after all. That takes time and gives nothing to send, which is told by an empty text.
    """
    failed = _failures(response)
    if failed is None or len(failed) <= SLICE:
        whole = operation.encode_json(response)
        if failed is None or len(whole) <= size:
            yield whole
            return
    empty = len(_part(response, []))
    part: list[Failure] = []
    used, told, failures = empty, 0, 0
    for item in failed:
        length = len(encode(item)) + 1
        if empty + length > LARGEST_ANSWER:
            failures += not deal(item)
            yield b""
            continue
        if part and used + length > size:
            yield _part(response, part)
            told += 1
            part, used = [], empty
        part.append(item)
        used += length
    if part or (failures and not told):
        yield _part(response, part)
    elif not told:
        yield operation.success_json


def _failures(response: object) -> Sequence[Failure] | None:
    if isinstance(response, RegistryResponse):
        return response.failed_instances
    return response.failed_instance_keys if isinstance(response, KeysResponse) else None


def _part(response: object, failed: list[Failure]) -> bytes:
    """The same response with these failures."""
    assert isinstance(response, RegistryResponse | KeysResponse)  # noqa: S101 - only such a response has failures
    name = "failed_instances" if isinstance(response, RegistryResponse) else "failed_instance_keys"
    return encode(msgspec.structs.replace(response, **{name: failed}))
