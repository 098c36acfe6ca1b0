"""What another region shows of a service beside its instances: logic instances and route rules, shown with the copy.

Not here: the instances (`copy`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from artemis.model import encode_canonical

if TYPE_CHECKING:
    from artemis.discovery import ServiceDraft
    from artemis.model import Service


class Beside(NamedTuple):
    """Logic instances and route rules of one service, as JSON."""

    logic_instances: tuple[bytes, ...] = ()
    route_rules: tuple[bytes, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of both."""
        return sum(map(len, self.logic_instances)) + sum(map(len, self.route_rules))


NOTHING = Beside()


def beside(service: Service) -> Beside:
    """Return what an answer shows of a service beside its instances."""
    return Beside(
        tuple(encode_canonical(one) for one in service.logic_instances or () if one is not None),
        tuple(encode_canonical(rule) for rule in service.route_rules or () if rule is not None),
    )


class CopiedRules:
    """A discovery filter that adds them; idle while there are none, as in regions without plug-ins."""

    name = "copied-rules"

    def __init__(self) -> None:
        self.services: dict[str, Beside] = {}

    @property
    def idle(self) -> bool:
        """Tell whether `apply` returns every draft as it came, now."""
        return not self.services

    def apply(self, draft: ServiceDraft) -> ServiceDraft:
        """Return the draft with what the other region shows beside the instances."""
        found = self.services.get(draft.key)
        if found is None:
            return draft
        return msgspec.structs.replace(draft, logic_instances=found.logic_instances, route_rules=found.route_rules)

    def explain(self, draft: ServiceDraft) -> str:
        """Say that instances stay as they are."""
        return f"{draft.service_id} is shown as its own region shows it"
