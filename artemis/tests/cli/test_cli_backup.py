"""`artemis backup` and `artemis restore`: files, nodes and clusters as operators have them."""

import json
import os
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from artemis.cli.app import app
from artemis.registry.restore import read_header
from artemis.registry.snapshot import FORMAT, HEADER, MAGIC, framed
from artemis.testing import running_cluster_sync, running_node_sync
from artemis.testing.links import LinkProxy, Weather

Run = Callable[..., Result]


def artemis(url: str, *arguments: str) -> Result:
    """Run a command against a node."""
    return CliRunner().invoke(app, arguments, env={"ARTEMIS_SERVER": url, "COLUMNS": "200"})


def register(url: str, *names: str, service: str = "orders", region: str = "local") -> None:
    """Register these."""
    instances = [
        {
            "regionId": region,
            "zoneId": "z",
            "serviceId": service,
            "instanceId": name,
            "url": "http://x/",
            "status": "up",
        }
        for name in names
    ]
    body = json.dumps({"instances": instances}).encode()
    target = urllib.request.Request(f"{url}/api/registry/register.json", body, {"Content-Type": "application/json"})  # noqa: S310 - http
    with urllib.request.urlopen(target, timeout=10) as answer:  # noqa: S310 - as above
        assert "success" == json.load(answer)["responseStatus"]["status"]


def shown(url: str, service: str = "orders", region: str = "local") -> set[str]:
    """What callers see."""
    asked = f"{url}/api/discovery/service.json?serviceId={service}&regionId={region}"
    with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310 - http
        return {each["instanceId"] for each in json.load(answer)["service"]["instances"] or ()}


def until_shown(url: str, *names: str) -> None:
    """Wait until callers of a node see exactly these."""
    deadline = time.monotonic() + 20
    while shown(url) != set(names):
        assert time.monotonic() < deadline, shown(url)
        time.sleep(0.02)


def test_a_lost_cluster_is_put_back_into_a_new_one(tmp_path: Path) -> None:
    """At every node of it: instances until nobody renews them, and what operators decided."""
    file = tmp_path / "b"
    with running_cluster_sync(2) as old:
        register(old.urls[0], "a", "b", "c")
        until_shown(old.urls[1], "a", "b", "c")
        assert 0 == artemis(old.urls[0], "pullout", "orders", "b", "--operation", "maintenance").exit_code
        until_shown(old.urls[1], "a", "c")
        told = artemis(old.urls[1], "backup", str(file), "--json")
        assert 0 == told.exit_code, told.output
        facts = json.loads(told.stdout)
        names = ("instances", "operations", "cluster", "region")
        assert (3, 1, "artemis", "local") == tuple(facts[name] for name in names)
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert ["b"] == [path.name for path in tmp_path.iterdir()]
    with running_cluster_sync(2, lease_ttl=3, self_preservation=False) as new:
        tried = artemis(new.urls[0], "restore", str(file), "--dry-run")
        assert "4 changes would be made" in tried.output
        assert set() == shown(new.urls[0])
        assert 0 == artemis(new.urls[0], "restore", str(file)).exit_code
        for url in new.urls:
            until_shown(url, "a", "c")
        assert "orders/b" in artemis(new.urls[1], "pullouts").output
        for url in new.urls:
            until_shown(url)


def test_a_mistaken_mass_pull_out_is_undone(tmp_path: Path) -> None:
    """The backup wins over what is newer when it is told to; instances that were registered since stay."""
    file = str(tmp_path / "b")
    with running_node_sync() as node:
        register(node.url, "a", "b", "c")
        artemis(node.url, "pullout", "orders", "a", "--operation", "known")
        assert 0 == artemis(node.url, "backup", file).exit_code
        for name in "bc":
            artemis(node.url, "pullout", "orders", name, "--operation", "mistake")
        artemis(node.url, "pullin", "orders", "a", "--operation", "known")
        register(node.url, "new")
        careful = artemis(node.url, "restore", file)
        assert "--overwrite lets the backup win" in careful.output
        assert {"a", "new"} == shown(node.url)
        undone = artemis(node.url, "restore", file, "--only", "operations", "--overwrite", "--json")
        assert {"dryRun": False, "instances": {}, "operations": {"added": 1, "ended": 2}} == json.loads(undone.stdout)
        assert {"b", "c", "new"} == shown(node.url)
        deadline = time.monotonic() + 20
        while "backup restored" not in node.output:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_files_that_are_no_whole_backup_are_refused_with_words(tmp_path: Path, run: Run) -> None:
    """By `verify`, which says so with its exit code, and before anything is sent."""
    file = tmp_path / "b"
    assert 0 == run("backup", str(file)).exit_code
    whole = file.read_bytes()
    assert "is whole" in run("backup", "verify", str(file)).output
    later = msgspec.structs.replace(read_header(whole), format=FORMAT + 1)
    for content, words in (
        (whole[:-5], "take another backup"),
        (whole[:30] + bytes([whole[30] ^ 1]) + whole[31:], "damaged"),
        (b"", "it is empty"),
        (b"something else", "it is no snapshot"),
        (MAGIC + framed(HEADER, msgspec.msgpack.encode(later)), "use that release"),
    ):
        file.write_bytes(content)
        for command in (("backup", "verify", str(file)), ("restore", str(file))):
            result = run(*command)
            assert (1, True) == (result.exit_code, words in result.output), result.output
    missing = run("restore", str(tmp_path / "nothing"))
    assert (1, True) == (missing.exit_code, "No such file" in missing.output)


