"""Options of TLS, for servers and clients, whatever runs inside it.

Not here: contexts and the reloading of files (`tls`).
"""

from __future__ import annotations

from typing import Literal, Self

import msgspec
from msgspec.structs import replace

from msgtrans.config.checks import positive
from msgtrans.errors import ConfigurationError
from msgtrans.field_types import check_types

TlsVersion = Literal["TLSv1.2", "TLSv1.3"]


class TlsServerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a server proves, and what it wants proved. All files are PEM and are read again when they change.

    certificate_file: the certificate and those of the authorities between it and the root. key_file: its private key;
    None when certificate_file holds that too. key_password: of an encrypted key.
    client_ca_file: authorities whose client certificates are accepted; None asks clients for none.
    require_client_certificate: with client_ca_file, refuse clients without a certificate; default on. Off, a client
    may come without one, and `Session.peer_certificate` tells.
    minimum_version: default TLS 1.2. reload_interval: seconds between two looks at the files, None never looks again;
    default 10. A file that cannot be used is logged, and what was loaded before stays in use.
    """

    certificate_file: str
    key_file: str | None = None
    key_password: str | None = None
    client_ca_file: str | None = None
    require_client_certificate: bool = True
    minimum_version: TlsVersion = "TLSv1.2"
    reload_interval: float | None = 10.0

    def __post_init__(self) -> None:
        """Refuse values that cannot work with ConfigurationError."""
        check_types(self)
        if not self.certificate_file:
            raise ConfigurationError("certificate_file", "is empty; name a PEM file")
        positive(self, "reload_interval", none=True)

    def replace(self, **changes: object) -> Self:
        """A copy with other values, validated again."""
        return replace(self, **changes)


class TlsClientConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a client wants proved, and what it proves. All files are PEM and are read when connecting.

    ca_file: authorities to trust; None trusts those of the system. server_name: the name the server's certificate must
    carry, and the one sent to it; None for the host of the address. verify: check certificate and name; default on.
    certificate_file, key_file, key_password: our own certificate, for servers that ask for one.
    minimum_version: default TLS 1.2.
    """

    ca_file: str | None = None
    server_name: str | None = None
    verify: bool = True
    certificate_file: str | None = None
    key_file: str | None = None
    key_password: str | None = None
    minimum_version: TlsVersion = "TLSv1.2"

    def __post_init__(self) -> None:
        """Refuse values that cannot work with ConfigurationError."""
        check_types(self)
        if self.server_name is not None and (not self.server_name or self.server_name.startswith(".")):
            raise ConfigurationError("server_name", f"is {self.server_name!r}; write a name as in the certificate")
        if self.key_file is not None and self.certificate_file is None:
            raise ConfigurationError(
                "certificate_file", "is missing, but key_file is set; a key goes with a certificate"
            )

    def replace(self, **changes: object) -> Self:
        """A copy with other values, validated again."""
        return replace(self, **changes)
