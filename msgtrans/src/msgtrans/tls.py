"""TLS contexts from options, and certificates that are read again when their files change.

What holds without being asked for: TLS 1.2 or newer, the ciphers and groups that OpenSSL and Python choose, clients
check certificate and name, and no password is ever asked for on a terminal.
Not here: the options (`config.tls`), any connection, and what happens inside a handshake (`handshakes`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Self, TypeAlias

from msgtrans.adapters.listening import EXHAUSTED
from msgtrans.errors import ConfigurationError, ConnectError
from msgtrans.handshakes import AcceptingContext, Handshakes
from msgtrans.stats import EndpointStats

if TYPE_CHECKING:
    from msgtrans.config import TlsClientConfig, TlsServerConfig

_VERSIONS: Final = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
_REFUSED: Final = "the peer refused our certificate; is it in date, and of an authority that the peer trusts?"
_ALERTS: Final = {
    "CERTIFICATE_REQUIRED": "the peer wants a certificate of ours; set certificate_file",
    "BAD_CERTIFICATE": _REFUSED,
    "UNSUPPORTED_CERTIFICATE": _REFUSED,
    "CERTIFICATE_REVOKED": _REFUSED,
    "CERTIFICATE_EXPIRED": _REFUSED,
    "CERTIFICATE_UNKNOWN": _REFUSED,
    "UNKNOWN_CA": _REFUSED,
    "ACCESS_DENIED": _REFUSED,
    "PROTOCOL_VERSION": "the peer takes other versions of TLS only; see minimum_version",
    "HANDSHAKE_FAILURE": "the peer takes none of our ciphers or versions, or wants a certificate of ours",
    "UNRECOGNIZED_NAME": "the peer does not know that name; see server_name",
}
_MISMATCHES: Final = {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}
"""What OpenSSL says of a key that is not the certificate's: another one, and one of another kind in two ways."""
Stamp: TypeAlias = "tuple[int, int, int, int] | None"
logger = logging.getLogger("msgtrans.tls")


