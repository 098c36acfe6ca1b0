"""The commands over QUIC, and the echo server on it beside TCP."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from typer.testing import CliRunner

from msgtrans.cli import app
from msgtrans.cli.echo import quic_listener
from msgtrans.cli.ping import Pings
from msgtrans.cli.target import TRYING, TargetOptions, client_config, target
from msgtrans.config import NO_RETRY, QuicClientConfig
from msgtrans.errors import TransportConnectionError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Files(NamedTuple):
    """PEM files of one authority: its own, and two that it issued for servers, of which one is for another name."""

    ca: str
    server: str
    other: str


def run(*words: str) -> subprocess.CompletedProcess[str]:
    done = CliRunner().invoke(app, words)
    return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)


@contextmanager
def serving(*options: str, lines: int) -> Iterator[list[str]]:
    """What a serve-echo prints while it starts; it must end well."""
    words = [sys.executable, "-m", "msgtrans", "serve-echo", *options]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield [process.stdout.readline().rstrip() for _ in range(lines)]
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == ""
        assert process.wait(15) == 0


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Fresh certificates."""
    folder: Path = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    authority.issue_cert("example.org").private_key_and_cert_chain_pem.write_to_path(folder / "other.pem")
    return Files(*(str(folder / name) for name in ("ca.pem", "server.pem", "other.pem")))


@pytest.fixture(scope="module")
def lines() -> Iterator[list[str]]:
    """What a serve-echo prints that was told to serve TCP, and QUIC without a certificate."""
    with serving("--tcp", "127.0.0.1:0", "--quic", "127.0.0.1:0", lines=3) as printed:
        yield printed


