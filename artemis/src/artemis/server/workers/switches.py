"""What operators switch by hand at one worker, carried to its siblings: the machine has one set of switches, and is
taken out of service as a whole.

Not here: what a switch does (`artemis.cluster.standing`), and how it travels (`artemis.cluster.acknowledging`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast, get_args

from artemis.cluster.messages import Switched
from artemis.cluster.retiring import Retiring
from artemis.cluster.standing import SERVICES, Direction, Switch
from artemis.server.retirement import spread_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from artemis.cluster.acknowledging import Acknowledging
    from artemis.server.node import Node

_DIRECTIONS = get_args(Direction)


def share_switches(node: Node, acknowledging: Acknowledging, soon: Callable[[], None], now: Callable[[], int]) -> None:
    """Tell siblings what is switched at this node, and switch here what they tell.

    `soon` has messages sent, `now` gives monotonic milliseconds.
    """

    def tell(at: int) -> None:
        forced: list[tuple[str, str, str, int]] = [
            (service, switch.direction, switch.operator, switch.since)
            for service, switch in node.availability.forced.items()
        ]
        going = node.retiring
        retiring = None if going is None else (going.operator, going.asked, going.forced)
        acknowledging.switch(Switched(node.registry.wall(at), forced, node.preserves, retiring))
        soon()

    def take(switches: Switched) -> None:
        told = {
            service: Switch(cast("Direction", direction), operator, since)
            for service, direction, operator, since in switches.forced
            if direction in _DIRECTIONS
        }
        for service in SERVICES:
            node.force(service, told.get(service))
        if switches.preserves is not None:
            node.preserves = switches.preserves
            node.registry.enable_self_preservation(switches.preserves)
        retire(switches)

    def retire(switches: Switched) -> None:
        if switches.retiring is None:
            if node.retiring is not None:
                node.retire(None)
            return
        operator, asked, forced = switches.retiring
        if node.retiring is None or node.retiring.asked != asked:
            node.retire(Retiring(operator, spread_of(node), now(), forced=forced, asked=asked))

    node.switched = tell
    acknowledging.switched = take
