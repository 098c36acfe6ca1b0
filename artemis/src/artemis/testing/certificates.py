"""An authority and a certificate for tests, as files: to start a node with TLS and QUIC, and to trust it.

::

    certificate = make_certificate(tmp_path)
    async with (
        running_node(**certificate.options, plain_port=0) as node,
        ArtemisClient(
            servers=[node.url], region_id="local", tls=TlsClientConfig(ca_file=certificate.ca_file)
        ) as client,
    ):
        ...

For tests only: the authority's key is forgotten, so nobody can issue another certificate that it vouches for.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_NAMES = ("localhost", "127.0.0.1", "::1")
_LIFETIME = dt.timedelta(days=1)


class CertificateFiles(NamedTuple):
    """PEM files: whom to trust, and what to serve with."""

    ca_file: str
    certificate_file: str
    key_file: str

    @property
    def options(self) -> dict[str, str]:
        """The options of ``artemis serve`` that name them."""
        return {"tls_certificate_file": self.certificate_file, "tls_key_file": self.key_file}


def make_certificate(
    folder: Path,
    names: Iterable[str] = _NAMES,
    *,
    begins: dt.timedelta = -dt.timedelta(hours=1),
    ends: dt.timedelta = _LIFETIME,
) -> CertificateFiles:
    """Write ``ca.pem``, ``certificate.pem`` and ``key.pem`` into ``folder``, over what is there.

    ``names``: the host names and addresses that the certificate is for, by default those of this machine. It is valid
    ``begins`` to ``ends`` from now.
    """
    now = dt.datetime.now(dt.UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = _named("Authority for tests")
    lasting = now + max(ends, _LIFETIME)
    ca = (
        _begun(ca_name, ca_name, ca_key, now + min(begins, -dt.timedelta(hours=1)), lasting)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    certificate = (
        _begun(_named("Node for tests"), ca_name, key, now + begins, now + ends)
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    files = CertificateFiles(*(str(folder / f"{name}.pem") for name in ("ca", "certificate", "key")))
    Path(files.ca_file).write_bytes(_pem(ca))
    Path(files.certificate_file).write_bytes(_pem(certificate))
    secret = Path(files.key_file)
    secret.touch(mode=0o600)
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, begins: dt.datetime, ends: dt.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
