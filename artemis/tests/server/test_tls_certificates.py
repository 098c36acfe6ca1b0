"""The certificate of a node: what is refused at the start, what a change of its files does, and what the log says."""

import asyncio
import contextlib
import datetime as dt
import shutil
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519

from artemis.server.app import NodeServer
from artemis.server.certificates import CertificateError, Certificates
from artemis.server.config import ConfigError, load_config
from artemis.testing import NodeFailedError, RunningNode, running_node, running_node_sync
from artemis.testing.certificates import CertificateFiles, make_certificate
from msgtrans import QuicClientConfig, TlsClientConfig, TransportClient

HOUR = dt.timedelta(hours=1)


async def serial(address: tuple[str, int]) -> int:
    """Return which certificate a new connection to an address gets."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection(*address, ssl=context)
    try:
        found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return x509.load_der_x509_certificate(found).serial_number
    finally:
        writer.close()
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            await writer.wait_closed()


async def answers_over_quic(address: tuple[str, int], ca_file: str) -> bool:
    """Return whether a new connection over QUIC is made by who trusts that authority alone."""
    config = QuicClientConfig(target_address="{}:{}".format(*address), tls=TlsClientConfig(ca_file=ca_file))
    client = TransportClient(config.replace(retry_config=config.retry_config.replace(max_retries=0)))
    try:
        async with client:
            return bool((await client.request(b"{}", biz_type=32)).payload)
    except OSError:
        return False


def number_of(files: CertificateFiles) -> int:
    """Return which certificate a file holds."""
    return x509.load_pem_x509_certificate(Path(files.certificate_file).read_bytes()).serial_number


# -- the options


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"tls_certificate_file": "c.pem"}, "--tls-certificate-file: is of no use without its key; .*--tls-key-file"),
        ({"tls_key_file": "k.pem"}, "--tls-key-file: is the key of no certificate; give --tls-certificate-file"),
        ({"plain_port": 8080}, "--plain-port: is for a node whose port speaks TLS"),
        ({"quic": True}, "--quic: is inside TLS always, .*; give --tls-certificate-file and --tls-key-file"),
        (
            {"tls_certificate_file": "c", "tls_key_file": "k", "plain_port": 8080, "port": 8080},
            "--plain-port: is 8080, as the port that speaks TLS; give another one",
        ),
        ({"plain_port": 70000}, "--plain-port: must be a whole number from 0 to 65535"),
    ],
)
def test_options_that_do_not_go_together_are_refused(flags: dict[str, object], words: str) -> None:
    """With the place of the option and what to give."""
    with pytest.raises(ConfigError, match=words):
        load_config(None, flags)


def test_the_options_stand_in_files_and_variables_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As all others."""
    file = tmp_path / "artemis.toml"
    file.write_text('tls-certificate-file = "c.pem"\nplain-port = 0\nquic = false\n')
    monkeypatch.setenv("ARTEMIS_SERVE_TLS_KEY_FILE", "k.pem")
    config = load_config(file, {})
    assert ("c.pem", "k.pem") == (str(config.tls_certificate_file), str(config.tls_key_file))
    assert (0, False, "https") == (config.plain_port, config.serves_quic, config.scheme)


# -- the start


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda files, _: Path(files.certificate_file).unlink(), "--tls-certificate-file: '.*' does not exist"),
        (lambda files, _: Path(files.key_file).unlink(), "--tls-key-file: '.*' does not exist"),
        (lambda files, _: Path(files.certificate_file).write_text("x"), "--tls-certificate-file: .*whole and PEM"),
        (lambda files, _: Path(files.key_file).write_text("x"), "--tls-certificate-file: .*whole and PEM"),
        (lambda files, other: shutil.copy(other.key_file, files.key_file), "--tls-key-file: '.*' is not the key of"),
        (lambda files, _: make_certificate(Path(files.ca_file).parent, begins=-2 * HOUR, ends=-HOUR), "has expired on"),
        (
            lambda files, _: make_certificate(Path(files.ca_file).parent, begins=HOUR),
            "valid only from .* check the clock",
        ),
        (lambda files, _: Path(files.key_file).write_bytes(_encrypted()), "--tls-key-file: .*without"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_refused_at_the_start(
    tmp_path: Path, spoil: Callable[[CertificateFiles, CertificateFiles], object], words: str
) -> None:
    """With the option and the reason."""
    (tmp_path / "other").mkdir()
    files, other = make_certificate(tmp_path), make_certificate(tmp_path / "other")
    spoil(files, other)
    with pytest.raises(CertificateError, match=words):
        Certificates(Path(files.certificate_file), Path(files.key_file), 10, structlog.get_logger())


def _sign(files: CertificateFiles, key: ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) -> None:
    """Write a certificate that signs itself with such a key."""
    now = dt.datetime.now(dt.UTC)
    name = x509.Name([])
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now - HOUR, now + HOUR).sign(key, None)
    Path(files.certificate_file).write_bytes(made.public_bytes(serialization.Encoding.PEM))
    Path(files.key_file).write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _encrypted() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


def test_the_command_ends_with_1_and_a_sentence(tmp_path: Path) -> None:
    """Before anything is served."""
    files = make_certificate(tmp_path, begins=-2 * HOUR, ends=-HOUR)
    with (
        pytest.raises(NodeFailedError, match=r"code 1:\nartemis serve: --tls-certificate-file: .* has expired"),
        running_node_sync(**files.options),
    ):
        pass


# -- while it runs


