"""What QUIC servers prove with, and what clients believe (case 14)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from qh3.quic.connection import QuicConnection
from qh3.quic.events import ProtocolNegotiated
from quic_peer import RawQuicPeer

from msgtrans import (
    ConfigurationError,
    ConnectError,
    QuicClientConfig,
    QuicServerConfig,
    TlsClientConfig,
    TlsServerConfig,
    TransportClient,
    TransportServer,
)
from msgtrans.adapters.quic import endpoint
from msgtrans.adapters.quic.certificates import self_signed
from msgtrans.adapters.quic.endings import connect_failed
from msgtrans.adapters.quic.offering import REMEMBERED, Offers
from msgtrans.config import NO_RETRY

if TYPE_CHECKING:
    from pathlib import Path

    from carriers import Certificates

ANY = "127.0.0.1:0"


def quic_server(**options: object) -> TransportServer:
    server = TransportServer(quic=QuicServerConfig(bind_address=ANY, **options))
    server.on_request(lambda context: context.payload)
    return server


async def served(server: TransportServer, tls: TlsClientConfig | None, **options: object) -> bool:
    """Whether a client that wants this proved is served."""
    config = QuicClientConfig(target_address=str(server.quic_address), tls=tls, retry_config=NO_RETRY, **options)
    async with TransportClient(config) as client:
        return (await client.request(b"hi")).payload == b"hi"


async def test_14_a_certificate_that_signs_itself(caplog: pytest.LogCaptureFixture) -> None:
    """Without files a fresh one for localhost, on P-256, is made; its fingerprint is logged, and clients that verify
    refuse it, in words, for good (case 14)."""
    with caplog.at_level(logging.INFO, "msgtrans.tls"):
        async with quic_server() as server:
            [told] = [record.getMessage() for record in caplog.records if "SHA-256" in record.getMessage()]
            assert 64 == len(told.rpartition(" ")[2])
            with pytest.raises(ConnectError, match=r"is not trusted: .*; name its authority") as caught:
                await served(server, None)
            assert not caught.value.retriable
            assert await served(server, TlsClientConfig(verify=False))
            assert 0 == server.stats().connections_open
    certificate, key = self_signed()
    found = load_pem_private_key(key, None)
    assert isinstance(found, ec.EllipticCurvePrivateKey)
    assert "secp256r1" == found.curve.name
    names = x509.load_pem_x509_certificate(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert ["localhost"] == names.value.get_values_for_type(x509.DNSName)


async def test_14_a_certificate_from_files(certificates: Certificates) -> None:
    """Name and authority are checked; the name may be another than the address."""
    trust = TlsClientConfig(ca_file=certificates.authority_file)
    async with quic_server(tls=TlsServerConfig(certificate_file=certificates.server_file)) as server:
        assert await served(server, trust)
        assert await served(server, trust.replace(server_name="localhost"))
        with pytest.raises(ConnectError, match="is not trusted"):
            await served(server, trust.replace(server_name="example.org"))
        with pytest.raises(ConnectError, match="is not trusted"):
            await served(server, None)


async def test_14_a_certificate_as_text(tmp_path: Path) -> None:
    """`cert_pem` and `key_pem` may hold it, with the authorities between it and the root."""
    root = trustme.CA()
    issued = root.create_child_ca().issue_cert("127.0.0.1", key_type=trustme.KeyType.RSA)
    (tmp_path / "root.pem").write_bytes(root.cert_pem.bytes())
    chain = "".join(part.bytes().decode() for part in issued.cert_chain_pems)
    async with quic_server(cert_pem=chain, key_pem=issued.private_key_pem.bytes().decode()) as server:
        assert await served(server, TlsClientConfig(ca_file=str(tmp_path / "root.pem")))


async def test_an_encrypted_key(tmp_path: Path) -> None:
    """A key in a file of its own may have a password."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    files = {name: tmp_path / f"{name}.pem" for name in ("root", "chain", "key")}
    files["root"].write_bytes(authority.cert_pem.bytes())
    files["chain"].write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    files["key"].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    tls = TlsServerConfig(certificate_file=str(files["chain"]), key_file=str(files["key"]), key_password="secret")  # noqa: S106 - as above
    async with quic_server(tls=tls) as server:
        assert await served(server, TlsClientConfig(ca_file=str(files["root"])))
    with pytest.raises(ConfigurationError, match="key_password"):
        await quic_server(tls=tls.replace(key_password="wrong")).start()  # noqa: S106 - as above


