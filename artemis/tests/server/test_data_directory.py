"""The data directory: one process at a time, an identity that survives damage, and nothing that blocks."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from artemis.registry import Cut
from artemis.registry.records import Origin
from artemis.registry.registry import Registry
from artemis.server.beside import beside
from artemis.server.data_directory import DataDirectoryError, create, hold, make_way, read_regular, set_aside
from artemis.server.identity import FILE, Identity, identify

WALL = 1_700_000_000_000


async def test_one_process_holds_a_directory(tmp_path: Path):
    """Who comes second is told who has it; when that one lets go, the next may have it."""
    lock = await hold(tmp_path / "deep" / "data")
    with pytest.raises(DataDirectoryError, match=rf"in use by another node \(process {os.getpid()}\)"):
        await hold(tmp_path / "deep" / "data", 0)
    lock.release()
    lock.release()
    (await hold(tmp_path / "deep" / "data", 0)).release()


async def test_who_is_about_to_let_go_is_waited_for(tmp_path: Path):
    """A supervisor may start the new process a moment before the old one has ended."""
    lock = await hold(tmp_path)
    waiting = asyncio.create_task(hold(tmp_path, 30))
    asyncio.get_running_loop().call_soon(lock.release)
    (await waiting).release()


async def test_a_file_system_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """There the node starts, and knows that nothing protects it."""

    def none(descriptor: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("artemis.server.data_directory._lock", none)
    lock = await hold(tmp_path)
    assert not lock.enforced
    lock.release()


def test_only_regular_files_are_read(tmp_path: Path):
    """A pipe that nobody writes to is refused, not waited for, and so is a directory."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(OSError, match="not a regular file"):
            read_regular(path)
    assert 100_000 == len(read_regular(tmp_path / "file"))


def test_nothing_is_set_aside_over_something_else(tmp_path: Path):
    """Several damaged files of one moment get names of their own."""
    names = set()
    for number in range(3):
        (tmp_path / "x").write_text(str(number))
        names.add(set_aside(tmp_path / "x"))
    assert {"0", "1", "2"} == {path.read_text() for path in names}


def test_a_file_is_made_in_the_place_of_what_was_left(tmp_path: Path):
    """A half file, a link or a pipe goes; only a directory is kept, under another name."""
    path = tmp_path / "x"
    for leave in (path.touch, lambda: path.symlink_to(tmp_path / "elsewhere"), lambda: os.mkfifo(path), path.mkdir):
        leave()
        aside = make_way(path)
        os.close(create(path))
        assert (True, 0o600) == (path.is_file(), path.stat().st_mode & 0o777)
        path.unlink()
    assert aside is not None
    assert aside.is_dir()
    assert not (tmp_path / "elsewhere").exists()


def write(text: bytes) -> Callable[[Path], object]:
    """What makes a file of these bytes."""
    return lambda path: path.write_bytes(text)


DAMAGED = {
    "empty": write(b""),
    "half": write(b'{"node_id":"n1","ep'),
    "no id": write(b'{"node_id":"","epoch":5}'),
    "long id": write(b'{"node_id":"' + b"a" * 201 + b'","epoch":5}'),
    "id of lines": write(b'{"node_id":"a\\nb","epoch":5}'),
    "not text": write(b'{"node_id":"\xff","epoch":5}'),
    "epoch 0": write(b'{"node_id":"n1","epoch":0}'),
    "epoch below": write(b'{"node_id":"n1","epoch":-5}'),
    "epoch without a next": write(b'{"node_id":"n1","epoch":9223372036854775807}'),
    "epoch above": write(b'{"node_id":"n1","epoch":18446744073709551616}'),
    "nested": write(b'{"node_id":' + b"[" * 100_000),
    "directory": Path.mkdir,
    "pipe": os.mkfifo,
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_identity_is_set_aside(tmp_path: Path, damage: str):
    """Whatever stands in the file, the node starts with an identity that it can keep, and says what was wrong."""
    DAMAGED[damage](tmp_path / FILE)
    identity, told = identify(tmp_path, "n9", WALL, region="r1", snapshots=("registry.snapshot",))
    assert ("n9", WALL, 0) == (identity.node_id, identity.epoch, identity.previous)
    assert told is not None
    assert "new one, n9" in told.consequence
    assert Path(told.set_aside_as).exists()
    assert Identity("n9", WALL + 1, WALL) == identify(tmp_path, "n8", 0).identity


def test_a_directory_of_another_cluster_is_refused(tmp_path: Path):
    """It is left as it is, and the text says what it is of; a node alone may have it, and it stays that cluster's."""
    identify(tmp_path, "n1", WALL, cluster="one")
    identify(tmp_path, "n1", WALL)
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(
        DataDirectoryError, match=r"of the cluster 'one', and this one is of 'two': give another --data"
    ):
        identify(tmp_path, "n1", WALL, cluster="two")
    assert before == (tmp_path / FILE).read_bytes()
    assert WALL + 2 == identify(tmp_path, "n1", WALL, cluster="one").identity.epoch
    (tmp_path / FILE).write_bytes(before.replace(b"one", b"two"))
    assert "n1" == identify(tmp_path, "n9", WALL, cluster="two").identity.node_id


def test_no_id_is_taken_from_a_snapshot_of_another_cluster(tmp_path: Path):
    """A node that is given just such a snapshot begins as a new one."""
    registry = Registry(Origin("n1", 1), "r1", now=0, wall=WALL)
    (tmp_path / "old").write_bytes(b"".join(Cut(registry, version=0, now=0, wall=WALL, cluster="one").chunks()))
    found = [
        identify(tmp_path / name, "n9", WALL, region="r1", cluster=name, snapshots=("../old",)).identity.node_id
        for name in ("one", "two")
        if not (tmp_path / name).mkdir()
    ]
    assert ["n1", "n9"] == found


def test_a_long_url_is_an_id_too(tmp_path: Path):
    """A node whose own URL is longer than other ids may be does not call its id damaged."""
    long = "host/" + "x" * 300
    for epoch in (1, 2):
        identity, damage = identify(tmp_path, long, 1)
        assert (long, epoch, None) == (identity.node_id, identity.epoch, damage)


async def test_calls_beside_return_and_raise():
    """What a call returns or raises comes back to who awaits it."""
    assert 5 == await beside(max, 2, 5)
    assert await beside(lambda: None) is None
    with pytest.raises(ZeroDivisionError):
        await beside(divmod, 1, 0)


async def test_a_call_that_hangs_is_left_behind(tmp_path: Path):
    """Who awaited it can be cancelled while it hangs."""
    os.mkfifo(tmp_path / "pipe")
    task = asyncio.create_task(beside((tmp_path / "pipe").read_bytes))
    writer = await beside(os.open, tmp_path / "pipe", os.O_WRONLY)  # opens when the other one does
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    os.close(writer)
