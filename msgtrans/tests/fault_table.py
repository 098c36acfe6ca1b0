"""Which call to the system fails, how and when: the table that `faults` plays. Not here: playing it."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from typing import Final

CALLS: Final = (
    "accept",
    "connect",
    "receive",
    "send",
    "setsockopt",
    "getsockname",
    "getpeername",
    "shutdown",
    "close",
    "socket",
    "so_error",
    "getaddrinfo",
    "socketpair",
    "fork",
)
PASSING: Final = ("EAGAIN", "EINTR")  # errors that are none


@dataclass(frozen=True)
class Fault:
    """One call that fails, and when. side: "server" or "client". moment: "open" on an established session, "closing"
    while our side closes it, "connecting" while it comes about. whose: client of which kind meets it.
    """

    whose: str
    side: str
    moment: str
    call: str
    error: str

    def __str__(self) -> str:
        return f"{self.whose}: {self.side} {self.call} {self.error} {self.moment}"

    @property
    def number(self) -> int:
        """The error as the system has it."""
        return int(getattr(socket, self.error)) if self.error.startswith("EAI_") else int(getattr(errno, self.error))


def _faults() -> list[Fault]:
    made = []
    gone = ("ECONNRESET", "ETIMEDOUT", "EHOSTUNREACH", "ENOBUFS", "ENOMEM", "EIO")
    for side in ("server", "client"):
        for call, errors in (
            ("receive", (*gone, *PASSING)),
            ("send", (*gone, "EPIPE", "EPERM", *PASSING)),
        ):
            made += [Fault("client", side, "open", call, error) for error in errors]
            made += [Fault(whose, side, "open", call, "ECONNRESET") for whose in ("reconnecting", "pool")]
        made += [
            Fault("client", side, "closing", call, error)
            for call, errors in (
                ("shutdown", ("ENOTCONN", "EINVAL", "ENOBUFS")),
                ("send", ("EPIPE", "ECONNRESET")),
                ("receive", ("ECONNRESET", "ETIMEDOUT")),
                ("close", ("EIO",)),
            )
            for error in errors
        ]
    accepting = ("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EPERM", "EPROTO", "ECONNABORTED", "EHOSTUNREACH", "EINTR")
    for whose in ("client", "reconnecting", "pool"):
        few = whose != "client"
        calls = [
            ("server", "accept", accepting[:4:3] if few else accepting),
            ("client", "socket", ("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM")),
            ("client", "connect", ("ENETUNREACH", "EPERM", "EADDRNOTAVAIL", "ENOBUFS")),
            ("client", "so_error", ("ETIMEDOUT", "ECONNREFUSED", "EHOSTUNREACH")),
            ("client", "getaddrinfo", ("EAI_AGAIN", "EAI_NONAME", "EAI_MEMORY", "EMFILE")),
            ("client", "setsockopt", ("ENOBUFS", "EINVAL")),
        ]
        for side in ("server", "client"):
            calls += [
                (side, "getsockname", ("ENOBUFS",)),
                (side, "getpeername", ("ENOTCONN",)),
                (side, "receive", ("ECONNRESET", "ETIMEDOUT")),
                (side, "send", ("EPIPE", "ENOBUFS")),
            ]
        for side, call, errors in calls:
            chosen = errors[:1] if few and call != "accept" else errors
            made += [Fault(whose, side, "connecting", call, error) for error in chosen]
    return made


FAULTS: Final = _faults()
WALKS: Final = [
    Fault("walk", side, "any", call, "ECONNRESET") for side in ("server", "client") for call in ("receive", "send")
]
"""Each of these calls fails once, in the first run the first one that is made, then the second, and so on."""
