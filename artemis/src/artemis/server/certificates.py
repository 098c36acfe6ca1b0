"""The certificate of a node: read at the start, and again when its files change or an operator asks for it.

At the start, what cannot be used keeps the node from starting. Later, what was loaded before stays in use, and the log
says why. Connections that are open keep what they began with.
Not here: what is served with it (`doors`, `claim`), and TLS itself.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from artemis.server.beside import beside
from artemis.server.reload import LOOK_EVERY, FileState, file_state
from msgtrans import ConfigurationError, EndpointStats, ServerTls, TlsServerConfig
from msgtrans.handshakes import Handshakes
from msgtrans.tls import server_context

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

#: Seconds that a client may take for its handshake.
HANDSHAKE = 10.0

_OPTIONS = {"certificate_file": "tls-certificate-file", "key_file": "tls-key-file", "key_password": "tls-key-file"}
_ENCRYPTED = "the key is protected by a password, which a node cannot be given; store it without one"


#: Kinds of keys with which clients of QUIC let a server prove who it is.
_FOR_QUIC = frozenset({"RSA", "secp256r1", "secp384r1"})


class CertificateError(Exception):
    """The certificate cannot be used; the text names the option and says why."""


class Leaf(NamedTuple):
    """When a certificate ends, in seconds since 1970, and the kind of its key: the curve, or as `RSA`."""

    ends: float
    key: str


class Certificates:
    """Owned by the assembly, on its event loop. Made, its files have been read; `follow` looks after them.

    `tls` is what to listen with; `serve_quic` says that there is QUIC, too. `reloads` and `failures` count what came of
    changed files. As many handshakes as `max_handshakes` may run at once; more are closed. Raises `CertificateError`.
    """

    def __init__(self, certificate: Path, key: Path, max_handshakes: int, log: FilteringBoundLogger) -> None:
        self._files = (certificate, key)
        self._log = log
        self._seen = self._state()  # before they are read: what changes meanwhile is noticed
        self.config = TlsServerConfig(certificate_file=str(certificate), key_file=str(key), reload_interval=None)
        self._read = self._check()
        self.tls = ServerTls(self.config, max_handshakes=max_handshakes, handshake_timeout=HANDSHAKE)
        self._reload_quic: Callable[[], bool] | None = None
        self.reloads = self.failures = 0
        self._ended = False

    @property
    def expires(self) -> float:
        """When the certificate in use ends, in seconds since 1970."""
        return self._read.ends

    def serve_quic(self, read: Callable[[], bool]) -> None:
        """Have `read` called when there is a new certificate: QUIC reads it for itself, and says whether it could."""
        self._reload_quic = read
        self._judge_key()

    async def follow(self, hangup: asyncio.Event) -> None:
        """Read the files again when one has changed or `hangup` is set, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(LOOK_EVERY):
                    await hangup.wait()
            except TimeoutError:
                pass
            asked = hangup.is_set()
            hangup.clear()
            self.tell_end(dt.datetime.now(dt.UTC).timestamp())
            state = await beside(self._state)
            if asked or state != self._seen:
                self._seen = state
                await self._read_again()

    async def _read_again(self) -> None:
        """Serve with what the files hold now, if that can be used."""
        try:
            read = await beside(self._check)
            used = self.tls.reload() and (self._reload_quic is None or self._reload_quic())
        except Exception as error:  # noqa: BLE001 - one surprise must not be the end of following
            self._kept(str(error) if isinstance(error, CertificateError) else repr(error))
            return
        if not used:
            self._kept("the files changed while they were read")
            return
        self.reloads += 1
        self._read, self._ended = read, False
        self._log.info("certificate read again", file=str(self._files[0]), expires=_day(read.ends))
        self._judge_key()

    def _kept(self, reason: str) -> None:
        self.failures += 1
        self._log.error("certificate kept", reason=reason, expires=_day(self.expires))

    def tell_end(self, now: float) -> None:
        """Say once that the certificate in use has ended."""
        if now >= self.expires and not self._ended:
            self._ended = True
            self._log.error(
                "certificate expired",
                file=str(self._files[0]),
                expired=_day(self.expires),
                consequence="clients refuse this node",
                advice="put a new one into the same files, which are read again",
            )

    def _judge_key(self) -> None:
        if self._reload_quic is not None and self._read.key not in _FOR_QUIC:
            self._log.warning(
                "QUIC clients refuse this key",
                kind=self._read.key,
                consequence="they stay with TCP",
                advice="have a certificate issued for an RSA key or one on P-256 or P-384, or give --no-quic",
            )

    def _state(self) -> tuple[FileState, ...]:
        return tuple(file_state(file) for file in self._files)

    def _check(self) -> Leaf:
        """Read the files. Raises `CertificateError`."""
        try:
            server_context(self.config, Handshakes(1, HANDSHAKE, EndpointStats()))
        except ConfigurationError as error:
            option = _OPTIONS.get(error.field, error.field)
            text = _ENCRYPTED if error.field == "key_password" else str(error).partition(": ")[2]
            raise CertificateError(f"--{option}: {text}") from error
        return leaf(self._files[0], dt.datetime.now(dt.UTC))


def leaf(file: Path, now: dt.datetime) -> Leaf:
    """The first certificate of a PEM file. Raises `CertificateError` if it has ended `now`, or has not begun."""
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificates(file.read_bytes())[0]
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        key = certificate.public_key()
    except (OSError, ValueError) as error:
        raise CertificateError(f"--tls-certificate-file: {str(file)!r} cannot be read: {error}") from error
    if now >= ends:
        raise CertificateError(
            f"--tls-certificate-file: {str(file)!r} has expired on {ends:%Y-%m-%d %H:%M} UTC, so clients would refuse "
            "it; have a new one issued"
        )
    if now < begins:
        raise CertificateError(
            f"--tls-certificate-file: {str(file)!r} is valid only from {begins:%Y-%m-%d %H:%M} UTC on, and it is "
            f"{now:%Y-%m-%d %H:%M}; check the clock of this machine"
        )
    curve = getattr(key, "curve", None)
    kind = type(key).__name__.removesuffix("PublicKey") if curve is None else curve.name
    return Leaf(ends.timestamp(), kind)


def _day(moment: float) -> str:
    return f"{dt.datetime.fromtimestamp(moment, dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
