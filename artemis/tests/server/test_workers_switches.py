"""Switches of operators at two workers of one machine: real nodes and what they tell each other, without sockets."""

from artemis.cluster.acknowledging import Acknowledging
from artemis.cluster.outbox import Outbox
from artemis.cluster.retiring import Retiring
from artemis.model.cluster import ForceRequest
from artemis.model.status import PreservationSwitch
from artemis.server.handlers.force import force
from artemis.server.handlers.status import switch_self_preservation
from artemis.server.node import Node, NodeIdentity
from artemis.server.workers.switches import share_switches

WALL = 1_700_000_000_000


class Worker:
    """One of two workers, linked with the other one."""

    def __init__(self, name: str, other: str) -> None:
        self.name = name
        self.node = Node(NodeIdentity(node_id=name, epoch=1, region="r", zone="z", url="http://m:1"), now=0, wall=WALL)
        self.outbox = Outbox()
        self.outbox.connected[other] = None
        self.acknowledging = Acknowledging(self.node.registry, self.outbox)
        self.acknowledging.meet(other, 1)
        share_switches(self.node, self.acknowledging, lambda: None, lambda: 0)

    def force(self, service: str, direction: str, now: int) -> None:
        """An operator asks for it here."""
        answer = force(self.node, ForceRequest(service=service, force=direction, operator_id="alice"), now)
        assert answer.response_status is not None
        assert "success" == answer.response_status.status

    def preserve(self, enabled: bool, now: int) -> None:
        """An operator asks for it here."""
        switch_self_preservation(self.node, PreservationSwitch(enabled=enabled), now)

    def leave(self, now: int, *, anyway: bool = False) -> None:
        """An operator asks for it here, and other machines take over."""
        self.node.retire(Retiring("alice", 1_000, now, forced=anyway, asked=WALL + now))
        self.node.switched("retirement", now)

    @property
    def shown(self) -> tuple[dict[str, str], bool | None, tuple[str, bool, int] | None]:
        """What is switched here."""
        going = self.node.retiring
        return (
            {service: switch.direction for service, switch in self.node.availability.forced.items()},
            self.node.preserves,
            None if going is None else (going.operator, going.forced, going.asked - WALL),
        )


def two() -> tuple[Worker, Worker]:
    """The workers of a machine."""
    return Worker("m", "m#1"), Worker("m#1", "m")


def exchange(*workers: Worker) -> None:
    """Let each tell the other what there is at the end of its turn."""
    one, other = workers
    for _ in workers:
        for sender, receiver in ((one, other), (other, one)):
            sender.acknowledging.flush()
            for _, message in sender.outbox.take():
                receiver.acknowledging.receive(sender.name, message)


def test_two_switches_of_one_millisecond_hold_at_the_sibling():
    """The second comes when the first has been told."""
    one, other = two()
    for direction, enabled in (("down", False), ("up", True)):
        one.force("registry", direction, 5)
        exchange(one, other)
        one.preserve(enabled, 5)
        exchange(one, other)
        assert [({"registry": direction}, enabled, None)] * 2 == [one.shown, other.shown]


def test_a_switch_at_one_worker_does_not_undo_the_drain_that_another_one_was_asked_for():
    """Nor one by which it is asked to stay what was forced meanwhile."""
    one, other = two()
    other.leave(5)
    one.force("discovery", "down", 6)
    exchange(one, other)
    assert [({"discovery": "down"}, None, ("alice", False, 5))] * 2 == [one.shown, other.shown]
    one.node.retire(None)
    one.node.switched("retirement", 7)
    other.force("discovery", "off", 8)
    other.force("registry", "down", 8)
    exchange(one, other)
    assert [({"registry": "down"}, None, None)] * 2 == [one.shown, other.shown]


def test_a_worker_that_is_started_again_takes_over_what_is_switched_and_undoes_none_of_it():
    """Also where an operator switches something there before its sibling could tell."""
    one, _ = two()
    one.force("registry", "down", 5)
    one.leave(6, anyway=True)
    again = Worker("m#1", "m")
    again.preserve(False, 7)
    exchange(again, one)
    assert [({"registry": "down"}, False, ("alice", True, 6))] * 2 == [one.shown, again.shown]


def test_both_services_are_switched_back_at_once():
    """By one word of an operator, at another worker than the one that switched them."""
    one, other = two()
    one.force("", "down", 5)
    exchange(one, other)
    assert {"registry": "down", "discovery": "down"} == other.shown[0]
    other.force("", "off", 5)
    exchange(one, other)
    assert [({}, None, None)] * 2 == [one.shown, other.shown]
