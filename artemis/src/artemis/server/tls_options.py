"""The options that say with which certificate a node serves, and what it serves beside its port then.

Not here: the files themselves (`certificates`).
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from artemis.server.federation_options import FederationOptions


class TlsOptions(FederationOptions):
    """TLS on the port, and what goes with it."""

    tls_certificate_file: Path | None = Field(
        None,
        description="Certificate of this node and those of the authorities between it and the root, as PEM: the port "
        "speaks TLS then. Read again when it changes.",
    )
    tls_key_file: Path | None = Field(
        None, description="Private key of that certificate, as PEM, without a password. Read again when it changes."
    )
    plain_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port without TLS beside one with it, for clients that have none; 0 picks a free one.",
    )
    quic: bool = Field(
        True, description="With a certificate, serve MsgTrans over QUIC as well, on UDP of the port's number."
    )

    @property
    def secure(self) -> bool:
        """Whether the port speaks TLS."""
        return self.tls_certificate_file is not None

    @property
    def serves_quic(self) -> bool:
        """Whether there is MsgTrans over QUIC."""
        return self.quic and self.secure

    @property
    def scheme(self) -> str:
        """The scheme of the port's URL."""
        return "https" if self.secure else "http"

    def check_tls(self) -> None:
        """Check that these options go together. Raises ValueError, whose text names an option."""
        if self.tls_certificate_file is None:
            if self.tls_key_file is not None:
                raise ValueError("tls-key-file: is the key of no certificate; give --tls-certificate-file as well")
            if self.plain_port is not None:
                raise ValueError(
                    "plain-port: is for a node whose port speaks TLS, and without --tls-certificate-file the port "
                    "itself is plain; leave it out"
                )
            if self.quic and "quic" in self.model_fields_set:
                raise ValueError(
                    "quic: is inside TLS always, with the certificate of the port; give --tls-certificate-file and "
                    "--tls-key-file as well, or leave it out"
                )
            return
        if self.tls_key_file is None:
            raise ValueError(
                "tls-certificate-file: is of no use without its key; give --tls-key-file as well, the same file if "
                "that holds both"
            )
        if self.plain_port is not None and self.plain_port in self.workers_ports:
            raise ValueError(f"plain-port: {self.plain_port} is one of those from --workers-port on; give another one")
        if self.plain_port is not None and self.plain_port == self.port != 0:
            raise ValueError(f"plain-port: is {self.port}, as the port that speaks TLS; give another one")
