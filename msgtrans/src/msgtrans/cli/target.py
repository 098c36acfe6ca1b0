"""The server that a command talks to: a config from its URI and the command's options, and its errors in plain words.

Not here: the options of the command line themselves (`options`), and any measuring.
"""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import msgspec

from msgtrans.adapters.registry import transports
from msgtrans.config import NO_RETRY, TlsClientConfig
from msgtrans.errors import ConfigurationError, RemoteProtocolError, SessionClosedError, TransportConnectionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from msgtrans.client import TransportClient
    from msgtrans.errors import TransportError
    from msgtrans.transport import ClientConfig


class TargetOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a command line says of the connection beside the URI.

    ca: PEM file with the authorities to trust. insecure: take any certificate of the server.
    certificate, key: PEM files of our own certificate. headers: "Name: value", sent with a WebSocket upgrade.
    """

    ca: str | None = None
    insecure: bool = False
    certificate: str | None = None
    key: str | None = None
    headers: tuple[str, ...] = ()

    @property
    def asks_for_tls(self) -> bool:
        """Whether any of them means nothing without TLS."""
        return self.insecure or any((self.ca, self.certificate, self.key))


def client_config(uri: str, options: TargetOptions) -> ClientConfig:
    """Connect to `uri` as `options` say, once: who typed a wrong address wants to know at once.

    Works for any transport, plug-ins included, whose config is a struct with fields of the usual names.
    Raises ConfigurationError for an option that the transport of `uri` does not have.
    """
    config = transports.client_config(uri)
    config = _with(config, "retry_config", NO_RETRY) or config
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
def told_plainly(client: TransportClient) -> Iterator[None]:
    """Turn the end of the session into a sentence for who typed the command, a TransportConnectionError."""
    try:
        yield
    except SessionClosedError as error:
        session, uri = client.session, client.uri
        if isinstance(session.close_error, RemoteProtocolError):
            told = f"what {uri} sent is no MsgTrans packet ({session.close_error}); is it a MsgTrans server?"
        elif session.packets_received:
            told = f"{uri} closed the connection after {session.packets_received} answers ({session.close_reason})"
        else:
            told = f"{uri} closed the connection without an answer; is it a MsgTrans server?"
        raise TransportConnectionError(told) from error


def plain(error: TransportError) -> str:
    """The sentence of `error`, with options of the command line where it names those of a program."""
    if isinstance(error.__cause__, ssl.SSLCertVerificationError):
        return f"{str(error).partition(';')[0]}; name its authority with --ca FILE, or look away with --insecure"
    return str(error)
