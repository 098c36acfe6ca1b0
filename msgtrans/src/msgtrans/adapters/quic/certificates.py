"""The certificates of QUIC listeners, and what clients trust: from files, from text, or made on the spot.

Not here: TLS itself (the library's), and certificates of TCP (`msgtrans.tls`, whose looks at files are used).
"""

from __future__ import annotations

import datetime as dt
import logging
import re
import ssl
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from msgtrans.adapters.quic.library import VERSIONS, QuicConfiguration
from msgtrans.errors import ConfigurationError
from msgtrans.tls import ServerTls, client_context

if TYPE_CHECKING:
    from msgtrans.config import QuicClientConfig, QuicServerConfig, TlsServerConfig
    from msgtrans.stats import EndpointStats

_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----\s*", re.DOTALL)
LIFETIME: Final = dt.timedelta(days=365)
logger = logging.getLogger("msgtrans.tls")


class ServerCertificates:
    """What a listener serves with; `configuration` is for new connections, and changes with the files.

    Raises ConfigurationError when the certificate cannot be used.
    """

    def __init__(self, config: QuicServerConfig, counters: EndpointStats) -> None:
        self._config = config
        self._files: _Files | None = None
        if config.tls is not None:
            self._files = _Files(config, counters)
        elif config.cert_pem and config.key_pem:
            self._made = configuration(config, config.cert_pem.encode(), config.key_pem.encode(), None)
        else:
            self._made = configuration(config, *self_signed(), None)

    @property
    def configuration(self) -> QuicConfiguration:
        """For a new connection."""
        return self._made if self._files is None else self._files.configuration

    def reload(self) -> bool:
        """Read the files now; False when they could not be used and those before stay."""
        return self._files is None or self._files.reload()

    def watch(self) -> None:
        """Look at the files now and then, from now on."""
        if self._files is not None:
            self._files.watch()

    def close(self) -> None:
        """Look no more."""
        if self._files is not None:
            self._files.close()


class _Files(ServerTls):
    """Files, checked by OpenSSL as for TCP, then read for QUIC."""

    def __init__(self, config: QuicServerConfig, counters: EndpointStats) -> None:
        assert config.tls is not None  # noqa: S101 - the caller looked
        super().__init__(config.tls, counters=counters)
        self._quic, self._tls = config, config.tls
        self.configuration = _from_files(config, config.tls)

    def reload(self) -> bool:
        """As of `ServerTls`."""
        if not super().reload():
            return False
        self.configuration = _from_files(self._quic, self._tls)
        return True


def _from_files(config: QuicServerConfig, tls: TlsServerConfig) -> QuicConfiguration:
    with open(tls.certificate_file, "rb") as opened:
        certificates = opened.read()
    keys = certificates
    if tls.key_file is not None:
        with open(tls.key_file, "rb") as opened:
            keys = opened.read()
    return configuration(config, certificates, keys, tls.key_password)


def configuration(
    config: QuicServerConfig, certificates: bytes, keys: bytes, password: str | None
) -> QuicConfiguration:
    """For a listener with these PEM texts. Raises ConfigurationError."""
    from qh3.tls import load_pem_private_key, load_pem_x509_certificates

    _need_cryptography()
    made = _common(config)
    made.is_client = False
    made.alpn_protocols = list(config.alpn) or None
    chain = [block for kind, block in _blocks(certificates) if kind == b"CERTIFICATE"]
    key = [block for kind, block in _blocks(keys) if kind.endswith(b"PRIVATE KEY")]
    if not chain or not key:
        missing = "cert_pem" if not chain else "key_pem"
        raise ConfigurationError(missing if config.tls is None else "tls", "has no such block in PEM form")
    try:
        made.certificate, *made.certificate_chain = load_pem_x509_certificates(b"".join(chain))
        made.private_key = load_pem_private_key(_plain_key(key[0], password))
    except Exception as error:  # what the library raises is not said
        raise ConfigurationError(
            "key_pem" if config.tls is None else "tls", f"the certificate or its key cannot be used for QUIC: {error}"
        ) from error
    if _is_authority(chain[0]):
        logger.warning(
            "the certificate served over QUIC is an authority's own (CA:TRUE), which clients that verify refuse there; "
            "have the authority issue one for the server, or make one with CA:FALSE"
        )
    return made


def _is_authority(certificate: bytes) -> bool:
    """Whether a certificate says that it may issue others; those are not taken for a server's by QUIC libraries.

    False where nothing is said of that, or it cannot be read: the library has taken it, and clients judge.
    """
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificate(certificate).extensions
        return found.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return False


def client_configuration(config: QuicClientConfig, server_name: str) -> QuicConfiguration:
    """For a connection. Raises ConfigurationError naming the file that cannot be used."""
    tls = config.tls_config
    client_context(tls)  # it says what is wrong with files, as for TCP
    made = _common(config)
    made.server_name = tls.server_name or server_name
    made.cafile = tls.ca_file
    if not tls.verify:
        made.verify_mode = ssl.CERT_NONE
        made.verify_hostname = False
    return made


def _common(config: QuicServerConfig | QuicClientConfig) -> QuicConfiguration:
    return QuicConfiguration(
        idle_timeout=config.max_idle_timeout,
        initial_rtt=config.initial_rtt,
        max_data=config.receive_window,
        max_stream_data=config.stream_receive_window,
        supported_versions=list(VERSIONS),
    )


def _plain_key(key: bytes, password: str | None) -> bytes:
    """A key in the one form that the library surely reads: it panics at some encrypted ones."""
    from cryptography.hazmat.primitives import serialization

    loaded = serialization.load_pem_private_key(key, password.encode() if password else None)
    return loaded.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _need_cryptography() -> None:
    if find_spec("cryptography") is None:
        raise ConfigurationError("quic", "a server needs cryptography; pip install 'msgtrans[quic]'")


def _blocks(pem: bytes) -> list[tuple[bytes, bytes]]:
    return [(match[1], match[0]) for match in _BLOCK.finditer(pem)]


def self_signed() -> tuple[bytes, bytes]:
    """A fresh certificate on P-256 for localhost, and its key, as PEM; its fingerprint is logged.

    Raises ConfigurationError without the package `cryptography`.
    """
    _need_cryptography()
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    logger.info(
        "serving QUIC with a certificate for localhost that signs itself, SHA-256 %s",
        certificate.fingerprint(hashes.SHA256()).hex(),
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
