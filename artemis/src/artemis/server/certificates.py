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
from typing import TYPE_CHECKING

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


class CertificateError(Exception):
    """The certificate cannot be used; the text names the option and says why."""


class Certificates:
    """Owned by the assembly, on its event loop. Made, its files have been read; `follow` looks after them.

    `tls` is what to listen with. `expires` is when the certificate ends, in seconds since 1970. `reloads` and
    `failures` count what came of changed files. `others` are called when there is a new certificate, to read it too;
    they return whether they could. As many handshakes as `max_handshakes` may run at once; more are closed. Raises
    `CertificateError`.
    """

    def __init__(self, certificate: Path, key: Path, max_handshakes: int, log: FilteringBoundLogger) -> None:
        self._files = (certificate, key)
        self._log = log
        self._seen = self._state()  # before they are read: what changes meanwhile is noticed
        self.config = TlsServerConfig(certificate_file=str(certificate), key_file=str(key), reload_interval=None)
        self.expires = self._check()
        self.tls = ServerTls(self.config, max_handshakes=max_handshakes, handshake_timeout=HANDSHAKE)
        self.others: list[Callable[[], bool]] = []
        self.reloads = self.failures = 0
        self._ended = False

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
            expires = await beside(self._check)
            used = [self.tls.reload(), *(other() for other in self.others)]
        except Exception as error:  # noqa: BLE001 - one surprise must not be the end of following
            self._kept(str(error) if isinstance(error, CertificateError) else repr(error))
            return
        if not all(used):
            self._kept("the files changed while they were read")
            return
        self.reloads += 1
        self.expires, self._ended = expires, False
        self._log.info("certificate read again", file=str(self._files[0]), expires=_day(expires))

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

    def _state(self) -> tuple[FileState, ...]:
        return tuple(file_state(file) for file in self._files)

    def _check(self) -> float:
        """Read the files; returns when the certificate ends. Raises `CertificateError`."""
        try:
            server_context(self.config, Handshakes(1, HANDSHAKE, EndpointStats()))
        except ConfigurationError as error:
            option = _OPTIONS.get(error.field, error.field)
            text = _ENCRYPTED if error.field == "key_password" else str(error).partition(": ")[2]
            raise CertificateError(f"--{option}: {text}") from error
        return ending(self._files[0], dt.datetime.now(dt.UTC))


def ending(file: Path, now: dt.datetime) -> float:
    """When the first certificate of a PEM file ends, in seconds since 1970. Raises `CertificateError` if it has ended
    `now`, or has not begun."""
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificates(file.read_bytes())[0]
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
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
    return ends.timestamp()


def _day(moment: float) -> str:
    return f"{dt.datetime.fromtimestamp(moment, dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
