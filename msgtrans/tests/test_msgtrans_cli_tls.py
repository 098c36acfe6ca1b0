"""The commands inside TLS."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
import trustme
from typer.testing import CliRunner

from msgtrans.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterator


class Files(NamedTuple):
    """PEM files of one authority: its own, and what it issued for a server and for a client."""

    ca: str
    server: str
    client: str


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "msgtrans", *words]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    done = CliRunner().invoke(app, words)
    return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Fresh certificates."""
    folder: Path = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    authority.issue_cert("someone").private_key_and_cert_chain_pem.write_to_path(folder / "client.pem")
    return Files(*(str(folder / name) for name in ("ca.pem", "server.pem", "client.pem")))


@pytest.fixture(scope="module")
def echo(files: Files) -> Iterator[str]:
    """The URI of a running serve-echo with a certificate."""
    words = command("serve-echo", "--tcp", "127.0.0.1:0", "--certificate", files.server)
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0


def test_ping_trusts_the_authority_it_is_given(echo: str, files: Files) -> None:
    """With --ca the certificate is checked, and is fine."""
    assert echo.startswith("tls://127.0.0.1:")
    done = run("ping", echo, "--ca", files.ca, "--count", "1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 request, 1 answer" in done.stdout


def test_a_certificate_of_nobody_known(echo: str) -> None:
    """Without --ca the certificate is refused, and the sentence names the options that help."""
    done = run("ping", echo, "--count", "1")
    assert done.returncode == 1
    assert "is not trusted" in done.stderr
    assert "--ca FILE" in done.stderr


def test_insecure_warns(echo: str) -> None:
    """--insecure takes any certificate, and says what that means."""
    done = run("ping", echo, "--count", "1", "--insecure")
    assert done.returncode == 0
    assert "warning: --insecure" in done.stderr


@pytest.fixture(scope="module")
def picky(files: Files) -> Iterator[list[str]]:
    """The URIs, TCP and WebSocket, of a running serve-echo that serves only who shows a certificate."""
    where = ["--tcp", "127.0.0.1:0", "--ws", "127.0.0.1:0"]
    words = command("serve-echo", *where, "--certificate", files.server, "--client-ca", files.ca)
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield [process.stdout.readline().split()[1] for _ in range(2)]
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0


def test_a_server_that_wants_a_certificate(picky: list[str], files: Files) -> None:
    """With --client-ca only clients with a certificate of that authority are served, and others told what to show."""
    for uri in picky:
        with_one = run("ping", uri, "--ca", files.ca, "--client-certificate", files.client, "--count", "1")
        assert (with_one.returncode, with_one.stderr) == (0, "")
        for words in (["ping"], ["bench"], ["top", "--once"]):
            without = run(words[0], uri, "--ca", files.ca, *words[1:])
            assert without.returncode == 1
            assert "the peer wants a certificate of ours; show one with --client-certificate FILE" in without.stderr
            assert "_ssl.c" not in without.stderr


def test_without_tls_to_a_server_inside(echo: str) -> None:
    """Who speaks without TLS to a port inside TLS is told what to write."""
    done = run("ping", echo.replace("tls:", "tcp:"), "--count", "1")
    assert (done.returncode, f"If it wants TLS, write {echo}" in done.stderr) == (1, True), done.stderr


def test_a_tls_alert_in_the_clear() -> None:
    """A server that answers with an alert, as OpenSSL's do, is told apart from one that speaks something else."""
    alert = bytes.fromhex("15 0303 0002 0246")
    with socket.create_server(("127.0.0.1", 0)) as other, ThreadPoolExecutor(1) as threads:

        def serve() -> None:
            with other.accept()[0] as peer:
                peer.recv(1 << 16)
                peer.sendall(alert)

        serving = threads.submit(serve)
        address = f"127.0.0.1:{other.getsockname()[1]}"
        done = run("ping", f"tcp://{address}")
        serving.result(15)
    assert (done.returncode, f"If it wants TLS, write tls://{address}" in done.stderr) == (1, True), done.stderr


def test_a_certificate_without_its_key(echo: str, files: Files) -> None:
    """serve-echo says which option is missing, and so do the commands that show a certificate."""
    served = run("serve-echo", "--tcp", "127.0.0.1:0", "--certificate", files.ca)
    assert (2, True) == (served.returncode, "holds no private key; give --key FILE" in served.stderr)
    shown = run("ping", echo, "--ca", files.ca, "--client-certificate", files.ca)
    assert (2, True) == (shown.returncode, "--client-key: is missing, and" in shown.stderr)


def test_sighup_reads_the_certificates_again(files: Files, tmp_path: Path) -> None:
    """After SIGHUP new connections see the certificate that is in the file by then, or the old one if that is none."""
    used, authority = tmp_path / "server.pem", trustme.CA()
    used.write_bytes(Path(files.server).read_bytes())
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    words = command("serve-echo", "--tcp", "127.0.0.1:0", "--certificate", str(used))
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        uri = process.stdout.readline().split()[1]
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(used)
        process.send_signal(signal.SIGHUP)
        assert process.stderr.readline() == "the certificates are read again\n"
        assert run("ping", uri, "--ca", str(tmp_path / "ca.pem"), "--count", "1").returncode == 0
        used.write_text("nothing")
        process.send_signal(signal.SIGHUP)
        while (line := process.stderr.readline()) and "the old ones stay" not in line:
            pass
        assert line
        assert run("ping", uri, "--ca", str(tmp_path / "ca.pem"), "--count", "1").returncode == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["ping", "tcp://127.0.0.1:1", "--insecure"], "write tls:// or wss://"),
        (["ping", "tcp://127.0.0.1:1", "--header", "A: b"], "is for ws:// and wss://"),
        (["ping", "tls://127.0.0.1:1", "--ca", "/nowhere.pem"], "/nowhere.pem"),
        (["serve-echo", "--tcp", "127.0.0.1:0", "--key", "key.pem"], "--certificate: is missing"),
        (["serve-echo", "--tcp", "127.0.0.1:0", "--certificate", "/nowhere.pem"], "does not exist"),
    ],
)
def test_options_that_do_not_fit(words: list[str], told: str) -> None:
    """Options that mean nothing for the address, or name files that are not there, are wrong command lines."""
    done = run(*words)
    assert (done.returncode, told in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr
