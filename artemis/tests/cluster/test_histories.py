"""Histories that were made by hand, good and bad, and what the checker makes of them."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from artemis.model.cursors import Cursor, Origin, encode_cursor
from artemis.testing.checker import LAWS, judge, main
from artemis.testing.histories import (
    BadHistoryError,
    Completed,
    Event,
    Fault,
    Flagged,
    History,
    Invoked,
    Outcome,
    Setting,
    Told,
    read_history,
)

A, B = "http://a", "http://b"
SETTING = Setting(nodes=[A, B], ttl=1_000, settle=500, expiry=3_000)
SEVERAL = Setting(nodes=[A, B], ttl=1_000, settle=500, expiry=3_000, several=True)


def cursor(seq: int, node: str = "a", version: int = 0) -> str:
    """A position in the history of one node, as any other gives it."""
    return encode_cursor(Cursor(kind="mesh", name="local", vector={Origin(node, 1): seq}, version=version))


class Story:
    """A history in the making: each operation takes a millisecond, and is of the instance `i`."""

    def __init__(self, setting: Setting = SETTING) -> None:
        self.events: list[Event] = [setting]

    def do(self, at: int, op: str, node: str = A, outcome: Outcome | None = "ok", content: str = "x") -> "Story":
        """An operation."""
        one = len(self.events)
        self.events.append(
            Invoked(id=one, at=at, client="c", op=op, service="s", node=node, instance="i", content=content)
        )
        if outcome is not None:
            self.events.append(Completed(id=one, at=at + 1, outcome=outcome))
        return self

    def look(self, at: int, node: str = A, at_cursor: str | None = None, **shown: str) -> "Story":
        """A lookup."""
        one = len(self.events)
        self.events.append(Invoked(id=one, at=at, client="c", op="lookup", service="s", node=node))
        self.events.append(Completed(id=one, at=at + 1, outcome="ok", shown=shown, cursor=at_cursor))
        return self

    def fault(self, at: int, over: int, what: str = "partition", *nodes: str) -> "Story":
        """Something befalls the cluster."""
        self.events.append(Fault(at=at, what=what, nodes=list(nodes)))
        self.events.append(Fault(at=over, what=what, nodes=list(nodes), over=True))
        return self

    def flag(self, at: int) -> "Story":
        """The client says that it went back."""
        self.events.append(Flagged(at=at, client="c", service="s"))
        return self

    def told(self, at: int, *changes: tuple[str, str, str], **more: object) -> "Story":
        """A watch hears something."""
        self.events.append(Told(at=at, watch="w", service="s", changes=list(changes), **more))
        return self

    def sure(self, at: int, outcome: Outcome) -> "Story":
        """A lookup that must not fail."""
        one = len(self.events)
        self.events.append(Invoked(id=one, at=at, client="sdk", op="lookup", service="s", sure=True))
        self.events.append(Completed(id=one, at=at + 1, outcome=outcome, shown={} if outcome == "ok" else None))
        return self


def broken(story: Story) -> set[str]:
    """The laws that do not hold in a story."""
    return {each.law for each in judge(story.events).violations}


def judged(story: Story) -> set[str]:
    """The laws that are put to the test in a story."""
    return {law for law, count in judge(story.events).judged.items() if count}


def registered() -> Story:
    """The instance is registered and renewed."""
    return Story().do(0, "register").do(900, "heartbeat")


def removed() -> Story:
    """The instance is registered and unregistered."""
    return Story().do(0, "register").do(100, "unregister")


CASES: list[tuple[str, Callable[[], Story], str]] = [
    ("shown everywhere", lambda: registered().look(1_000, A, i="x").look(1_000, B, i="x"), ""),
    ("not shown by a peer", lambda: registered().look(1_000, B), "visible"),
    ("not shown by a peer yet", lambda: registered().look(300, B), ""),
    ("not shown in a partition", lambda: registered().fault(100, 950).look(1_000, B), ""),
    ("not shown long after a partition", lambda: registered().fault(100, 400).look(1_000, B), "visible"),
    ("not shown by whoever accepted it", lambda: registered().fault(100, 9_000).look(1_000, A), "kept"),
    ("given up after the time to live", lambda: registered().look(1_900, A), ""),
    (
        "given up, refused heartbeat",
        lambda: Story().do(0, "register").do(900, "heartbeat", A, "unknown").look(1_100),
        "",
    ),
    ("lost with a killed node", lambda: registered().fault(901, 950, "killed", A).look(1_000, A), ""),
    (
        "lost by others with a killed node",
        lambda: Story().do(0, "register").fault(20, 30, "killed", A).look(990, B),
        "",
    ),
    (
        "lost by others before the node was killed",
        lambda: Story().do(0, "register").do(500, "heartbeat").look(800, B).fault(900, 950, "killed", A),
        "visible",
    ),
    (
        "lost with a node that was asked to end",
        lambda: Story().do(0, "register").fault(20, 30, "stopped", A).look(990, B),
        "visible",
    ),
    (
        "lost with a node that ended while it was cut off",
        lambda: Story().do(0, "register").fault(0, 10).fault(20, 30, "stopped", A).look(990, B),
        "",
    ),
    ("old content", lambda: registered().do(10, "register", B, content="y").look(1_000, A, i="x"), "visible"),
    ("new content", lambda: registered().do(10, "register", B, content="y").look(1_000, A, i="y"), ""),
    ("one of two contents at once", lambda: registered().do(0, "register", B, content="y").look(1_000, A, i="x"), ""),
    ("gone", lambda: removed().look(200).look(700, B), ""),
    ("still there", lambda: removed().look(102, A, i="x"), "removed"),
    ("still there elsewhere", lambda: removed().look(102, B, i="x"), ""),
    ("back elsewhere", lambda: removed().look(700, B, i="x"), "removed"),
    ("back in a partition", lambda: removed().fault(90, 650).look(700, B, i="x"), ""),
    ("back after a partition", lambda: removed().fault(90, 150).look(700, B, i="x"), "removed"),
    ("back by a heartbeat", lambda: removed().do(150, "heartbeat", B).look(700, B, i="x"), "removed"),
    ("back by registration", lambda: removed().do(150, "register").look(200, A, i="x"), ""),
    ("back by a registration that failed", lambda: removed().do(150, "register", A, "failed").look(700, A, i="x"), ""),
    ("removed, perhaps", lambda: Story().do(0, "register").do(50, "unregister", A, None).look(700, A, i="x"), ""),
    ("a ghost", lambda: registered().look(4_000, B, i="x"), "expired"),
    ("no ghost", lambda: registered().look(3_800, B, i="x").look(4_000, B), ""),
    ("different views", lambda: registered().look(1_000, A, i="x", j="x").look(1_000, B, i="x"), "converged"),
    (
        "different views long after a write that failed",
        lambda: registered().do(0, "register", A, "failed").look(1_000, A, i="x", j="x").look(1_000, B, i="x"),
        "converged",
    ),
    ("different views for a moment", lambda: registered().look(400, A, i="x", j="x").look(400, B, i="x"), ""),
    ("position goes on", lambda: Story().look(0, A, cursor(1)).look(5, A, cursor(2)), ""),
    ("position goes back", lambda: Story().look(0, A, cursor(2)).look(5, A, cursor(1)), "cursor"),
    (
        "position of another life",
        lambda: Story().look(0, A, cursor(2)).fault(3, 4, "killed", A).look(5, A, cursor(1)),
        "",
    ),
    (
        "position of a client goes back and it says so",
        lambda: Story().look(0, "", cursor(2)).flag(3).look(5, "", cursor(1)),
        "",
    ),
    (
        "position of a client goes back once more than it says",
        lambda: Story().look(0, "", cursor(3)).flag(3).look(5, "", cursor(2)).look(8, "", cursor(1)),
        "cursor",
    ),
    (
        "position of a node goes back and a client says that it did",
        lambda: Story().look(0, A, cursor(2)).flag(3).look(5, A, cursor(1)),
        "cursor",
    ),
    ("positions of two nodes", lambda: Story().look(0, A, cursor(2)).look(5, B, cursor(1)), ""),
    ("no position", lambda: Story().look(0, A, cursor(2)).look(5, A, "nonsense"), "cursor"),
    (
        "told each change",
        lambda: Story().told(0, full=True).told(1, ("new", "i", "x")).told(2, ("delete", "i", "x")),
        "",
    ),
    ("told twice", lambda: Story().told(0, ("new", "i", "x"), full=True).told(1, ("new", "i", "x")), "watch"),
    ("told of a change of nothing", lambda: Story().told(0, full=True).told(1, ("change", "i", "x")), "watch"),
    ("told of an end of nothing", lambda: Story().told(0, full=True).told(1, ("delete", "i", "x")), "watch"),
    (
        "told of an end after a gap",
        lambda: Story().told(0, full=True).told(1, ("delete", "i", "x"), resumed=True),
        "",
    ),
    (
        "told again after a gap",
        lambda: Story().told(0, ("new", "i", "x"), full=True).told(1, ("new", "i", "x"), resumed=True),
        "",
    ),
    (
        "told again after a gap of another content",
        lambda: (
            Story()
            .told(0, ("new", "i", "x"), full=True)
            .told(1, ("new", "i", "y"), resumed=True)
            .told(2, ("change", "i", "y"))
        ),
        "watch",
    ),
    (
        "told again without a gap",
        lambda: Story().told(0, ("new", "i", "x"), full=True).told(1, ("new", "i", "x")),
        "watch",
    ),
    ("told nothing new", lambda: Story().told(0, ("new", "i", "x"), full=True).told(1, ("change", "i", "x")), "watch"),
    (
        "told to look again",
        lambda: Story().told(0, full=True).told(1, ("reload", "*", "")).told(2, ("new", "i", "x")),
        "",
    ),
    ("watch goes back", lambda: Story().told(0, full=True, cursor=cursor(2)).told(1, cursor=cursor(1)), "cursor"),
    (
        "watch goes back and says so",
        lambda: Story().told(0, full=True, cursor=cursor(2)).told(1, full=True, cursor=cursor(1)),
        "",
    ),
    (
        "watch ends with what is shown",
        lambda: registered().told(1, ("new", "i", "x"), full=True).look(1_000, A, i="x").told(1_200, last=True),
        "",
    ),
    (
        "watch missed something",
        lambda: registered().told(1, full=True).look(1_000, A, i="x").told(1_200, last=True),
        "watch",
    ),
    (
        "not shown by another worker after a heartbeat",
        lambda: Story(SEVERAL).do(0, "register", B).fault(0, 9_000).do(20, "heartbeat").look(30),
        "",
    ),
    (
        "not shown by another worker after a registration",
        lambda: Story(SEVERAL).do(0, "register").fault(0, 9_000).look(30),
        "kept",
    ),
    ("position of another worker", lambda: Story(SEVERAL).look(0, A, cursor(2)).look(5, A, cursor(1)), ""),
    (
        "position of a client of workers goes back",
        lambda: Story(SEVERAL).look(0, "", cursor(2)).look(5, "", cursor(1)),
        "cursor",
    ),
    ("answered", lambda: Story().sure(0, "ok"), ""),
    ("not answered", lambda: Story().sure(0, "failed"), "answered"),
]


@pytest.mark.parametrize(("story", "law"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_history_is_judged(story: Callable[[], Story], law: str):
    """The law that a history breaks is named, and no other."""
    assert {law} - {""} == broken(story())


def test_every_law_has_a_history_that_breaks_it():
    """None of them holds whatever happens."""
    assert set(LAWS) == {law for _, _, law in CASES} - {""}


def test_what_was_not_looked_at_was_not_judged():
    """How often each law was put to the test is told, as none is broken where nothing is seen."""
    assert set() == judged(Story().do(0, "register"))
    assert {"kept", "visible", "converged"} == judged(registered().look(1_000, A, i="x").look(1_000, B, i="x"))


def test_a_history_can_be_written_and_judged_again(tmp_path: Path):
    """What is written is read; a line that was cut off at the end is left out."""
    path = tmp_path / "history.jsonl"
    with History(path, SETTING) as history:
        one = history.begin("c", "register", "s", node=A, instance="i", content="x")
        with history.fault("partition"):
            history.end(one, "ok")
        history.begin("c", "lookup", "s")
    history.add(SETTING)
    with path.open("ab") as file:
        file.write(b'{"kind":"inv')
    setting, invoked, begun, completed, over, _ = read_history(path)
    assert (SETTING, "register", "ok") == (setting, invoked.op, completed.outcome)
    assert (False, True) == (begun.over, over.over)
    assert 0 == main([str(path)])


def test_the_checker_is_a_program(tmp_path: Path):
    """It names what is broken, and ends with 1; files that are no histories are told apart from those."""
    path = tmp_path / "history.jsonl"
    with History(path, SETTING) as history:
        for event in removed().look(102, A, i="x").events[1:]:
            history.add(event)
    program = [sys.executable, "-m", "artemis.testing.checker"]
    done = subprocess.run([*program, str(path)], capture_output=True, text=True, check=False)
    assert (1, "") == (done.returncode, done.stderr)
    first, last = done.stdout.splitlines()
    assert f"{path}: at 102, removed: lookup s by c at http://a (begun 102) showed i unregistered at 101" in first
    assert f"{path}: 1 violations; judged: visible 0, kept 0, removed 1" in last


@pytest.mark.parametrize("text", ["", "nonsense\n", '{"kind":"fault","at":1,"what":"x"}\n', '{"kind":"other"}\n'])
def test_a_file_that_is_no_history_is_refused(tmp_path: Path, text: str):
    """The text says which file, and where."""
    path = tmp_path / "history.jsonl"
    path.write_text(text)
    with pytest.raises(BadHistoryError, match=r"history\.jsonl"):
        read_history(path)
    assert 2 == main([str(path)])
