"""The server that a command talks to: a config from its URI and the command's options, and its errors in plain words.

Not here: the options of the command line themselves (`options`), and any measuring.
"""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import msgspec

from msgtrans.adapters.registry import transports
from msgtrans.cli.words import plural
from msgtrans.client import TransportClient
from msgtrans.config import NO_RETRY, TlsClientConfig
from msgtrans.errors import (
    ConfigurationError,
    RemoteProtocolError,
    SessionClosedError,
    TransportConnectionError,
    TransportTimeoutError,
)
from msgtrans.middleware import TokenMiddleware
from msgtrans.tls import refusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from msgtrans.config import SessionConfig
    from msgtrans.errors import TransportError
    from msgtrans.session import Session
    from msgtrans.transport import ClientConfig

TLS_ALERT: Final = 7  # bytes: all that a TLS server says to who speaks without TLS
SECURE: Final = {"tcp": "tls", "ws": "wss"}
MISMATCHES: Final = (62, 64)  # of name and of address, as OpenSSL numbers what it finds wrong
TRYING: Final = {"retry_config": NO_RETRY, "keep_alive_interval": 2.0, "max_idle_timeout": 8.0}
"""For who waits at a terminal: one attempt; and silence is all that tells that a server of QUIC has died."""
AUTHORIZATION: Final = "Authorization"
TOKEN_VARIABLE: Final = "MSGTRANS_TOKEN"  # noqa: S105 - a name
WORDS: Final = {
    "key_file: is missing": "--client-key: is missing",
    "set certificate_file": "show one with --client-certificate FILE",
    "; see minimum_version": "",
    "instead of a server's; see server_name": "instead of a server's; look away with --insecure, to try",
    "; see server_name": "",
    "tls: has a certificate_file, and QUIC servers ask for none": "--client-certificate: QUIC servers ask for none",
    "see alpn: Rust servers 1.x want none, from 2.0 on msgtrans/1": "is it a MsgTrans server?",
    "name its authority in TlsClientConfig.ca_file, or what it was issued for in server_name": (
        "name its authority with --ca FILE, or look away with --insecure"
    ),
    "prove who you are with a token instead": "prove who you are with --token instead",
}
"""What the library advises a program to do, in words of the command line; empty for what it has no option for."""


class TargetOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a command line says of the connection beside the URI.

    ca: PEM file with the authorities to trust. insecure: take any certificate of the server.
    certificate, key: PEM files of our own certificate. headers: "Name: value", sent with a WebSocket upgrade.
    token: who we are, for a server that asks. mapping: how packets travel on QUIC, None as the transport has it.
    """

    ca: str | None = None
    insecure: bool = False
    certificate: str | None = None
    key: str | None = None
    headers: tuple[str, ...] = ()
    token: str | None = None
    mapping: str | None = None

    @property
    def asks_for_tls(self) -> bool:
        """Whether any of them means nothing without TLS."""
        return self.insecure or any((self.ca, self.certificate, self.key))


class Target(NamedTuple):
    """Whom to connect to. token: sent as the first message, None for none; `config` has one for a WebSocket upgrade."""

    config: ClientConfig
    token: str | None = None

    @property
    def uri(self) -> str:
        """Where that is."""
        return self.config.uri

    def client(self, session: SessionConfig | None = None) -> TransportClient:
        """A new client of it, not connected yet. session: as `TransportClient` takes it."""
        middleware = () if self.token is None else (TokenMiddleware(self.token),)
        return TransportClient(self.config, session=session, middleware=middleware)


def target(uri: str, options: TargetOptions) -> Target:
    """What `options` say of `uri`. A token goes into the upgrade of WebSocket, else into a message of its own.

    Raises ConfigurationError as `client_config`, and for a token that is empty or given twice.
    """
    config = client_config(uri, options)
    if options.token is None:
        return Target(config)
    token = options.token.strip()
    if not token:
        raise ConfigurationError("--token", "is empty; leave it out where none is needed")
    headers: Mapping[str, str] = getattr(config, "headers", {})
    if any(name.lower() == AUTHORIZATION.lower() for name in headers):
        raise ConfigurationError("--token", f"is given, or set as {TOKEN_VARIABLE}, and so is a header {AUTHORIZATION}")
    try:
        headed = _with(config, "headers", {**headers, AUTHORIZATION: f"Bearer {token}"})
    except ConfigurationError as error:
        raise ConfigurationError("--token", "has letters in it that cannot be sent with a WebSocket upgrade") from error
    return Target(config, token) if headed is None else Target(headed)


def client_config(uri: str, options: TargetOptions) -> ClientConfig:
    """Connect to `uri` as `options` say, once: who typed a wrong address wants to know at once.

    Works for any transport, plug-ins included, whose config is a struct with fields of the usual names.
    Raises ConfigurationError for an option that the transport of `uri` does not have.
    """
    config = transports.client_config(uri)
    for field, value in TRYING.items():
        config = _with(config, field, value) or config
    if options.asks_for_tls:
        inside = _with(config, "tls", _tls(options)) if getattr(config, "tls_config", None) is not None else None
        if inside is None:
            raise ConfigurationError(
                "uri", f"{uri} is not inside TLS, but TLS options are given; write tls:// or wss://"
            )
        config = inside
    if options.headers:
        headed = _with(config, "headers", dict(map(_header, options.headers)))
        if headed is None:
            raise ConfigurationError("--header", f"is for ws:// and wss://; {uri} has no headers")
        config = headed
    if options.mapping is not None:
        mapped = _with(config, "mapping", options.mapping)
        if mapped is None:
            raise ConfigurationError("--quic-mapping", f"is for quic://; {uri} is something else")
        config = mapped
    return config


def _with(config: ClientConfig, field: str, value: object) -> ClientConfig | None:
    """A copy of `config` with another `field`; None when it has no such field."""
    if not isinstance(config, msgspec.Struct) or field not in config.__struct_fields__:
        return None
    return cast("ClientConfig", msgspec.structs.replace(config, **{field: value}))


def _tls(options: TargetOptions) -> TlsClientConfig:
    return TlsClientConfig(
        ca_file=options.ca, verify=not options.insecure, certificate_file=options.certificate, key_file=options.key
    )


def _header(line: str) -> tuple[str, str]:
    name, separator, value = line.partition(":")
    if not separator or not name.strip():
        raise ConfigurationError("--header", f"{line!r} is no header; write 'Name: value'")
    return name.strip(), value.strip()


@contextmanager
def told_plainly(client: TransportClient, *, one_way: bool = False) -> Iterator[None]:
    """Turn the end of the session into a sentence for who typed the command, a TransportConnectionError.

    one_way: answers were not what was waited for.
    """
    try:
        yield
    except SessionClosedError as error:
        raise TransportConnectionError(_ending(client.session, client.uri, one_way=one_way)) from error


def _ending(session: Session, uri: str, *, one_way: bool) -> str:
    error, come = session.close_error, session.packets_received
    if isinstance(error, RemoteProtocolError):
        tls = _tls_advice(uri) if session.bytes_received == TLS_ALERT else ""
        return f"what {uri} sent is no MsgTrans packet ({error}); is it a MsgTrans server?{tls}"
    if one_way:
        after = f" after it was sent {plural(session.packets_sent, 'packet')}"
    else:
        after = f" after {plural(come, 'answer')}" if come else " without an answer"
    if isinstance(error, TransportTimeoutError):
        return f"lost {uri}{after}: {error.operation} took longer than {error.seconds:g} s; does it still run?"
    if error is not None:
        cause = error.__cause__
        return f"{uri} ended the connection{after}: {refusal(cause) or cause or error}"
    if come:
        return f"{uri} closed the connection{after} ({session.close_reason})"
    advice = f"If it wants a token, give the right one with --token.{_tls_advice(uri)}"
    return f"{uri} closed the connection{after}; is it a MsgTrans server? {advice}"


def _tls_advice(uri: str) -> str:
    """What to try when a port says nothing sensible without TLS; empty for those who are inside TLS."""
    scheme, _, rest = uri.partition("://")
    return f" If it wants TLS, write {SECURE[scheme]}://{rest}" if scheme in SECURE else ""


def plain(error: TransportError) -> str:
    """The sentence of `error`, with options of the command line where it names those of a program."""
    cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        advice = "connect to the name on it" if cause.verify_code in MISMATCHES else "name its authority with --ca FILE"
        return f"{str(error).partition(';')[0].rstrip('.')}; {advice}, or look away with --insecure"
    if isinstance(error, TransportTimeoutError) and error.operation.startswith("connecting to quic:"):
        return f"{error.operation} took longer than {error.seconds:g} s; is UDP let through, and is that a QUIC server?"
    told = str(error)
    for ours, typed in WORDS.items():
        told = told.replace(ours, typed)
    return told
