"""Who a node is to the servers of an engine: nobody, a user with a password, a token, or a file of credentials.

Files are read anew for each connection, so what is in them can be changed while a node runs.
Not here: when they are sent (`connection` makes sure that TLS is there first, where it ought to be).
"""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path
from stat import S_ISREG

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_LIMIT = 64 * 1024
_READABLE_BY_OTHERS = 0o044
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PART = re.compile(r"-----BEGIN ([A-Z ]+)-----\s+(\S+)\s+-+END ")
_USER_SEED = (18 << 3, 20 << 3)
"""The first bits of a seed (S) and of one that is a user's (U), before base32."""


class LoginError(Exception):
    """A file cannot be used; the text says why and what to do."""


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """Files, one of them at most: `password` has a user in the first line and the password in the second, `token` the
    token in the first, `credentials` is what `nsc` writes (a JWT and a seed)."""

    password: Path | None = None
    token: Path | None = None
    credentials: Path | None = None

    def __post_init__(self) -> None:
        if len(self.files) > 1:
            raise LoginError("give one file that says who this node is to the engine, not several")

    @property
    def files(self) -> list[Path]:
        """Return the files that are to be read."""
        return [each for each in (self.password, self.token, self.credentials) if each is not None]

    def exposed(self) -> list[Path]:
        """Return those files that others on this machine can read. Raises LoginError."""
        return [each for each in self.files if _mode(each) & _READABLE_BY_OTHERS]

    def read(self) -> Proof:
        """Read the file. Raises LoginError."""
        if self.password is not None:
            lines = _lines(self.password)
            if len(lines) < 2 or not lines[0] or not lines[1]:
                raise LoginError(f"{self.password}: the first line must be the user, the second the password")
            _check_text(self.password, "user and password", lines[:2])
            return Proof(user=lines[0], password=lines[1])
        if self.token is not None:
            lines = _lines(self.token)
            if not lines or not lines[0]:
                raise LoginError(f"{self.token}: the first line must be the token")
            _check_text(self.token, "the token", lines[:1])
            return Proof(token=lines[0])
        if self.credentials is not None:
            return _credentials(self.credentials)
        return Proof()


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What is said to a server; empty parts are left out. `seed` signs and is never sent."""

    user: str = ""
    password: str = ""
    token: str = ""
    jwt: str = ""
    seed: bytes = b""

    def sign(self, nonce: str) -> bytes:
        """Return the signature under what a server has made up."""
        signature = Ed25519PrivateKey.from_private_bytes(self.seed).sign(nonce.encode())
        return base64.urlsafe_b64encode(signature).rstrip(b"=")

    def __repr__(self) -> str:
        """Say nothing of what is in it."""
        return "Proof(...)"


def _mode(file: Path) -> int:
    try:
        return file.stat().st_mode
    except OSError as error:
        raise LoginError(f"cannot read {file}: {error.strerror}; give a readable file") from error


def _text(file: Path) -> str:
    try:
        if not S_ISREG(file.stat().st_mode):
            # A pipe gives its text once at most, and may make all wait for a writer.
            raise LoginError(f"{file} is no regular file, and it is read anew for each connection; give one that is")
        with file.open("rb") as stream:
            return stream.read(_LIMIT).decode()
    except OSError as error:
        raise LoginError(f"cannot read {file}: {error.strerror}; give a readable file") from error
    except UnicodeDecodeError as error:
        raise LoginError(f"{file} is no text in UTF-8; give a file that says who this node is") from error


def _lines(file: Path) -> list[str]:
    return [line.strip(" \t\r") for line in _text(file).split("\n")]


def _check_text(file: Path, what: str, lines: list[str]) -> None:
    """Refuse what nobody can have meant, such as a file of something else."""
    if any(_CONTROL.search(line) for line in lines):
        raise LoginError(f"{file}: {what} must be text without control characters; give the file that has it so")


def _credentials(file: Path) -> Proof:
    parts: dict[str, str] = dict(_PART.findall(_text(file)))
    jwt, seed = parts.get("NATS USER JWT"), parts.get("USER NKEY SEED")
    if jwt is None or seed is None:
        raise LoginError(f"{file} has no JWT and seed of a user; give the file that nsc generate creds writes")
    return Proof(jwt=jwt, seed=_seed(seed, file))


def _seed(text: str, file: Path) -> bytes:
    """Return the 32 bytes of a seed, which is base32 of two bytes that say what it is, the seed, and a checksum."""
    try:
        raw = base64.b32decode(text + "=" * (-len(text) % 8))
    except (binascii.Error, ValueError) as error:
        raise LoginError(f"{file}: its seed cannot be read: {error}") from error
    kind = (raw[0] & 0b11111000, (raw[0] & 0b111) << 5 | (raw[1] & 0b11111000) >> 3) if len(raw) == 36 else ()
    if kind != _USER_SEED or int.from_bytes(raw[-2:], "little") != binascii.crc_hqx(raw[:-2], 0):
        raise LoginError(f"{file}: its seed is not that of a user, or was copied with a mistake")
    return raw[2:-2]
