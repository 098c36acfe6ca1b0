"""Who may do what operators do (design 6): the one check that every door makes before an operation with `admin`.

A node that only its own machine reaches is open. One that listens beyond loopback asks for the token of
`--admin-token-file`, and refuses such operations altogether while it has none.
Not here: how a token travels, which each door knows (`Authorization: Bearer` over HTTP, `token=` in the ext header of
the binary door; for requests that have a place for it see `operators`), and users with names and roles.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from pathlib import Path
from typing import NamedTuple

#: What fits into an Authorization header and into an ext header alike.
_TOKEN = re.compile(rb"[!-:<-~]{1,4096}")

_PORT = re.compile(r":\d*$")
_OTHER_PAGE = "this is for operators, and pages of other sites are not trusted with it"
_MISSING = (
    "this is for operators, and this node listens beyond loopback without an admin token; start it with "
    "--admin-token-file"
)
_MISMATCH = (
    "this is for operators; send the token of --admin-token-file, over HTTP as Authorization: Bearer TOKEN, over "
    "MsgTrans as token=TOKEN in the ext header"
)

_FILE_LIMIT = 64 * 1024
_READABLE_BY_OTHERS = 0o044


class AdminTokenError(Exception):
    """The token file cannot be used; the text says why and what to do."""


class Denial(NamedTuple):
    """Why an operation is not done. `can_help`: whether another token can change that (HTTP 401, else 403)."""

    can_help: bool
    text: str


class AdminGuard:
    """Judges the tokens that come with operations of operators. Immutable; no I/O.

    `token` is the one that is asked for, None for none; `reachable` says whether the node listens beyond loopback.
    """

    def __init__(self, token: bytes | None = None, *, reachable: bool = False) -> None:
        self._token = token
        self._reachable = reachable

    @property
    def open(self) -> bool:
        """Whether everybody who reaches the node is an operator."""
        return self._token is None and not self._reachable

    def judge(self, given: bytes) -> Denial | None:
        """Say why an operation of operators is denied to a caller with the token `given`, None when it is not.

        An empty `given` stands for none. The comparison takes the same time for every wrong token of one length.
        """
        if self._token is None:
            if not self._reachable:
                return None
            return Denial(can_help=False, text=_MISSING)
        if hmac.compare_digest(self._token, given):
            return None
        return Denial(can_help=True, text=_MISMATCH)

    def asks_for(self, given: bytes) -> bool:
        """Whether `given` is the token itself, which nobody else may see."""
        return self._token is not None and hmac.compare_digest(self._token, given)

    def judge_page(self, origin: bytes, host: bytes, *, secure: bool = False) -> Denial | None:
        """Say why a request that a web page made is denied, None when it is not. `origin` is empty for other requests.
        `secure`: it came inside TLS, so the page must have, too; else whoever forges pages of plain HTTP is this node.

        Browsers let every page send requests to every address, loopback too, and say in `Origin` whose page it was.
        Only a page of this node may do what operators do; and while the node is open, a name that leads to loopback
        is not enough, because anybody's name can be made to lead there.
        """
        if not origin:
            return None
        scheme, _, page = origin.decode("ascii", "replace").lower().partition("://")
        if secure and scheme != "https":
            return Denial(can_help=False, text=_OTHER_PAGE)
        if page != host.decode("ascii", "replace").lower():
            return Denial(can_help=False, text=_OTHER_PAGE)
        if self.open and not is_loopback(_PORT.sub("", page)):
            return Denial(can_help=False, text="this is for operators; open the page by the address of this machine")
        return None


def admin_guard(host: str, token_file: Path | None) -> AdminGuard:
    """The guard of a node that listens on `host`. Raises `AdminTokenError`."""
    token = None if token_file is None else read_token(token_file)
    return AdminGuard(token, reachable=not is_loopback(host))


def read_token(file: Path) -> bytes:
    """The first line of a file, without blanks around it. Raises `AdminTokenError` when it is not a token."""
    try:
        with file.open("rb") as stream:
            line = stream.read(_FILE_LIMIT).partition(b"\n")[0].strip()
    except OSError as error:
        raise AdminTokenError(f"cannot read {file}: {error.strerror}; give a readable --admin-token-file") from error
    if not line:
        raise AdminTokenError(f"{file} is empty; its first line must be the admin token")
    if not _TOKEN.fullmatch(line):
        raise AdminTokenError(f"{file}: the token may have printable ASCII characters only, no blank, no semicolon")
    return line


def readable_by_others(file: Path) -> bool:
    """Whether more people than the owner may read a file, as far as its mode tells."""
    return bool(file.stat().st_mode & _READABLE_BY_OTHERS)


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from its own machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
