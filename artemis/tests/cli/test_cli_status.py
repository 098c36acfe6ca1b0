"""`artemis status`, `leases`, `preservation`: a node at one glance, for people and machines."""

import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import Result

from artemis.cli import calls
from artemis.cli.output import counted
from artemis.cli.overview import duration_text, overview_rows, preservation_text
from artemis.model.status import OverviewResponse, PreservationState, ShownWorker
from artemis.testing import RunningNode, running_node_sync

Run = Callable[..., Result]

TOKEN = "a-long-secret"  # noqa: S105 - of a node that lives for one test


@pytest.fixture
def own_node(tmp_path: Path) -> Iterator[tuple[RunningNode, Path]]:
    """A node of its own, whose operators need a token, and the token's file."""
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    with running_node_sync(region="r", zone="z", admin_token_file=str(file)) as node:
        yield node, file


def test_status_shows_node_holdings_connections_and_self_preservation(run: Run, cli_node_url: str) -> None:
    """With the numbers and reason of self-preservation, the cursor and the age of data."""
    result = run("status")
    lines = {line.split("  ", 1)[0].strip(): line for line in result.stdout.splitlines()}
    assert result.exit_code == 0
    assert cli_node_url in result.stdout
    for name in ("version", "up for", "holds", "connections", "push", "data", "self-preservation", "... legacy leases"):
        assert name in lines
    assert "off: switched off" in lines["self-preservation"]
    assert "cursor" in lines["data"]
    assert "websocket" in lines["connections"]


def test_status_as_json_has_the_overview_beside_the_status_of_the_wire(run: Run, cli_node_url: str) -> None:
    """What was there before is there still."""
    document = json.loads(run("status", "--json").stdout)
    assert list(document) == ["server", "nodeStatus", "overview"]
    assert (document["server"], document["nodeStatus"]["status"]) == (cli_node_url, "up")
    assert document["overview"]["regionId"] == "r"
    assert document["overview"]["leases"]["reason"] == "switched off"


def test_data_of_which_nothing_is_known_are_of_unknown_age() -> None:
    """Such a node says how long clocks have run."""
    shown = [dict(overview_rows(OverviewResponse(age_ms=age)))["data"] for age in (40, 1_700_000_000_000)]
    assert ["40 ms old, cursor -", "of unknown age, cursor -"] == shown


def test_where_one_process_of_a_node_hangs_another_one_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a further connection, while the first one may still be answered."""
    monkeypatch.setattr(calls, "_ELSEWHERE_LATER", (0.05, None))

    def serve(door: socket.socket) -> None:
        with door.accept()[0], door.accept()[0] as taken:
            while not taken.recv(65_536).endswith(b"\r\n\r\n"):
                pass
            taken.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{"version":"1.2"}')

    with socket.create_server(("127.0.0.1", 0)) as door, ThreadPoolExecutor(1) as pool:
        serving = pool.submit(serve, door)
        url = f"http://127.0.0.1:{door.getsockname()[1]}"
        assert "1.2" == calls.get(url, "v1/status", OverviewResponse).version
        serving.result(30)


def test_leases_are_listed_by_service(run: Run, fresh_service: str) -> None:
    """All of a node, or of one service; legacy ones apart."""
    run("register", "--service", fresh_service, "--instance", "one", "--port", "81")
    legacy = ("--metadata", "java_registry=1")
    run("register", "--service", fresh_service, "--instance", "old", "--port", "82", *legacy)
    result = run("leases", fresh_service.upper())
    assert result.stdout.splitlines()[0].split() == ["SERVICE", "INSTANCE", "SINCE", "RENEWED", "TTL"]
    assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == [fresh_service]
    assert result.stdout.splitlines()[1].endswith("20 s")
    assert "The node holds " in result.stderr
    (old,) = run("leases", fresh_service, "--legacy").stdout.splitlines()[1:]
    assert (fresh_service + "/old" in old, old.strip().endswith("90 s")) == (True, True)
    assert fresh_service in run("leases").stdout
    assert list(json.loads(run("leases", fresh_service, "--json").stdout)["leases"]) == [fresh_service]
    none = run("leases", "no-such-service", "--legacy")
    assert (none.exit_code, none.stdout) == (0, "")
    assert "no-such-service has no legacy leases." in none.stderr


def test_preservation_is_switched_by_who_has_the_token(run: Run, own_node: tuple[RunningNode, Path]) -> None:
    """Everybody sees its state; without the token nobody changes it."""
    node, file = own_node
    assert "on, not active" in run("preservation", server=node.url).stdout
    refused = run("preservation", "off", server=node.url)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "give its admin token by --token-file FILE or ARTEMIS_TOKEN" in refused.stderr
    assert "Authorization" not in refused.stderr
    assert "off: switched off" in run("preservation", "off", "--token-file", str(file), server=node.url).stdout
    shown = json.loads(run("preservation", "--json", server=node.url).stdout)
    assert (shown["leases"]["enabled"], shown["legacyLeases"]["enabled"]) == (False, False)


def test_the_token_can_be_in_the_environment(
    run: Run, own_node: tuple[RunningNode, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ARTEMIS_TOKEN."""
    monkeypatch.setenv("ARTEMIS_TOKEN", TOKEN)
    assert run("preservation", "off", server=own_node[0].url).exit_code == 0
    monkeypatch.setenv("ARTEMIS_TOKEN", "wrong")
    assert run("preservation", "on", server=own_node[0].url).exit_code == 1


