"""Commands at nodes with a certificate: whom they trust, and what they say of whom they do not."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from artemis.cli.cluster_seen import Seen
from artemis.cli.cluster_view import troubles, unasked
from artemis.model.cluster_members import ClusterMember
from artemis.model.cluster_status import ClusterViewResponse
from artemis.testing import running_node_sync
from artemis.testing.certificates import CertificateFiles, make_certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Run

_NOT_TRUSTED = "its certificate is not accepted (self-signed certificate in certificate chain)"


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, CertificateFiles]]:
    """The URL of a node with a certificate, and the files of that."""
    files = make_certificate(tmp_path_factory.mktemp("certificate"))
    with running_node_sync(**files.options) as node:
        yield node.url, files


@pytest.mark.parametrize("command", [("status",), ("services",), ("cluster", "status"), ("pullouts",)])
def test_a_certificate_that_is_not_trusted_is_told_of(
    run: Run, secure: tuple[str, CertificateFiles], command: tuple[str, ...]
) -> None:
    """The node answers, its certificate is not accepted, and --ca-file is what to give."""
    url, _ = secure
    done = run(*command, "--server", url)
    assert done.exit_code == 3
    assert f"{url} answers, but its certificate is not accepted (" in done.stderr
    assert "name its authority with --ca-file FILE or ARTEMIS_CA_FILE" in done.stderr
    assert "No registry answers" not in done.stderr


@pytest.mark.parametrize("command", [("status",), ("services",), ("cluster", "status"), ("pullouts",)])
def test_the_authority_is_given_as_a_file(
    run: Run,
    secure: tuple[str, CertificateFiles],
    command: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By option or by variable, for calls of all kinds."""
    url, files = secure
    assert run(*command, "--server", url, "--ca-file", files.ca_file).exit_code == 0
    monkeypatch.setenv("ARTEMIS_CA_FILE", files.ca_file)
    assert run(*command, "--server", url).exit_code == 0


def test_a_file_of_authorities_that_cannot_be_used_is_a_wrong_command_line(run: Run, tmp_path: Path) -> None:
    """With what is wrong with it."""
    done = run("status", "--ca-file", str(tmp_path / "none"))
    assert (2, True) == (done.exit_code, "does not exist" in done.stderr)


def seen(status: str) -> list[Seen]:
    other = "https://10.0.0.2:8080"
    member = ClusterMember(node_id="b", url=other, status=status, why="silent" if status != "up" else None)
    view = ClusterViewResponse(url="https://10.0.0.1:8080", node_id="a", status="up", in_cluster=True, members=[member])
    return [Seen(url="https://10.0.0.1:8080", view=view), Seen(url=other, silence=_NOT_TRUSTED)]


def test_a_node_that_is_not_trusted_is_no_disagreement() -> None:
    """It could not be asked, and that is all that is said, unless another node thinks ill of it."""
    assert troubles(seen("up")) == []
    advice = "name its authority with --ca-file FILE or ARTEMIS_CA_FILE"
    told = f"https://10.0.0.2:8080 answers and was not asked, since from here {_NOT_TRUSTED}; {advice}."
    assert [told] == unasked(seen("up"))
    assert troubles(seen("suspected")) == ["https://10.0.0.1:8080 takes https://10.0.0.2:8080 for suspected (silent)."]


def test_a_cluster_whose_nodes_are_not_trusted_here_is_not_said_to_disagree(
    run: Run, tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> None:
    """Asked at a plain port: code 3, and neither yes nor no to whether the nodes agree; with the authority, yes."""
    files = make_certificate(tmp_path)
    ports = [unused_tcp_port_factory(), unused_tcp_port_factory()]
    peers = ",".join(f"https://127.0.0.1:{port}" for port in ports)
    options = {**files.options, "cluster_ca_file": files.ca_file, "peers": peers, "plain_port": 0}
    with running_node_sync(port=ports[0], **options) as node, running_node_sync(port=ports[1], **options):
        words = ("cluster", "status", "--json", "--server", node.plain_url)
        deadline = time.monotonic() + 20
        while run(*words, "--ca-file", files.ca_file).exit_code and time.monotonic() < deadline:
            pass
        done, trusting = run(*words), run(*words, "--ca-file", files.ca_file)
    told = json.loads(done.stdout)
    assert (3, None, [], 1) == (done.exit_code, told["agree"], told["troubles"], len(told["unasked"]))
    assert (0, True) == (trusting.exit_code, json.loads(trusting.stdout)["agree"])
