"""The filter that hides what operators have pulled out (spec 5.1, 8.3).

Not here: the recorded operations (`operations`), and how those of servers come into effect (`sweep`).
"""

import msgspec

from artemis.discovery import ServiceDraft
from artemis.management.decisions import ServerTarget
from artemis.management.operations import OperationEntry, Operations
from artemis.management.sweep import PLACE, HiddenServers, ip_of


class OperationFilter:
    """Hides the instances that are down, from the physical and the logic ones. Changes only through `PullOuts`.

    `region` is the node's: everything registered belongs to it.
    """

    name = "operation"

    def __init__(self, operations: Operations, region: str) -> None:
        self.servers = HiddenServers()
        self._operations = operations
        self._region = region.lower()

    @property
    def idle(self) -> bool:
        """Tell whether nothing is down, so that nothing is hidden."""
        return not self._operations and not self.servers

    def apply(self, draft: ServiceDraft) -> ServiceDraft:
        """Return the draft without the instances that are down."""
        pulled = self._operations.of_service(self._region, draft.key)
        servers = self.servers
        if not pulled and not servers:
            return draft
        kept = draft.instances
        if pulled:
            kept = tuple(pair for pair in kept if pair[0] not in pulled)
        if servers:
            kept = tuple(pair for pair in kept if not servers.hides(draft.key, pair[0], ip_of(pair[1])))
        logic = tuple(content for content in draft.logic_instances if not self._hides(draft.key, content))
        return msgspec.structs.replace(draft, instances=kept, logic_instances=logic)

    def explain(self, draft: ServiceDraft) -> str:
        """Name the operations that hide the instance and who recorded them."""
        entries = [entry for name, content in draft.instances for entry in self.entries(draft.key, name, content)]
        return describe(entries)

    def entries(self, service: str, name: str, content: bytes) -> list[OperationEntry]:
        """Return what is recorded against an instance; ids in lower case, `content` its JSON or empty."""
        return self._operations.down(self._region, service, name, ip_of(content) if content else "")

    def _hides(self, service: str, content: bytes) -> bool:
        place = PLACE.decode(content)
        name = (place.instance_id or "").lower()
        pulled = self._operations.of_service(self._region, service)
        return name in pulled or self.servers.hides(service, name, (place.ip or "").lower())


def describe(entries: list[OperationEntry]) -> str:
    """Say in a sentence which operations are recorded and by whom."""
    if not entries:
        return "no operation is recorded for the instance or its server"
    parts = []
    for entry in entries:
        what = f"server {entry.target.server}" if isinstance(entry.target, ServerTarget) else "instance"
        parts += [f"{what} pulled out by {record.operator}: {record.operation}" for record in entry.records.values()]
    return "; ".join(parts)
