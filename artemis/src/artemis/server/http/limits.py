"""The limits and deadlines of the HTTP door. Values only."""

from __future__ import annotations

import msgspec


class HttpLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one HTTP connection; sizes in bytes, times in seconds.

    The Java SDK keeps connections idle for 30 s and expects them to live (spec 9.2), hence the idle time of the
    originals' Tomcat times two.
    """

    head_size: int = 16 * 1024
    head_fields: int = 100
    body_size: int = 8 * 1024 * 1024
    head_deadline: float = 10.0
    #: For a body, and again for each `body_progress` bytes of it that arrive in time.
    body_deadline: float = 30.0
    body_progress: int = 64 * 1024
    idle_deadline: float = 75.0
    #: A peer that does not read its answers is dropped after this long without progress.
    write_deadline: float = 60.0
    #: After an answer that ends a connection mid-request, what the peer still sends is read and dropped this long, so
    #: that the answer
    #: is not lost to a reset.
    linger: float = 2.0
    #: Answer bytes that may wait for a slow reader before its further requests are left unread.
    write_buffer: int = 256 * 1024
    #: What may come behind a request that waits for changes and be read, so that the end of its connection is noticed.
    behind_wait: int = 32 * 1024
