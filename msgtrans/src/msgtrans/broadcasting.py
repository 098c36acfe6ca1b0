"""One message to many sessions: queued to all of them at once, and written to some in each turn of the loop.

A write takes the system 10 to 20 µs, so 10 000 of them in a row would keep everybody else waiting for a long time.
Not here: encoding it, and who wants it (`forwarding`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from msgtrans.session import Session

SLICE: Final = 256  # sessions written to in one turn


def broadcast(frame: bytes, sessions: Iterable[Session]) -> int:
    """Queue a frame to all that are open and want it; to how many. All but the first are written to in later turns.

    Each session sends in order: what it is given later leaves behind this frame, and nothing waits if it closes.
    """
    queued = 0
    behind: list[Session] = []
    for session in sessions:
        if queued < SLICE:
            queued += session.offer_frame(frame)
        elif session.offer_frame(frame, later=True):
            queued += 1
            behind.append(session)
    if behind:
        asyncio.get_running_loop().call_soon(_write_some, behind, 0)
    return queued


def _write_some(sessions: list[Session], at: int) -> None:
    for session in sessions[at : at + SLICE]:
        session.write_offered()
    at += SLICE
    if at < len(sessions):
        asyncio.get_running_loop().call_soon(_write_some, sessions, at)
