"""The cache directory: what is on disk, which of it is believed, and callers that start while the registry is away."""

import asyncio
import os
import stat
import threading
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artemis import ArtemisClient, ClientOptions, Instance, RefusedError, Reply, UnreachableError
from artemis.client import DiskFailed, LookupFailed, ServedFromDisk
from artemis.client.discovery.cache import MAX_FILES, Directory, Unreadable, cache_directory
from artemis.model import RouteRule, Service
from artemis.testing import running_node

PATIENCE = 60.0
NOW = 1_700_000_000_000


def instance(service_id: str = "orders", name: str = "a") -> Instance:
    """Build an instance."""
    return Instance(region_id="local", zone_id="zone1", service_id=service_id, instance_id=name, url="http://x")


def directory(path: Path, registry: str = "local http://one") -> Directory:
    """Make a cache directory of small files that last a day."""
    return Directory(path, registry=registry, max_bytes=10_000, max_age=86_400.0)


SERVICE = Service(service_id="Orders", instances=[instance()], route_rules=[RouteRule(route_id="r")])


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    """By nobody but its owner, and by whoever asks for the same registry."""
    cache = directory(tmp_path / "some" / "where")
    assert cache.read("orders", NOW) is None
    cache.write("orders", SERVICE, NOW)
    stored = cache.read("orders", NOW + 1000)
    assert stored is not None
    assert (stored.service, stored.confirmed) == (SERVICE, NOW)
    (file,) = cache.path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(cache.path.stat().st_mode) == 0o700


def test_what_is_too_old_is_as_good_as_absent(tmp_path: Path) -> None:
    """A time a little in the future is none of that: clocks are set."""
    cache = directory(tmp_path)
    cache.write("orders", SERVICE, NOW)
    assert cache.read("orders", NOW + 86_400_001) is None
    assert cache.read("orders", NOW - 5000) is not None


def test_what_is_from_the_future_is_not_believed(tmp_path: Path) -> None:
    """The clock was set back, so its age is unknown; the file goes, unless it is written again before."""
    cache = directory(tmp_path)
    cache.write("orders", SERVICE, NOW)
    with pytest.raises(Unreadable, match="from the future"):
        cache.read("orders", NOW - 61_000)
    os.utime(cache.file("orders"), (NOW / 1000, NOW / 1000))
    cache.sweep(NOW - 59_000)
    assert cache.file("orders").exists()
    cache.sweep(NOW - 61_000)
    assert not cache.file("orders").exists()


def test_a_directory_that_cannot_be_is_refused_at_once() -> None:
    """When the client is made, not when it first writes."""
    with pytest.raises(ValueError, match="cache_dir"):
        ArtemisClient(servers=["http://127.0.0.1:1"], cache_dir="a\0b")


def test_registries_and_regions_do_not_mix() -> None:
    """The order, letter case and trailing slashes of the servers do not matter."""
    options = ClientOptions()
    one = cache_directory("x", ["http://A/", "http://b"], "local", options).file("orders")
    assert cache_directory("x", ["http://b/", "http://a"], "LOCAL", options).file("orders") == one
    assert cache_directory("x", ["http://a"], "local", options).file("orders") != one
    assert cache_directory("x", ["http://a", "http://b"], None, options).file("orders") != one


@given(st.text(min_size=1, max_size=2000))
def test_every_service_has_a_name_that_is_a_file(key: str) -> None:
    """One for itself, inside the directory, that every file system takes."""
    cache = directory(Path("/base"))
    file = cache.file(key)
    assert file.parent == cache.path
    assert len(file.name) < 120
    assert file.name.isascii()
    assert cache.file(f"{key}x") != file


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "damaged"),
        (b"{", "damaged"),
        (b"[" * 9_000, "damaged"),
        (b"\xff\xfe", "damaged"),
        (b'{"format": 1}', "damaged"),
        (b"x" * 10_001, "larger than 10000 bytes"),
        (
            msgspec.json.encode({"format": 2, "registry": "local http://one", "confirmed": NOW, "service": {}}),
            "version",
        ),
        (msgspec.json.encode({"format": 1, "registry": "other", "confirmed": NOW, "service": {}}), "another registry"),
        (
            msgspec.json.encode(
                {"format": 1, "registry": "local http://one", "confirmed": NOW, "service": {"serviceId": "prices"}}
            ),
            "another service",
        ),
    ],
)
def test_what_makes_no_sense_is_not_read(tmp_path: Path, content: bytes, complaint: str) -> None:
    """Each says why, and nothing else is raised."""
    cache = directory(tmp_path)
    cache.write("orders", SERVICE, NOW)
    cache.file("orders").write_bytes(content)
    with pytest.raises(Unreadable, match=complaint):
        cache.read("orders", NOW)


