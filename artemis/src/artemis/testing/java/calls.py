"""A call of the SDK (spec 9.2): up to five attempts, and what an answer or a failure means for the address in use.

Not here: how one attempt goes over the wire; see `http`.
"""

from __future__ import annotations

import asyncio

from artemis.testing.java.addresses import Addresses
from artemis.testing.java.beans import Bean, child
from artemis.testing.java.deadlines import Deadlines, Kind
from artemis.testing.java.http import CallFailedError, HttpClient, HttpFailedError
from artemis.testing.java.settings import JavaSettings

SERVICE_DOWN = frozenset({"internal-service-error", "service-unavailable"})
RERUNNABLE = frozenset({"rate-limited", "unknown"})


def is_service_down(answer: Bean) -> bool:
    """Whether an answer means that its node cannot serve (spec 1.2)."""
    status = child(answer, "responseStatus")
    return status.get("status") == "fail" and status.get("errorCode") in SERVICE_DOWN


def is_rerunnable(answer: Bean) -> bool:
    """Whether an answer asks for another attempt, at any node (spec 1.2)."""
    status = child(answer, "responseStatus")
    return status.get("status") == "fail" and status.get("errorCode") in RERUNNABLE


class Calls:
    """HTTP calls of one part of the SDK, to the node that its addresses choose."""

    def __init__(self, addresses: Addresses, settings: JavaSettings, deadlines: Deadlines) -> None:
        self._addresses = addresses
        self._settings = settings
        self._deadlines = deadlines
        self._http = HttpClient(
            settings, deadlines, connect_timeout=settings.connect_timeout, socket_timeout=settings.socket_timeout
        )

    async def call(self, path: str, value: Bean, kind: Kind) -> Bean:
        """POST to ``/api`` + `path` until an answer is to be returned. Raises `CallFailedError`."""
        last = ""
        for attempt in range(self._settings.attempts):
            if attempt:
                await asyncio.sleep(self._settings.retry_interval)
            address = self._addresses.current()
            try:
                answer = await self._http.post(f"{address.url}{self._settings.api}{path}", value, kind)
            except HttpFailedError as error:
                self._deadlines.events["transport failure"] += 1
                address.mark_unavailable()
                last = str(error)
                continue
            if is_service_down(answer):
                self._deadlines.events["service down"] += 1
                address.mark_unavailable()
            elif is_rerunnable(answer):
                self._deadlines.events["rerun"] += 1
            else:
                return answer
            last = str(answer.get("responseStatus"))
        self._deadlines.events["call failed"] += 1
        raise CallFailedError(f"{path}: {self._settings.attempts} attempts failed, the last with {last}")

    def close(self) -> None:
        """Close the connections."""
        self._http.close()