class ServerTls:
    """The TLS of one listener: a context whose certificates change with their files. Used from one event loop.

    `TransportServer` makes one per listener. Who listens by other means, as with `UnifiedPort`, makes one too:

        with ServerTls(TlsServerConfig(certificate_file="cert.pem", key_file="key.pem")) as tls:
            listening = await loop.create_server(port, "127.0.0.1", 8443, ssl=tls.context)

    Entered, it looks at the files every `reload_interval` seconds. When one has changed, a whole new context is made of
    all of them and serves the connections from then on; open ones stay. If that fails, because only half of the files
    are written for example, the failure is logged and counted, what was loaded before stays in use, and the next change
    is tried again.
    max_handshakes: connections that may be in their handshake at once, default 1000; more are closed at once and
    counted in connections_refused. handshake_timeout: seconds after which the listener gives up a handshake, as given
    to it; default 60, as asyncio has it.
    counters: where certificate_reloads, certificate_failures, handshake_failures and connections_refused are counted.
    context: what to listen with. Raises ConfigurationError when the files cannot be used.
    """

    def __init__(
        self,
        config: TlsServerConfig,
        *,
        max_handshakes: int = 1000,
        handshake_timeout: float = 60.0,
        counters: EndpointStats | None = None,
    ) -> None:
        self.counters = EndpointStats() if counters is None else counters
        self._config = config
        self._handshakes = Handshakes(max_handshakes, handshake_timeout, self.counters)
        self._stamps = self._look()  # before reading: what changes meanwhile is read again
        self.context = server_context(config, self._handshakes)
        self.context.sni_callback = self._choose  # called for clients that name none, too
        self._current = self.context
        self._timer: asyncio.TimerHandle | None = None

    @property
    def handshakes(self) -> int:
        """How many are under way."""
        return len(self._handshakes)

    def bound_handshakes(self, limit: int) -> None:
        """Let at most `limit` handshakes run at once from now on; those that do go on."""
        self._handshakes.limit = limit

    def watch(self) -> None:
        """Look at the files every `reload_interval` seconds from now on; needs a running loop."""
        if self._timer is None and self._config.reload_interval is not None:
            self._timer = asyncio.get_running_loop().call_later(self._config.reload_interval, self._sweep)

    def close(self) -> None:
        """Look no more. Close it with the listener."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __enter__(self) -> Self:
        self.watch()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def reload(self) -> bool:
        """Read the files now, changed or not. Returns whether that worked; a failure is logged and counted.

        Reads and parses on the calling thread: about a millisecond for an elliptic key with its chain.
        """
        self._stamps = self._look()
        try:
            self._current = server_context(self._config, self._handshakes)
        except ConfigurationError as error:
            self.counters.certificate_failures += 1
            logger.warning("the certificates changed and cannot be used, those loaded before stay in use: %s", error)
            if _ran_out(error):
                self._stamps = ()  # nothing is wrong with the files: read them again at the next look
            return False
        self.counters.certificate_reloads += 1
        logger.info("serving with the certificates in %r as they are now", self._config.certificate_file)
        return True

    def _choose(self, connection: ssl.SSLObject, name: str | None, base: ssl.SSLContext) -> int | None:  # noqa: ARG002
        """For OpenSSL, in each handshake before any certificate is chosen: serve with what was read last."""
        if self._current is not self.context:
            if self._config.client_ca_file is not None and connection.session_reused:
                # A session begun under other authorities is not checked again when it is taken up.
                return int(ssl.AlertDescription.ALERT_DESCRIPTION_HANDSHAKE_FAILURE)
            connection.context = self._current
        return None

    def _look(self) -> tuple[Stamp, ...]:
        config = self._config
        return _stamps(config.certificate_file, config.key_file, config.client_ca_file)

    def _sweep(self) -> None:
        self._timer = None
        self.watch()
        if self._look() != self._stamps:
            self.reload()


def server_context(config: TlsServerConfig, handshakes: Handshakes) -> ssl.SSLContext:
    """A context that serves with `config`. Raises ConfigurationError naming the file that cannot be used."""
    context = AcceptingContext(ssl.PROTOCOL_TLS_SERVER)
    context.handshakes = handshakes
    context.minimum_version = _VERSIONS[config.minimum_version]
    _load_certificate(context, config.certificate_file, config.key_file, config.key_password)
    if config.client_ca_file is not None:
        _load_authorities(context, config.client_ca_file, "client_ca_file")
        context.verify_mode = ssl.CERT_REQUIRED if config.require_client_certificate else ssl.CERT_OPTIONAL
        context.num_tickets = 0  # a client that comes back is checked again, against the authorities of then
        context.options |= ssl.OP_NO_TICKET
    return context


def client_context(config: TlsClientConfig) -> ssl.SSLContext:
    """A context that connects with `config`. Raises ConfigurationError naming the file that cannot be used.

    Contexts are kept, for as long as the files stay as they are: reading the system's authorities takes long.
    Raises ConnectError, which may pass, when this process or machine may open no more files.
    """
    system = ssl.get_default_verify_paths()
    authorities = (system.cafile, system.capath) if config.ca_file is None else (config.ca_file,)
    try:
        return _client_context(config, _stamps(*authorities, config.certificate_file, config.key_file))
    except ConfigurationError as error:
        if _ran_out(error):
            raise ConnectError(f"the certificates cannot be read now: {error}") from error
        raise


@lru_cache(maxsize=16)
def _client_context(config: TlsClientConfig, stamps: tuple[Stamp, ...]) -> ssl.SSLContext:  # noqa: ARG001 - of the cache
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = _VERSIONS[config.minimum_version]
    if not config.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif config.ca_file is not None:
        _load_authorities(context, config.ca_file, "ca_file")
    else:
        context.load_default_certs()
    if config.certificate_file is not None:
        _load_certificate(context, config.certificate_file, config.key_file, config.key_password)
    return context


def _ran_out(error: ConfigurationError) -> bool:
    """Whether a file could not be read because this process or machine had run out of something."""
    cause = error.__cause__
    return isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError) and cause.errno in EXHAUSTED


def refusal(error: BaseException | None) -> str | None:
    """What a peer means that ended TLS with an alert, and what to do; None when `error` is nothing of that kind."""
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    if not reason or "_ALERT_" not in reason:
        return None
    alert = reason.partition("_ALERT_")[2]
    told = _ALERTS.get(alert, "the peer refused it")
    return f"{told} (alert {alert.replace('_', ' ').lower()})"


def _stamps(*files: str | None) -> tuple[Stamp, ...]:
    """What changes with the files; a link counts as what it leads to."""
    return tuple(_stamp(file) for file in files if file is not None)


def _stamp(file: str) -> Stamp:
    try:
        seen = os.stat(file)
    except (OSError, ValueError):  # reading it says why
        return None
    return (seen.st_mtime_ns, seen.st_ctime_ns, seen.st_size, seen.st_ino)


def _load_certificate(context: ssl.SSLContext, certificate: str, key: str | None, password: str | None) -> None:
    for field, file in (("certificate_file", certificate), ("key_file", key)):
        if file is not None:
            _check_readable(field, file)
    try:
        # Without a password given, OpenSSL would ask for one on the terminal; an empty one is merely wrong.
        context.load_cert_chain(certificate, key, password or "")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise _unusable(certificate, key, password, error) from error


def _load_authorities(context: ssl.SSLContext, file: str, field: str) -> None:
    _check_readable(field, file)
    try:
        context.load_verify_locations(file)
    except (OSError, ValueError) as error:
        raise ConfigurationError(field, f"{file!r} holds no certificates in PEM form: {_told(error)}") from error


def _check_readable(field: str, file: str) -> None:
    try:
        with open(file, "rb"):
            pass
    except FileNotFoundError as error:
        raise ConfigurationError(field, f"{file!r} does not exist") from error
    except (OSError, ValueError) as error:
        raise ConfigurationError(field, f"{file!r} cannot be read: {_told(error)}") from error


def _unusable(certificate: str, key: str | None, password: str | None, error: Exception) -> ConfigurationError:
    reason = getattr(error, "reason", None) or ""
    if reason in _MISMATCHES:
        return ConfigurationError("key_file", f"{key or certificate!r} is not the key of {certificate!r}")
    if key is None and _holds(certificate, b"CERTIFICATE") and not _holds(certificate, b"PRIVATE KEY"):
        return ConfigurationError("key_file", f"is missing, and {certificate!r} holds no private key")
    if _holds(key or certificate, b"ENCRYPTED"):
        advice = "is encrypted; give key_password" if password is None else "cannot be decrypted with key_password"
        return ConfigurationError("key_password", f"{key or certificate!r} {advice}: {_told(error)}")
    return ConfigurationError(
        "certificate_file",
        f"{certificate!r} with key {key or certificate!r} cannot be used, are both whole and PEM? {_told(error)}",
    )


def _holds(file: str, word: bytes) -> bool:
    with open(file, "rb") as opened:
        return word in opened.read(1 << 20)


def _told(error: Exception) -> str:
    """The reason alone, without line numbers of C code."""
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