def test_a_token_file_that_cannot_be_used_is_a_wrong_command_line(run: Run, tmp_path: Path) -> None:
    """Missing or empty."""
    missing = run("preservation", "on", "--token-file", str(tmp_path / "none"))
    assert missing.exit_code == 2
    assert f"cannot read {tmp_path / 'none'}: No such file or directory\n" in missing.stderr
    empty = tmp_path / "empty"
    empty.write_text("\n")
    assert "is empty" in run("preservation", "on", "--token-file", str(empty)).stderr


def test_without_a_node_it_ends_with_code_3(run: Run, unused_tcp_port: int) -> None:
    """The commands that do not go through the SDK as well."""
    for arguments in (("preservation",), ("leases",), ("pullouts",), ("explain", "s", "i"), ("pullout", "s", "i")):
        result = run(*arguments, server=f"http://127.0.0.1:{unused_tcp_port}")
        assert (result.exit_code, result.stdout) == (3, "")
        assert f"No registry answers at http://127.0.0.1:{unused_tcp_port}: Connection refused." in result.stderr
        assert "artemis serve" in result.stderr


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "0 s"), (-5, "0 s"), (59_999, "59 s"), (125_000, "2 min 5 s"), (90_061_000, "1 d 1 h"), (3_600_000, "1 h")],
)
def test_spans_are_told_in_their_two_largest_units(milliseconds: int, text: str) -> None:
    """Nobody wants to count seconds of days."""
    assert duration_text(milliseconds) == text


def test_active_preservation_says_since_when_and_why() -> None:
    """In one line."""
    state = PreservationState(active=True, enabled=True, for_ms=61_000, heard=1, live=9, reason="8 of 9 fell silent")
    assert preservation_text(state) == "ACTIVE for 1 min 1 s: 8 of 9 fell silent (1 of 9 heard)"
    assert preservation_text(None) == "-"


def test_a_wrong_token_is_named_as_such(
    run: Run, own_node: tuple[RunningNode, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where it came from."""
    monkeypatch.setenv("ARTEMIS_TOKEN", "wrong")
    refused = run("preservation", "off", server=own_node[0].url)
    assert "does not accept this admin token; it comes from --token-file or ARTEMIS_TOKEN" in refused.stderr


def test_one_thing_is_not_called_several() -> None:
    """`1 lease`, `2 leases`."""
    assert [counted(number, "lease") for number in (0, 1, 2)] == ["0 leases", "1 lease", "2 leases"]
    holds = dict(overview_rows(OverviewResponse(instances=1, services=1)))["holds"]
    assert holds == "1 instance of 1 service"


def test_tables_have_neither_padding_nor_a_line_without_names(run: Run) -> None:
    """Lines end with their last word, and the overview follows the node's line at once."""
    lines = run("status").stdout.splitlines()
    assert [line.rstrip() for line in lines] == lines
    assert [] == [line for line in lines if not line]


def test_what_is_registered_is_shown_as_it_is(run: Run, fresh_service: str) -> None:
    """No emoji for `:x:`, no markup, no codes for the terminal."""
    name = ":smile:[b]\x1b[31m"
    run("register", "--service", fresh_service, "--instance", name, "--port", "81")
    assert ":smile:[b]\\x1b[31m" in run("instances", fresh_service).stdout
    assert "Unregistered " + fresh_service + "/:smile:[b]\\x1b[31m." in (
        run("unregister", "--service", fresh_service, "--instance", name).stderr
    )


def test_the_processes_of_a_node_with_several_are_shown():
    """How many there are, for how long each has run, which takes no connections, and which stands still; nothing of a
    single one."""
    workers = [
        ShownWorker(index=0, ready=True, uptime_ms=65_000, silent_ms=900),
        ShownWorker(index=1, uptime_ms=2_000, silent_ms=2_000),
        ShownWorker(index=2, ready=True, uptime_ms=60_000, silent_ms=4_000),
    ]
    rows = dict(overview_rows(OverviewResponse(workers=workers)))
    assert "3, up for 1 min 5 s, 2 s (not ready), 1 min (has stood still for 4 s)" == rows["workers"]
    assert "workers" not in dict(overview_rows(OverviewResponse()))