def test_a_backup_of_another_region_is_taken_only_when_it_is_meant(tmp_path: Path, run: Run) -> None:
    """Its instances are of the node's own region then."""
    file = str(tmp_path / "b")
    with running_node_sync(region="far") as node:
        register(node.url, "from-far", region="far", service="far-orders")
        assert 0 == artemis(node.url, "backup", file).exit_code
    refused = run("restore", file)
    assert (1, True) == (refused.exit_code, "is of the region 'far'" in refused.output)
    assert "--force-cluster" in refused.output
    assert 0 == run("restore", file, "--force-cluster").exit_code
    shows = run("instances", "far-orders", "--json")
    assert ["from-far"] == [each["instanceId"] for each in json.loads(shows.stdout)["instances"]]


def test_a_backup_that_fails_leaves_the_one_that_was_there(tmp_path: Path, run: Run) -> None:
    """Also where nothing can be written, and where no node is."""
    file = tmp_path / "b"
    file.write_bytes(b"the last good one")
    with running_node_sync() as node:
        url = node.url
    assert 3 == artemis(url, "backup", str(file)).exit_code
    assert b"the last good one" == file.read_bytes()
    nowhere = run("backup", str(tmp_path / "no" / "such" / "b"))
    assert (1, True) == (nowhere.exit_code, "Cannot write" in nowhere.output)
    assert ["b"] == [path.name for path in tmp_path.iterdir()]


def test_a_node_of_several_processes_is_backed_up_by_one_of_them(tmp_path: Path) -> None:
    """As often as it is asked, though each call of a new connection may reach another one."""
    with running_node_sync(workers=2) as node:
        register(node.url, "a", "b")
        for number in range(4):
            done = artemis(node.url, "backup", str(tmp_path / f"b{number}"), "--json")
            assert 0 == done.exit_code, done.output
            assert 2 == json.loads(done.stdout)["instances"]
        assert 0 == artemis(node.url, "restore", str(tmp_path / "b0"), "--overwrite").exit_code


def test_only_operators_have_backups(tmp_path: Path) -> None:
    """They hold what operators may see, and restoring is what only they may do."""
    secret = tmp_path / "token"
    secret.write_text("a-token-of-some-length\n")
    secret.chmod(0o600)
    with running_node_sync(host="0.0.0.0", admin_token_file=str(secret)) as node:
        url = f"http://127.0.0.1:{node.port}"
        denied = artemis(url, "backup", str(tmp_path / "b"))
        assert (1, True) == (denied.exit_code, "--token-file" in denied.output)
        assert 0 == artemis(url, "backup", str(tmp_path / "b"), "--token-file", str(secret)).exit_code


def test_a_backup_never_takes_the_place_of_what_is_no_file(tmp_path: Path, run: Run) -> None:
    """Such as a device: root could replace even that; behind a symbolic link it is the file there that is written."""
    pipe, folder, link = tmp_path / "pipe", tmp_path / "folder", tmp_path / "link"
    os.mkfifo(pipe)
    folder.mkdir()
    link.symlink_to(folder / "b")
    for target, words in ((pipe, "it is no file"), (folder, "it is a directory")):
        result = run("backup", str(target))
        assert (1, True) == (result.exit_code, words in result.output), result.output
    assert pipe.is_fifo()
    assert 0 == run("backup", str(link)).exit_code
    assert link.is_symlink()
    assert "is whole" in run("backup", "verify", str(folder / "b")).output


def test_a_restore_that_ends_half_way_says_so(tmp_path: Path) -> None:
    """How much was put back, and that it may be done again."""
    file = str(tmp_path / "b")
    names = [f"i{number}" for number in range(600)]
    with running_node_sync(lease_ttl=600) as node:
        register(node.url, *names)
        assert 0 == artemis(node.url, "backup", file).exit_code
    with running_node_sync(lease_ttl=600) as node, LinkProxy(node.port) as proxy:
        proxy.line.worsen(Weather(delay=0.1))
        command = [sys.executable, "-m", "artemis", "restore", file, "--server", proxy.url]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as restoring:
            deadline = time.monotonic() + 20
            while not shown(node.url):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            node.kill()
            _, said = restoring.communicate()
        assert (3, True) == (restoring.returncode, "of the backup were looked at; restore it again" in said), said
        node.restart()
        again = artemis(node.url, "restore", file)
        assert (0, set(names)) == (again.exit_code, shown(node.url))


@pytest.mark.parametrize("words", [[], [""], ["verify"], ["verify", "a", "b"], ["a", "b"]])
def test_what_is_no_backup_command_is_refused(words: list[str], run: Run) -> None:
    """With the usage."""
    assert 2 == run("backup", *words).exit_code