def test_links_and_other_kinds_of_files_are_not_read(tmp_path: Path) -> None:
    """Nor do they block; writing replaces them and touches nothing that they lead to."""
    cache = directory(tmp_path / "cache")
    cache.path.mkdir()
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    file = cache.file("orders")
    file.symlink_to(target)
    with pytest.raises(Unreadable):
        cache.read("orders", NOW)
    cache.write("orders", SERVICE, NOW)
    assert target.read_bytes() == b"precious"
    assert cache.read("orders", NOW) is not None
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(Unreadable, match="no plain file"):
        cache.read("orders", NOW)


def test_a_file_that_others_may_write_is_not_read(tmp_path: Path) -> None:
    """It could send callers anywhere."""
    cache = directory(tmp_path)
    cache.write("orders", SERVICE, NOW)
    cache.file("orders").chmod(0o666)
    with pytest.raises(Unreadable, match="others may write it"):
        cache.read("orders", NOW)


def test_a_directory_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    """For each of reading, writing and removing; and nothing is left half done."""
    (tmp_path / "file").write_bytes(b"")
    cache = directory(tmp_path / "file")
    with pytest.raises(Unreadable):
        cache.read("orders", NOW)
    with pytest.raises(Unreadable):
        cache.write("orders", SERVICE, NOW)
    with pytest.raises(Unreadable):
        cache.sweep(NOW)
    cache = directory(tmp_path / "cache")
    cache.file("orders").mkdir(parents=True)
    with pytest.raises(Unreadable):
        cache.write("orders", SERVICE, NOW)
    assert list(cache.path.iterdir()) == [cache.file("orders")]


def test_what_is_too_old_or_was_never_finished_is_removed(tmp_path: Path) -> None:
    """Files that are not of the cache stay."""
    cache = directory(tmp_path)
    cache.sweep(NOW)
    for key, age in (("old", 90_000), ("young", 80_000)):
        cache.write(key, SERVICE, NOW)
        os.utime(cache.file(key), (NOW / 1000 - age,) * 2)
    for name, age in (
        (f"{cache.file('x').name}.0.tmp", 4000),
        (f"{cache.file('y').name}.0.tmp", 1000),
        ("mine", 90_000),
    ):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (NOW / 1000 - age,) * 2)
    cache.sweep(NOW)
    left = {cache.file("young").name, f"{cache.file('y').name}.0.tmp", "mine"}
    assert {file.name for file in tmp_path.iterdir()} == left


def test_a_directory_that_does_not_exist_has_nothing_to_remove(tmp_path: Path) -> None:
    """And is not made for that."""
    directory(tmp_path / "cache").sweep(NOW)
    assert list(tmp_path.iterdir()) == []


def test_the_oldest_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are never many more files than the bound."""
    assert MAX_FILES >= 10_000
    monkeypatch.setattr("artemis.client.discovery.cache.MAX_FILES", 2)
    cache = directory(tmp_path)
    for number in range(4):
        cache.write(str(number), SERVICE, NOW)
        os.utime(cache.file(str(number)), (NOW / 1000 + number,) * 2)
    cache.sweep(NOW)
    assert sorted(tmp_path.iterdir()) == sorted(cache.file(str(number)) for number in (2, 3))


@pytest.fixture
async def remembered(tmp_path: Path, quick: ClientOptions) -> tuple[str, Path]:
    """Run a registry, let a caller use it, and end both; give the registry's address and the caller's directory."""
    path = tmp_path / "cache"
    async with running_node() as node:
        async with opened(node.url, quick, path) as client:
            await client.api.register([instance()])
            await client.service("orders")
        url = node.url
    return url, path


def files(path: Path) -> list[Path]:
    """Return what is in a directory."""
    return list(path.iterdir())


def damage(file: Path) -> None:
    """Write nonsense into a file."""
    file.write_bytes(b"damaged")


def opened(url: str, options: ClientOptions, path: Path) -> ArtemisClient:
    """Make a client with a cache directory."""
    return ArtemisClient(servers=[url], region_id="local", zone_id="zone1", options=options, cache_dir=path)


async def test_a_caller_starts_while_the_registry_is_away(remembered: tuple[str, Path], quick: ClientOptions) -> None:
    """Its view is from disk and says so, with its age; what is not on disk fails as without a cache."""
    url, path = remembered
    async with opened(url, replace(quick, cache_interval=0.05), path) as client:
        events = client.events()
        view = await client.service("ORDERS")
        assert (view.instances, view.source) == ((instance(),), "disk")
        assert 0.0 <= view.age < PATIENCE
        assert isinstance(await anext(events), ServedFromDisk)
        assert client.balancer("orders").next() == instance()
        assert (await anext(client.watch("orders"))).change_type == "new"
        with pytest.raises(UnreachableError):
            await client.service("prices")
        async with asyncio.timeout(PATIENCE):
            async for event in events:
                if isinstance(event, LookupFailed):
                    break
        assert (await client.service("orders")).age > view.age


async def test_a_balancer_alone_finds_what_is_on_disk(remembered: tuple[str, Path], quick: ClientOptions) -> None:
    """Although it waits for nothing itself."""
    url, path = remembered
    async with opened(url, quick, path) as client:
        events = client.events()
        heard: asyncio.Queue[str | None] = asyncio.Queue()

        async def hear(change: object, view: object) -> None:
            await heard.put(getattr(view, "source", None))

        client.listen("orders", hear)
        async with asyncio.timeout(PATIENCE):
            assert isinstance(await anext(events), ServedFromDisk)
            assert await heard.get() == "disk"
        assert client.balancer("orders").next() == instance()


async def test_the_registry_takes_over_when_it_is_back(tmp_path: Path, quick: ClientOptions) -> None:
    """What it shows is what counts, guarded like any other answer."""
    path = tmp_path / "cache"
    async with running_node() as node:
        async with opened(node.url, quick, path) as client:
            await client.api.register([instance()])
            await client.service("orders")
        await asyncio.to_thread(node.kill)
        async with opened(node.url, quick, path) as client:
            watch = client.watch("orders")
            assert (await anext(watch)).instance.instance_id == "a"
            assert (await client.service("orders")).source == "disk"
            await asyncio.to_thread(node.restart)
            await client.api.register([instance(), instance(name="b")])
            async with asyncio.timeout(PATIENCE):
                assert (await anext(watch)).instance.instance_id == "b"
            view = await client.service("orders")
            assert view.source == "registry"


async def test_damage_is_told_once_and_harms_nobody(remembered: tuple[str, Path], quick: ClientOptions) -> None:
    """The lookup fails as it does without a cache."""
    url, path = remembered
    (file,) = files(path)
    damage(file)
    async with opened(url, quick, path) as client:
        events = client.events()
        with pytest.raises(UnreachableError):
            await client.service("orders")
        event = await anext(events)
        assert isinstance(event, DiskFailed)
        assert event.path == str(file)


class Lingering:
    """A transport that brings nothing, and takes its time to end."""

    def __init__(self) -> None:
        self.ending = asyncio.Event()
        self.ended = asyncio.Event()

    async def call(self, node: str, path: str, body: bytes, timeout: float) -> Reply:  # noqa: ASYNC109 - see Transport
        """Wait for nothing."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.ending.set()
            await self.ended.wait()
        raise AssertionError

    async def close(self) -> None:
        """Have nothing to close."""