@pytest.fixture
def uri(lines: list[str]) -> str:
    return lines[1].removeprefix("listening ")


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have silence end connections soon."""
    monkeypatch.setitem(TRYING, "keep_alive_interval", 0.1)
    monkeypatch.setitem(TRYING, "max_idle_timeout", 0.5)


def test_what_serve_echo_prints(lines: list[str]) -> None:
    """A line for each listener, QUIC last, then the fingerprint of the certificate that it made, and what follows."""
    assert [line.partition("://")[0] for line in lines[:2]] == ["listening tcp", "listening quic"]
    assert re.fullmatch(
        r"certificate of localhost, signed by itself, SHA-256 [0-9a-f]{64}; clients need --insecure", lines[2]
    )


def test_the_fingerprint_is_that_of_the_certificate() -> None:
    """It is what other tools show of the certificate that is served."""
    config, fingerprint = quic_listener("127.0.0.1:0", None)
    assert config.cert_pem is not None
    assert fingerprint == hashlib.sha256(ssl.PEM_cert_to_DER_cert(config.cert_pem)).hexdigest()


def test_ping_and_bench(uri: str) -> None:
    """Ping and bench work over QUIC as over TCP, however packets travel, and top shows the session with its kind."""
    for mapping in ("stream", "uni", "probe"):
        how = ["--insecure", "--quic-mapping", mapping]
        assert "1 request, 1 answer" in run("ping", uri, *how, "--count", "1").stdout
        done = run("bench", uri, *how, "--warm-up", "0", "--duration", "0.1", "--connections", "2", "--json")
        result = json.loads(done.stdout)
        assert (result["uri"], result["errors"]) == (uri, 0)
        assert result["count"] >= 128
    done = run("bench", uri, "--insecure", "--warm-up", "0", "--duration", "0.1", "--one-way", "--json")
    assert json.loads(done.stdout)["count"] >= 100
    look = json.loads(run("top", uri, "--insecure", "--interval", "0.5", "--json").stdout)
    assert uri in look["statistics"]["listeners"]
    assert [session["protocol"] for session in look["statistics"]["sessions"]] == ["quic"]


def test_a_certificate_from_files(files: Files) -> None:
    """With --certificate all listeners serve with it: with --ca it is checked, without it what helps is named."""
    with serving("--tcp", "127.0.0.1:0", "--quic", "127.0.0.1:0", "--certificate", files.server, lines=2) as printed:
        uris = [line.removeprefix("listening ") for line in printed]
        assert [each.partition("://")[0] for each in uris] == ["tls", "quic"]
        for each in uris:
            done = run("ping", each, "--ca", files.ca, "--count", "1")
            assert (done.returncode, done.stderr) == (0, "")
            done = run("ping", each, "--count", "1")
            assert done.returncode == 1
            assert "is not trusted" in done.stderr
            assert "; name its authority with --ca FILE, or look away with --insecure\n" in done.stderr


def test_a_certificate_for_another_name(files: Files) -> None:
    """It is refused with words that do not send anybody after the authority."""
    where = ["--tcp", "127.0.0.1:0", "--quic", "127.0.0.1:0"]
    with serving(*where, "--certificate", files.other, lines=2) as printed:
        for line, told in zip(
            printed, ("connect to the name on it", "it is for another name, out of date, "), strict=True
        ):
            done = run("ping", line.removeprefix("listening "), "--ca", files.ca, "--count", "1")
            assert done.returncode == 1
            assert told in done.stderr
            assert "look away with --insecure" in done.stderr
            assert "--ca" not in done.stderr


def test_an_authority_as_a_server_is_warned_of(tmp_path: Path) -> None:
    """What OpenSSL makes by itself is an authority, which no QUIC client takes for a server: who serves is told."""
    name, day = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]), dt.timedelta(days=1)
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - day, now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    text = made.public_bytes(pem) + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    (tmp_path / "own.pem").write_bytes(text)
    words = ["serve-echo", "--quic", "127.0.0.1:0", "--certificate", str(tmp_path / "own.pem")]
    with subprocess.Popen(
        [sys.executable, "-m", "msgtrans", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "an authority's own (CA:TRUE)" in process.stderr.readline()
        uri = process.stdout.readline().split()[1].replace("127.0.0.1", "localhost")
        done = run("ping", uri, "--ca", str(tmp_path / "own.pem"), "--count", "1")
        assert (done.returncode, "an authority's own instead of a server's" in done.stderr) == (1, True), done.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0


def test_options_become_config() -> None:
    """--quic-mapping reaches the connection; commands try once, and are quick to notice that a server has died."""
    config = client_config("quic://host:1", TargetOptions(mapping="uni", insecure=True))
    assert isinstance(config, QuicClientConfig)
    assert (config.mapping, config.tls_config.verify, config.retry_config) == ("uni", False, NO_RETRY)
    assert (config.keep_alive_interval, config.max_idle_timeout) == (2.0, 8.0)
    assert client_config("quic://host:1", TargetOptions()).chosen_mapping == "stream"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["ping", "quic://127.0.0.1:1"], 1, "nothing listens there"),
        (["ping", "quic://127.0.0.1"], 2, "write quic://HOST:PORT"),
        (["ping", "quic://127.0.0.1:1", "--header", "A: b"], 2, "is for ws:// and wss://"),
        (["ping", "quic://127.0.0.1:1", "--ca", "/nowhere.pem"], 2, "/nowhere.pem"),
        (["ping", "quic://127.0.0.1:1", "--quic-mapping", "all"], 2, "'stream', 'uni'"),
        (["ping", "tcp://127.0.0.1:1", "--quic-mapping", "uni"], 2, "--quic-mapping: is for quic://"),
        (
            ["ping", "quic://127.0.0.1:1", "--client-certificate", "me.pem"],
            2,
            "--client-certificate: QUIC servers ask for none; prove who you are with --token instead",
        ),
        (["serve-echo", "--quic", "nowhere"], 2, "write quic://HOST:PORT"),
        (["serve-echo", "--quic", "127.0.0.1:0", "--key", "key.pem"], 2, "--certificate: is missing"),
        (["serve-echo", "--quic", "127.0.0.1:0", "--certificate", "/nowhere.pem"], 2, "does not exist"),
        (["serve-echo", "--quic", "127.0.0.1:0", "--workers", "2"], 2, "cannot serve QUIC"),
    ],
)
def test_errors_say_what_to_do(words: list[str], code: int, told: str) -> None:
    """Wrong command lines exit with 2, failures with 1, both with a sentence on stderr."""
    done = run(*words)
    assert (done.returncode, told in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_client_certificates_are_not_for_quic(files: Files) -> None:
    """serve-echo does not pretend to check clients where it cannot."""
    words = ["--quic", "127.0.0.1:0", "--certificate", files.server, "--client-ca", files.ca]
    done = run("serve-echo", *words)
    assert (done.returncode, "--client-ca: goes with --tcp and --ws" in done.stderr) == (2, True), done.stderr


def test_without_qh3(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the extra is not installed, both sides say what to install."""
    for name in ("library", "certificates"):
        monkeypatch.setitem(sys.modules, f"msgtrans.adapters.quic.{name}", None)
    for words in (["serve-echo", "--quic", "127.0.0.1:0"], ["ping", "quic://127.0.0.1:1", "--insecure"]):
        done = run(*words)
        assert (done.returncode, "pip install 'msgtrans[quic]'" in done.stderr) == (2, True), done.stderr


@pytest.mark.usefixtures("hasty")
def test_a_port_that_swallows_everything() -> None:
    """Silence is a time-out that asks about UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        done = run("ping", f"quic://127.0.0.1:{silent.getsockname()[1]}", "--insecure")
    assert (done.returncode, "took longer than 0.5 s; is UDP let through" in done.stderr) == (1, True), done.stderr


def test_a_server_of_other_versions() -> None:
    """A QUIC server that does not speak version 1 is told as such."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other, ThreadPoolExecutor(1) as threads:
        other.bind(("127.0.0.1", 0))
        other.settimeout(15)

        def negotiate() -> None:
            first, peer = other.recvfrom(65536)
            after = 6 + first[5]
            theirs, ours = first[5:after], first[after : after + 1 + first[after]]
            other.sendto(b"\xc0\0\0\0\0" + ours + theirs + bytes.fromhex("6b3343cf"), peer)

        negotiating = threads.submit(negotiate)
        done = run("ping", f"quic://127.0.0.1:{other.getsockname()[1]}", "--insecure")
        negotiating.result(15)
    assert (done.returncode, "speaks other versions of QUIC than 1" in done.stderr) == (1, True), done.stderr


@pytest.fixture
def doomed() -> Iterator[subprocess.Popen[str]]:
    """A serve-echo that is to be killed."""
    words = [sys.executable, "-m", "msgtrans", "serve-echo", "--quic", "127.0.0.1:0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.wait(15) == -signal.SIGKILL


@pytest.mark.usefixtures("hasty")
async def test_a_server_that_dies(doomed: subprocess.Popen[str]) -> None:
    """Silence tells, or the system does that nobody listens there; the sentence says which, and after what."""
    assert doomed.stdout is not None
    whom, pings = target(doomed.stdout.readline().split()[1], TargetOptions(insecure=True)), Pings()
    told = r"quic://.* after 1 answer: .*(does it still run\?|nothing listens there any more)"
    with pytest.raises(TransportConnectionError, match=told):
        await pings.ping(whom, count=2, interval=0, size=32, timeout=30, seen=lambda *_: doomed.kill())
    assert (pings.result().sent, pings.result().answered) == (2, 1)


def test_sighup_reads_the_certificates_again(files: Files, tmp_path: Path) -> None:
    """After SIGHUP new QUIC connections see the certificate that is in the file by then."""
    used, authority = tmp_path / "server.pem", trustme.CA()
    with open(files.server, "rb") as before:
        used.write_bytes(before.read())
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    words = [sys.executable, "-m", "msgtrans", "serve-echo", "--quic", "127.0.0.1:0", "--certificate", str(used)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        uri = process.stdout.readline().split()[1]
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(used)
        process.send_signal(signal.SIGHUP)
        assert process.stderr.readline() == "the certificates are read again\n"
        assert run("ping", uri, "--ca", str(tmp_path / "ca.pem"), "--count", "1").returncode == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