@pytest.fixture
async def followed(
    start: Callable, tmp_path: Path
) -> AsyncIterator[tuple[NodeServer, asyncio.Event, CertificateFiles]]:
    """Run a node that follows its files, and what asks it to read them now."""
    files = make_certificate(tmp_path)
    async with start(**files.options) as server:
        hangup = asyncio.Event()
        following = asyncio.create_task(server.certificates.follow(hangup))
        yield server, hangup, files
        following.cancel()
        await asyncio.wait([following])


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what no event tells of."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for is a state
            await asyncio.sleep(0.01)


async def test_new_connections_get_the_new_certificate(
    followed: tuple[NodeServer, asyncio.Event, CertificateFiles], tmp_path: Path
) -> None:
    """Over TCP and over QUIC, as soon as the files have changed; connections that are open stay."""
    server, _, files = followed
    before = number_of(files)
    assert before == await serial(server.address)
    shutil.copy(files.ca_file, tmp_path / "before.pem")
    async with TransportClient(
        QuicClientConfig(target_address="{}:{}".format(*server.address), tls=TlsClientConfig(ca_file=files.ca_file))
    ) as client:
        with structlog.testing.capture_logs() as lines:
            files = make_certificate(tmp_path)
            await until(lambda: server.certificates.reloads == 1)
        assert ["certificate read again"] == [line["event"] for line in lines]
        assert number_of(files) != before
        assert number_of(files) == await serial(server.address)
        assert await answers_over_quic(server.address, files.ca_file)
        assert not await answers_over_quic(server.address, str(tmp_path / "before.pem"))
        assert (await client.request(b"{}", biz_type=32)).payload


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda files: Path(files.certificate_file).write_text("half"), "whole and PEM"),
        (lambda files: Path(files.key_file).unlink(), "does not exist"),
        (lambda files: make_certificate(Path(files.ca_file).parent, begins=-2 * HOUR, ends=-HOUR), "has expired"),
    ],
)
async def test_what_cannot_be_used_changes_nothing(
    followed: tuple[NodeServer, asyncio.Event, CertificateFiles],
    tmp_path: Path,
    spoil: Callable[[CertificateFiles], object],
    words: str,
) -> None:
    """The certificate from before stays in use on both, the log says why, and the next change is tried again."""
    server, hangup, files = followed
    before = number_of(files)
    shutil.copy(files.ca_file, tmp_path / "before.pem")
    with structlog.testing.capture_logs() as lines:
        spoil(files)
        hangup.set()
        await until(lambda: server.certificates.failures >= 1)
    kept = next(line for line in lines if line["event"] == "certificate kept")
    assert words in kept["reason"]
    assert before == await serial(server.address)
    assert await answers_over_quic(server.address, str(tmp_path / "before.pem"))
    files = make_certificate(tmp_path)
    await until(lambda: server.certificates.reloads == 1)
    assert number_of(files) == await serial(server.address)


async def test_a_certificate_that_ends_while_it_is_in_use_is_told_of_once(
    followed: tuple[NodeServer, asyncio.Event, CertificateFiles],
) -> None:
    """Clients refuse the node then, and the log has the reason."""
    server, _, _ = followed
    certificates = server.certificates
    with structlog.testing.capture_logs() as lines:
        for later in (0.0, 1.0, 2.0):
            certificates.tell_end(certificates.expires + later - 1.0)
    assert ["certificate expired"] == [line["event"] for line in lines]


async def test_a_hangup_reads_the_files_of_a_process_again(tmp_path: Path) -> None:
    """SIGHUP asks for the certificate as for the configuration, and the node says what came of it."""
    files = make_certificate(tmp_path)

    def said(node: RunningNode, text: str) -> bool:
        return text in node.output

    async with running_node(**files.options, plain_port=0) as node:
        address = ("127.0.0.1", node.port)
        node.process.send_signal(signal.SIGHUP)
        await until(lambda: said(node, "certificate read again") and said(node, "configuration read again"))
        assert 1 == sum("certificate" in line for line in node.output.splitlines())
        shutil.copy(files.ca_file, files.key_file)
        await until(lambda: said(node, "certificate kept"))
        assert number_of(files) == await serial(address)
        assert await answers_over_quic(address, files.ca_file)
        assert node.plain_url.startswith("http://127.0.0.1:")
        files = make_certificate(tmp_path)
        await until(lambda: node.output.count("certificate read again") == 2)
        assert number_of(files) == await serial(address)
        node.stop()
        node.restart()
        assert await answers_over_quic(address, files.ca_file)


def test_the_log_says_when_clients_of_quic_will_refuse_the_key(tmp_path: Path) -> None:
    """They know no Ed25519; a node has that for TCP all the same."""
    files = make_certificate(tmp_path)
    _sign(files, ed25519.Ed25519PrivateKey.generate())
    for serve, expected in ((False, []), (True, [("QUIC clients refuse this key", "Ed25519")])):
        with structlog.testing.capture_logs() as lines:
            certificates = Certificates(Path(files.certificate_file), Path(files.key_file), 10, structlog.get_logger())
            if serve:
                certificates.serve_quic(lambda: True)
        assert expected == [(line["event"], line["kind"]) for line in lines]


async def test_a_certificate_that_quic_cannot_serve_keeps_the_node_from_starting(
    start: Callable, tmp_path: Path
) -> None:
    """The reason names the way out, nothing stays bound, and without QUIC the node starts there."""
    files = make_certificate(tmp_path)
    _sign(files, ed448.Ed448PrivateKey.generate())
    with pytest.raises(CertificateError, match=r"cannot serve QUIC: .*; or start with --no-quic"):
        async with start(**files.options):
            pass
    async with start(**files.options, quic=False) as server:
        assert await serial(server.address)
