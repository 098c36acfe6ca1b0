"""The file that names the nodes."""

from pathlib import Path

import pytest

from artemis.cluster.sources.file import MAX_FILE, PeersFile, read_lines
from artemis.cluster.sources.listing import SourceError


def hosts(source: PeersFile) -> list[str]:
    """What the file names at this look."""
    return [url.host for url in source.read()]


def test_a_line_is_a_node() -> None:
    """Comments and empty lines are none, whatever the line ends with."""
    text = "# ours\r\nhttp://a:1\n\n  https://b  # the new one\r\n"
    assert ["http://a:1", "https://b:443"] == [str(url) for url in read_lines(text)]


def test_a_bad_line_is_named() -> None:
    """And the whole list is none."""
    with pytest.raises(SourceError, match=r"line 2: 'b' does not look like http://HOST:PORT"):
        read_lines("http://a:1\nb\n")
    with pytest.raises(SourceError, match=r"line 1: 'http://a:1/x' has something after the port.*; give http://a:1$"):
        read_lines("http://a:1/x")


def test_a_change_applies_when_the_file_has_settled(tmp_path: Path) -> None:
    """The first look reads at once; later, the next look must find what the one before found."""
    file = tmp_path / "peers"
    file.write_text("http://a:1\n")
    source = PeersFile(file)
    assert ["a"] == hosts(source)
    file.write_text("http://b:1\n")
    looks = [hosts(source)]
    file.write_text("http://b:1\nhttp://c:1\n")
    looks += [hosts(source), hosts(source), hosts(source)]
    assert [["a"], ["a"], ["b", "c"], ["b", "c"]] == looks


def test_an_emptied_file_names_nobody(tmp_path: Path) -> None:
    """The original kept the old list (defect 11)."""
    file = tmp_path / "peers"
    file.write_text("http://a:1")
    source = PeersFile(file)
    source.read()
    file.write_text("# nobody\n")
    source.read()
    assert ([], 0) == (source.read(), source.empty_after)


def test_a_file_that_is_missing_fails_until_it_is_there_and_settled(tmp_path: Path) -> None:
    """In words, and so does one that goes."""
    file = tmp_path / "peers"
    source = PeersFile(file)
    with pytest.raises(SourceError, match="it cannot be read: No such file"):
        source.read()
    file.write_text("http://a:1")
    with pytest.raises(SourceError, match="it is just being written"):
        source.read()
    assert ["a"] == hosts(source)
    file.unlink()
    with pytest.raises(SourceError, match="it cannot be read"):
        source.read()
    file.write_text("http://b:1")
    assert [["a"], ["b"]] == [hosts(source), hosts(source)]


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"\xff\xfe", "it is not text"), (b"#" * (MAX_FILE + 1), "it has more than"), (b"http://a b", "line 1")],
)
def test_a_bad_file_fails_at_every_look_until_it_is_mended(tmp_path: Path, content: bytes, why: str) -> None:
    """What it named before is not its content."""
    file = tmp_path / "peers"
    file.write_bytes(content)
    source = PeersFile(file)
    for _ in range(2):
        with pytest.raises(SourceError, match=why):
            source.read()
    file.write_text("http://c:1")
    with pytest.raises(SourceError, match=why):
        source.read()
    assert ["c"] == hosts(source)


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    """A pipe would have to be waited for."""
    with pytest.raises(SourceError, match="it is not a regular file"):
        PeersFile(tmp_path).read()
