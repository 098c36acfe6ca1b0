"""A link in memory, for tests of sessions that have every pause under their control."""

from __future__ import annotations

import asyncio

from msgtrans import Packet, PacketDecoder, SessionConfig
from msgtrans.endpoint import Endpoint
from msgtrans.session import Session


class MemoryLink:
    """Keeps what is written; takes nothing while `blocked`. room: bytes it takes whole before it is, None for all."""

    protocol = "memory"
    peer_address = None
    local_address = None
    inside_packet = False

    http_request = None
    kept = 0

    def __init__(self, config: SessionConfig) -> None:
        self.config = config
        self.session: Session
        self.writes: list[bytes] = []
        self.waiting = 0
        self.blocked = False
        self.room: int | None = None
        self.calls: list[str] = []

    def get_extra_info(self, name: str) -> object:
        return None

    def write(self, packets: list[bytes]) -> None:
        data = b"".join(packets)
        self.session.bytes_sent += len(data)
        self.writes.append(data)
        if self.room is not None:
            self.room -= len(data)
            self.blocked = self.room < 0
        if self.blocked:
            self.waiting += len(data)
            self.session.pause_writing()

    def unblock(self, room: int | None = None) -> None:
        """Take what waits, and go on: for `room` bytes more, or for ever."""
        self.blocked, self.waiting, self.room = False, 0, room
        self.session.resume_writing()

    def buffered(self) -> int:
        return self.waiting

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def finish(self) -> None:
        self.calls.append("finish")
        asyncio.get_running_loop().call_soon(self.session.lost, None)

    def close(self) -> None:
        self.calls.append("close")
        asyncio.get_running_loop().call_soon(self.session.lost, None)

    def abort(self) -> None:
        self.calls.append("abort")
        asyncio.get_running_loop().call_soon(self.session.lost, None)

    def sent(self) -> list[Packet]:
        """All packets written."""
        return [packet for data in self.writes for packet in PacketDecoder().feed(data)]

    def batches(self) -> list[int]:
        """How many packets each write had."""
        return [len(PacketDecoder().feed(data)) for data in self.writes]


def open_session(config: SessionConfig | None = None) -> tuple[Session, MemoryLink, Endpoint]:
    endpoint = Endpoint(config)
    link = MemoryLink(endpoint.config)
    link.session = Session(1, link, endpoint, asyncio.get_running_loop(), 1)
    endpoint.session_opened(link.session)
    return link.session, link, endpoint


async def turn() -> None:
    """Let everything that is due happen."""
    for _ in range(5):
        await asyncio.sleep(0)
