"""What the answers of Java peers mean (spec 7.4). Pure, and safe with whatever they contain.

Not here: what becomes of the tasks then (`dues`).
"""

from __future__ import annotations

from collections import Counter

from artemis.cluster.java.dues import Batch, Failure, Key
from artemis.model import MalformedBody, RegistryResponse, decode
from artemis.model.responses import (
    BAD_REQUEST,
    INTERNAL_SERVICE_ERROR,
    NO_PERMISSION,
    SERVICE_UNAVAILABLE,
)

_FOR_GOOD = frozenset({BAD_REQUEST, NO_PERMISSION, INTERNAL_SERVICE_ERROR, SERVICE_UNAVAILABLE})
"""Codes after which nothing is tried again; all others, unknown ones included, pass (spec 7.4)."""

_SHOWN = 200


class Judged:
    """What became of a batch: `failed` has the instances that were not taken, `why` the first reason, empty for none.

    `codes` counts the reasons.
    """

    __slots__ = ("codes", "failed", "why")

    def __init__(self) -> None:
        self.failed: dict[Key, Failure] = {}
        self.codes: Counter[str] = Counter()
        self.why = ""

    def add(self, key: Key, code: str, text: str) -> None:
        """An instance was not taken."""
        self.failed[key] = Failure.DROPPED if code in _FOR_GOOD else Failure.LATER
        self.codes[code if code in _FOR_GOOD else "later"] += 1
        self.why = self.why or f"{code}: {text}"[:_SHOWN]


def unanswered(batch: Batch, why: str) -> Judged:
    """Judge a batch that nobody knows the outcome of: all of it is told again."""
    judged = Judged()
    for key in batch.dues:
        judged.add(key, "unknown", why)
    return judged


def judge(batch: Batch, body: bytes) -> Judged:
    """Judge the answer to a batch."""
    try:
        answer = decode(RegistryResponse, body)
    except MalformedBody as error:
        return unanswered(batch, f"its answer cannot be read: {error}")
    status = None if answer is None else answer.response_status
    judged = Judged()
    if answer is None or status is None or status.status not in {"success", "fail", "partial_fail"}:
        return unanswered(batch, "its answer has no status")
    if status.status == "fail":
        for key in batch.dues:
            judged.add(key, status.error_code or "unknown", status.message or "")
    elif status.status == "partial_fail":
        for item in answer.failed_instances or ():
            instance = None if item is None else item.instance
            if item is None or instance is None:
                continue
            key = ((instance.service_id or "").lower(), (instance.instance_id or "").lower())
            if key in batch.dues:
                judged.add(key, item.error_code or "unknown", item.error_message or "")
    return judged
