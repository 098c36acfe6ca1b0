"""What the log says of a node when it changes: self-preservation and what operators have switched or restored.

Not here: what it says of other nodes (`member_log`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from artemis.cluster.standing import SERVICES, Service, Switch

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from artemis.server.node import Node


class NodeLog:
    """Looks at the node with every `tick`, about once a second, and logs what is no more as it was."""

    def __init__(self, node: Node, log: FilteringBoundLogger) -> None:
        self._node, self._log = node, log
        self._preserved = {"leases": False, "legacy leases": False}
        self._forced: Mapping[Service, Switch] = {}

    def tick(self) -> None:
        """Log what has changed since the last time."""
        self._tell_self_preservation()
        self._tell_switches()
        happened = self._node.backups.happened
        while happened:
            action, fields = happened.popleft()
            self._log.info(action, **fields)

    def _tell_self_preservation(self) -> None:
        """With its numbers and reason."""
        states = dict(zip(("leases", "legacy leases"), self._node.registry.self_preservation(), strict=True))
        for name, state in states.items():
            if state.active != self._preserved[name]:
                self._preserved[name] = state.active
                log = self._log.warning if state.active else self._log.info
                action = "self-preservation began" if state.active else "self-preservation ended"
                log(action, of=name, reason=state.reason, live=state.live, heard=state.heard, hold_ms=state.hold)

    def _tell_switches(self) -> None:
        forced = self._node.availability.forced
        for service in SERVICES:
            switch = forced.get(service)
            if switch != self._forced.get(service):
                how = {"force": "off"} if switch is None else {"force": switch.direction, "operator": switch.operator}
                self._log.warning("service switched by hand", service=service, **how)
        self._forced = forced
