"""Each example runs as a program of its own, and prints what it says it shows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "examples" / "msgtrans"


def program(name: str, *words: str) -> list[str]:
    return [sys.executable, str(FOLDER / name), *words]


def output(name: str, *words: str) -> list[str]:
    """The lines that an example prints, which must end well by itself."""
    done = subprocess.run(program(name, *words), capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_packets() -> None:
    """packets.py takes packets to bytes and back, whole and cut, and shows a refusal."""
    lines = output("packets.py")
    assert ["one_way", "request", "response", "one_way", "one_way"] == [line.split()[0] for line in lines[:5]]
    assert all(line.endswith("decoded the same") for line in lines[:5])
    assert lines[5].endswith("in pieces of 7: 5 packets, True")
    assert lines[6].startswith("refused: ")


def test_transport_events() -> None:
    """transport_events.py traces both sides, from Established to Closed, with messages and requests both ways."""
    lines = output("transport_events.py")
    server = [line.removeprefix("server: ") for line in lines if line.startswith("server: ")]
    client = [line.removeprefix("client: ") for line in lines if line.startswith("client: ")]
    assert server == [
        "session 1 is open on tcp",
        "message 1 says 'good morning'",
        "request 2 asks 'is anybody there?'",
        "session 1 is closed (normal), 3 packets came",
    ]
    assert client == [
        "session 1 is open on tcp",
        "message 20000 says 'news'",
        "request 20001 asks 'and are you there?'",
        "session 1 is closed (normal), 3 packets came",
    ]
    assert "the client got 'yes, is anybody there?'" in lines
    assert "the server got 'yes, and are you there?'" in lines


def test_rate_limited_server() -> None:
    """rate_limited_server.py answers a burst as far as its limit goes, tells the rest so, and counts them."""
    lines = output("rate_limited_server.py")
    done, refused = (int(line.split()[0]) for line in lines[:2])
    assert lines[:2] == [f"{done} of 12: done", f"{refused} of 12: too fast"]
    assert (done + refused, done >= 5) == (12, True)
    assert lines[2:] == ["a moment later: done", f"the server has refused {refused}"]


def test_middleware() -> None:
    """middleware.py measures each request, refuses an unknown operation with a sentence, and counts that."""
    lines = output("middleware.py")
    assert lines[0] == "session 1 came over tcp"
    assert [line for line in lines if "took" not in line][1:] == [
        "operation 1: done",
        "operation 2: done",
        "operation 3: operation 3 does not exist; there are (1, 2)",
        "4 packets came, 1 was refused",
    ]
    assert [line.split()[1] for line in lines if "took" in line] == ["1", "2", "3"]
