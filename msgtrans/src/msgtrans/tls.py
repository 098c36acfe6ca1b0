"""TLS contexts from options, and certificates that are read again when their files change.

Not here: the options (`config.tls`), and any connection.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

from msgtrans.errors import ConfigurationError

if TYPE_CHECKING:
    import asyncio

    from msgtrans.config import TlsClientConfig, TlsServerConfig

_VERSIONS: Final = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


class ServerTls:
    """The TLS of one listener. Owned by whoever listens: `close` it with the listener.

    context: what to listen with. Raises ConfigurationError when the files cannot be used.
    """

    def __init__(self, config: TlsServerConfig) -> None:
        self._config = config
        self.context = server_context(config)

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look at the files now and then."""

    def close(self) -> None:
        """Look no more."""


def server_context(config: TlsServerConfig) -> ssl.SSLContext:
    """A context that serves with `config`. Raises ConfigurationError naming the file that cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[config.minimum_version]
    _load_certificate(context, config.certificate_file, config.key_file, config.key_password)
    if config.client_ca_file is not None:
        _load_authorities(context, config.client_ca_file, "client_ca_file")
        context.verify_mode = ssl.CERT_REQUIRED if config.require_client_certificate else ssl.CERT_OPTIONAL
    return context


def client_context(config: TlsClientConfig) -> ssl.SSLContext:
    """A context that connects with `config`. Raises ConfigurationError naming the file that cannot be used."""
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


def _load_certificate(context: ssl.SSLContext, certificate: str, key: str | None, password: str | None) -> None:
    try:
        context.load_cert_chain(certificate, key, password or "")
    except FileNotFoundError as error:
        raise ConfigurationError("certificate_file", f"{certificate!r} or its key {key!r} does not exist") from error
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            "certificate_file", f"{certificate!r} with key {key!r} cannot be used: {error}"
        ) from error


def _load_authorities(context: ssl.SSLContext, file: str, field: str) -> None:
    try:
        context.load_verify_locations(file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(field, f"{file!r} cannot be used: {error}") from error
