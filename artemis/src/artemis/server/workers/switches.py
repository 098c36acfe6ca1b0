"""What operators switch by hand at one worker, carried to its siblings: the machine has one set of switches, and is
taken out of service as a whole.

Not here: what a switch does (`artemis.cluster.standing`), which position of it wins (`artemis.cluster.switches`), and
how it travels (`artemis.cluster.acknowledging`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artemis.cluster.messages import Switched
from artemis.cluster.retiring import Retiring
from artemis.cluster.standing import Switch
from artemis.server.retirement import spread_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from artemis.cluster.acknowledging import Acknowledging
    from artemis.cluster.standing import ByHand
    from artemis.server.node import Node

_LEAVE, _ANYWAY = "leave", "leave-anyway"


def share_switches(node: Node, acknowledging: Acknowledging, soon: Callable[[], None], now: Callable[[], int]) -> None:
    """Tell siblings what is switched at this node, and switch here what they tell.

    `soon` has messages sent, `now` gives monotonic milliseconds.
    """

    def tell(switch: ByHand, at: int) -> None:
        position, operator, since = _standing(node, switch)
        wall = node.registry.wall(at)
        acknowledging.switch(Switched(switch, wall, node.identity.node_id, position, operator, since))
        soon()

    def take(switched: Switched) -> None:
        match switched.switch, switched.position:
            case ("registry" | "discovery") as service, ("up" | "down") as direction:
                node.force(service, Switch(direction, switched.operator, switched.since))
            case ("registry" | "discovery") as service, _:
                node.force(service, None)
            case "self-preservation", position:
                node.preserves = position == "on"
                node.registry.enable_self_preservation(node.preserves)
            case "retirement", position:
                node.retire(_retiring(node, switched, now()) if position else None)

    node.switched = tell
    acknowledging.switched = take


def _standing(node: Node, switch: ByHand) -> tuple[str, str, int]:
    """Return the position of a switch, who has put it there and since when."""
    match switch:
        case "self-preservation":
            return "on" if node.preserves else "off", "", 0
        case "retirement":
            going = node.retiring
            return ("", "", 0) if going is None else (_ANYWAY if going.forced else _LEAVE, going.operator, going.asked)
        case service:
            forced = node.availability.forced.get(service)
            return ("", "", 0) if forced is None else (forced.direction, forced.operator, forced.since)


def _retiring(node: Node, switched: Switched, now: int) -> Retiring:
    """Return what an operator has asked a sibling for: the whole machine goes."""
    forced = switched.position == _ANYWAY
    return Retiring(switched.operator, spread_of(node), now, forced=forced, asked=switched.since)
