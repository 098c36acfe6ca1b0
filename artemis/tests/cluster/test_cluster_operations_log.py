"""What the log says of other nodes: each change once, and nothing of what comes and goes."""

import pytest
import structlog
from structlog.testing import LogCapture

from artemis.cluster.addresses import peer_url
from artemis.cluster.members import Announced, Members, MemberTimings
from artemis.cluster.mesh.link_log import NOT_LINKED, REPEAT, LinkLog, Quiet
from artemis.cluster.mesh.wire import Code, Refusal
from artemis.cluster.standing import Standing
from artemis.cluster.suspicion import Patience
from artemis.server.member_log import MemberLog

UP = Standing(status="up", registry=True, discovery=True, metadata={"version": "1"})


class World:
    """The members of a node, and what its log says of them."""

    def __init__(self) -> None:
        self.capture = LogCapture()
        self.members = Members(announced("me"), MemberTimings(patience=Patience(suspect=3_000, down=10_000)))
        self.log = MemberLog(structlog.wrap_logger(None, processors=[self.capture]))
        self.now = 0

    def run(self, duration: int, *heard: str) -> None:
        """Let time pass, in which these nodes are heard."""
        for _ in range(duration // 100):
            self.now += 100
            for node in heard:
                self.members.heard(node, self.now)
            self.members.tick(self.now, self.now)
            self.log.look(self.members, self.now)

    def meet(self, node: str) -> None:
        """Meet a node, which says a little later that it is up."""
        self.members.met(announced(node), self.now)
        self.run(200, node)
        self.members.told(node, UP, self.now)

    @property
    def said(self) -> list[tuple[str, str, str]]:
        """Level, event and what was before."""
        return [(each["log_level"], each["event"], each.get("was", "")) for each in self.capture.entries]


def announced(node: str) -> Announced:
    """A node with this id."""
    return Announced(node=node, epoch=1, url=peer_url(f"http://{node}:1"), zone="z")


@pytest.fixture
def world() -> World:
    """A node whose peer `a` is up."""
    made = World()
    made.meet("a")
    made.run(1_000, "a")
    return made


def test_a_member_is_up_when_it_has_said_so(world: World) -> None:
    """One line, and none for the moment before."""
    assert [("info", "member up", "not met")] == world.said


def test_each_change_is_said_once_with_its_reason(world: World) -> None:
    """However long it lasts."""
    world.run(30_000)
    assert [("warning", "member unknown", "up"), ("warning", "member down", "unknown")] == world.said[1:]
    assert [each["why"][:21] for each in world.capture.entries[1:]] == ["nothing was heard of "] * 2
    world.run(30_000, "a")
    assert [("info", "member unknown", "down"), ("info", "member up", "unknown")] == world.said[3:]
    assert world.capture.entries[3]["why"].startswith("it is back after 1 interruption")


def test_a_member_that_comes_and_goes_is_said_to_be_unknown_once(world: World) -> None:
    """Until it has been steady for a while."""
    for _ in range(20):
        world.members.lost("a", world.now, "its connection ended")
        world.run(1_000, "a")
    assert [("warning", "member unknown", "up")] == world.said[1:]


def test_a_farewell_and_what_follows(world: World) -> None:
    """A node that stops is down, one that leaves for good is forgotten."""
    world.members.farewell("a", 1, world.now, leaving=False)
    world.run(500)
    assert [("warning", "member down", "up")] == world.said[1:]
    assert "it said farewell" == world.capture.entries[1]["why"]
    world.members.farewell("a", 1, world.now, leaving=True)
    world.run(500)
    assert "member forgotten" == world.capture.entries[2]["event"]


def test_a_link_that_flaps_is_told_of_a_few_times_and_then_now_and_then() -> None:
    """Every peer has its own measure, and one that was quiet for a while has all of it again."""
    quiet = Quiet()
    assert [True] * 6 + [False] * 14 == [quiet.may_say("a", moment * 100) for moment in range(20)]
    assert quiet.may_say("b", 2_000)
    assert [True, False] == [quiet.may_say("a", moment) for moment in (31_000, 31_100)]
    assert [True] * 6 + [False] == [quiet.may_say("a", 1_000_000) for _ in range(7)]


def test_what_is_remembered_of_links_has_a_bound() -> None:
    """Nodes with other names each time are forgotten."""
    quiet = Quiet()
    for number in range(5_000):
        quiet.may_say(f"n{number}", 0)
    assert len(quiet) <= 1_000


def test_why_there_is_no_link_is_told_again_every_few_minutes_while_it_lasts() -> None:
    """Once for each reason and time, and as news only the first time."""
    capture = LogCapture()
    links = LinkLog(structlog.wrap_logger(None, processors=[capture], wrapper_class=structlog.stdlib.BoundLogger))
    refusal = Refusal(Code.SECRET, "another secret")
    news = [links.refused(NOT_LINKED, "http://a:1", refusal, now) for now in range(0, 3 * REPEAT, 5_000)]
    assert [True] + [False] * (len(news) - 1) == news
    assert [("warning", "another secret")] * 3 == [(each["log_level"], each["reason"]) for each in capture.entries]
    links.linked("http://a:1")
    assert links.refused(NOT_LINKED, "http://a:1", refusal, 3 * REPEAT)