async def test_whoever_cancels_while_the_disk_has_answered_has_cancelled(
    remembered: tuple[str, Path], quick: ClientOptions
) -> None:
    """The question to the registry is ended then, and that is no reason to go on."""
    url, path = remembered
    transport = Lingering()
    async with ArtemisClient(
        servers=[url],
        region_id="local",
        zone_id="zone1",
        options=replace(quick, cache_wait=0.0),
        transport=transport,
        cache_dir=path,
    ) as client:
        asking = asyncio.ensure_future(client.service("orders"))
        async with asyncio.timeout(PATIENCE):
            await transport.ending.wait()
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()
        transport.ended.set()


async def test_a_refusal_is_not_papered_over(node_url: str, tmp_path: Path, quick: ClientOptions) -> None:
    """A registry that says no has answered."""
    options = replace(quick, cache_wait=PATIENCE)
    client = ArtemisClient(servers=[node_url], region_id="elsewhere", zone_id="z", options=options, cache_dir=tmp_path)
    async with client:
        with pytest.raises(RefusedError, match="no-permission"):
            await client.service("orders")


async def test_a_directory_that_cannot_be_written_is_an_event(
    node_url: str, tmp_path: Path, quick: ClientOptions, service_id: str
) -> None:
    """The client goes on without it."""
    damage(tmp_path / "file")
    async with opened(node_url, replace(quick, cache_interval=0.05, cache_wait=PATIENCE), tmp_path / "file") as client:
        events = client.events()
        assert (await client.service(service_id)).source == "registry"
        async with asyncio.timeout(PATIENCE):
            async for event in events:
                if isinstance(event, DiskFailed):
                    break
        assert (await client.service(service_id)).source == "registry"


async def test_changes_are_written_while_the_client_runs(
    node_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: ClientOptions, service_id: str
) -> None:
    """So that a caller that is killed finds them when it starts again."""
    options, written, write = replace(quick, cache_interval=0.02), threading.Event(), Directory.write

    def write_and_tell(cache: Directory, key: str, service: Service, confirmed: int) -> None:
        write(cache, key, service, confirmed)
        written.set()

    monkeypatch.setattr(Directory, "write", write_and_tell)
    async with opened(node_url, options, tmp_path) as client:
        await client.api.register([instance(service_id)])
        await client.service(service_id)
        assert await asyncio.to_thread(written.wait, PATIENCE)
        stored = cache_directory(tmp_path, [node_url], "local", options).read(service_id, int(time.time() * 1000))
        assert stored is not None
        assert stored.service.instances == [instance(service_id)]


async def test_without_a_directory_no_file_is_touched(
    node_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: ClientOptions, service_id: str
) -> None:
    """It is off unless asked for."""
    monkeypatch.chdir(tmp_path)
    async with ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1", options=quick) as client:
        await client.service(service_id)
    assert files(tmp_path) == []