async def test_files_that_change(tmp_path: Path) -> None:
    """New connections get what the files hold now; what cannot be used is counted, and changes nothing."""
    first, second = trustme.CA(), trustme.CA()
    files = [str(tmp_path / name) for name in ("first.pem", "second.pem")]
    for authority, file in zip((first, second), files, strict=True):
        authority.cert_pem.write_to_path(file)
    serving = tmp_path / "server.pem"
    first.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(serving))
    async with quic_server(tls=TlsServerConfig(certificate_file=str(serving))) as server:
        assert await served(server, TlsClientConfig(ca_file=files[0]))
        serving.write_text("no certificate")
        assert not server.reload_certificates()
        assert await served(server, TlsClientConfig(ca_file=files[0]))
        second.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(serving))
        assert server.reload_certificates()
        assert await served(server, TlsClientConfig(ca_file=files[1]))
        with pytest.raises(ConnectError):
            await served(server, TlsClientConfig(ca_file=files[0]))
        assert (1, 1) == (server.stats().certificate_reloads, server.stats().certificate_failures)


async def test_certificates_that_cannot_be_used(tmp_path: Path, certificates: Certificates) -> None:
    """They are refused when the server starts, naming the option; clients' files when they connect."""
    missing = str(tmp_path / "none.pem")
    for options, words in (
        ({"tls": TlsServerConfig(certificate_file=missing)}, "does not exist"),
        ({"tls": TlsServerConfig(certificate_file=certificates.authority_file)}, "holds no private key"),
        ({"cert_pem": "nothing", "key_pem": "nothing"}, "cert_pem: has no such block"),
        ({"cert_pem": self_signed()[0].decode(), "key_pem": "nothing"}, "key_pem: has no such block"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            await quic_server(**options).start()
    async with quic_server() as server:
        with pytest.raises(ConfigurationError, match=r"ca_file.*does not exist"):
            await served(server, TlsClientConfig(ca_file=missing))


def test_certificates_of_clients_are_refused() -> None:
    """QUIC servers cannot ask for them: what stands for it is said where they are configured."""
    tls = TlsServerConfig(certificate_file="server.pem", client_ca_file="ca.pem")
    with pytest.raises(ConfigurationError, match="use the token middleware"):
        QuicServerConfig(tls=tls)
    with pytest.raises(ConfigurationError, match="with a token instead"):
        QuicClientConfig(target_address="h:1", tls=TlsClientConfig(certificate_file="client.pem"))
    with pytest.raises(ConfigurationError, match="give the certificate once"):
        QuicServerConfig(tls=tls.replace(client_ca_file=None), cert_pem="x", key_pem="y")


async def test_14_application_protocols() -> None:
    """Who offers none is served, and who offers one of the server's; one with only others gets an error with words."""
    insecure = TlsClientConfig(verify=False)
    for serving, taken in (
        ({}, ("theirs", "msgtrans/1")),
        ({"alpn": ("ours/2", "ours/1")}, ("ours/1",)),
        ({"alpn": ()}, ("theirs",)),  # a server without any does not look
    ):
        async with quic_server(**serving) as server:
            for options in ({}, {"alpn": ()}, {"alpn": taken}, {"peer_profile": "rust-1.0"}):
                assert await served(server, insecure, **options)
            if serving != {"alpn": ()}:
                with pytest.raises(ConnectError, match=r"none of the application protocols .*; see alpn") as caught:
                    await served(server, insecure, alpn=("theirs",))
                assert not caught.value.retriable
            assert await served(server, insecure)


@pytest.mark.parametrize(
    ("alpn", "offered", "chosen"),
    [
        (("msgtrans/1",), None, None),
        (("msgtrans/1",), ["theirs", "msgtrans/1"], "msgtrans/1"),
        (("two", "one"), ["one", "two"], "two"),
        ((), ["msgtrans/1"], None),
    ],
)
async def test_14_what_is_chosen(alpn: tuple[str, ...], offered: list[str] | None, chosen: str | None) -> None:
    """The first protocol of the server's that the client offers is named in the handshake, else none."""
    async with (
        quic_server(alpn=alpn) as server,
        RawQuicPeer.connected(*server.quic_address, alpn_protocols=offered) as peer,
    ):
        [negotiated] = [event for event in peer.seen if isinstance(event, ProtocolNegotiated)]
        assert chosen == negotiated.alpn_protocol


async def test_14_a_client_that_only_offers_others() -> None:
    """It gets the alert that the RFC asks for, no_application_protocol."""
    async with quic_server() as server:
        with pytest.raises(AssertionError, match=r"error_code=376.*application protocols offered is served.*: h3, x'"):
            async with RawQuicPeer.connected(*server.quic_address, alpn_protocols=["h3", "x"]):
                pass  # pragma: no cover - it does not get there


async def test_14_servers_that_insist_on_a_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Rust ones from 2.0 on: a client offers `msgtrans/1` when refused, and first when it connects there again.

    A server that takes no client with a protocol is never offered one.
    """
    insecure = TlsClientConfig(verify=False)
    monkeypatch.setattr(endpoint, "ServerConnection", QuicConnection)  # the library itself insists
    async with quic_server() as server:
        for again in range(3):
            assert await served(server, insecure)
            assert 1 == server.stats().handshake_failures, again
        for options in ({"alpn": ()}, {"peer_profile": "rust-1.0"}):
            with pytest.raises(ConnectError, match=r"from 2\.0 on msgtrans/1"):
                await served(server, insecure, **options)
        assert 3 == server.stats().handshake_failures
    async with quic_server(alpn=("other",)) as server:
        with pytest.raises(ConnectError, match="none of the application protocols"):
            await served(server, insecure)


def test_offers_are_remembered_and_bounded() -> None:
    """What a server took after a refusal goes first there, until it takes something else; the oldest is forgotten."""
    offers = Offers()
    first, second = QuicClientConfig(target_address="h:1").offers
    assert ((), ("msgtrans/1",)) == (first, second)
    config = QuicClientConfig(target_address="h:65535")
    offers.learn(config, second)
    assert (second, first) == offers.order(config)
    assert (("x",),) == offers.order(config.replace(alpn=("x",)))
    for port in range(1, REMEMBERED + 1):
        offers.learn(QuicClientConfig(target_address=f"h:{port}"), second)
    assert (first, second) == offers.order(config)
    last = QuicClientConfig(target_address=f"h:{REMEMBERED}")
    assert (second, first) == offers.order(last)
    offers.learn(last, first)
    assert (first, second) == offers.order(last)


def test_14_what_a_rust_server_says_to_application_protocols() -> None:
    """Its error code, 0x178, is told in the same words."""
    error = connect_failed("quic://h:1", 0x178, 6, "peer doesn't support any known protocol")
    assert (
        "quic://h:1 takes none of the application protocols that we offer; see alpn: Rust servers 1.x want none, "
        "from 2.0 on msgtrans/1" == str(error)
    )


@pytest.mark.parametrize(("code", "reason"), [(0x2, ""), (0xC, "the server is stopping")])
def test_14_a_server_that_turns_us_away(code: int, reason: str) -> None:
    """Codes by which servers refuse before keys are agreed on are told in words, and another attempt may help."""
    error = connect_failed("quic://h:1", code, 0, reason)
    assert f"quic://h:1 does not admit us: {reason or 'it may be full or stopping'}" == str(error)
    assert error.retriable
