"""Request and answer of explain: why a caller sees an instance or does not (design 6).

Not here: the steps themselves; see `artemis.management.explain`.
"""

from artemis.model.responses import UNSTATED, ResponseStatus
from artemis.model.wire import WireStruct


class ExplainRequest(WireStruct, kw_only=True):
    """Which instance, and which caller: region and zone are those that the caller's lookups name."""

    instance_id: str | None = None
    region_id: str | None = None
    service_id: str | None = None
    zone_id: str | None = None


class ExplainStep(WireStruct, kw_only=True):
    """One step: its name, whether it lets the instance be seen, and why, in a sentence."""

    ok: bool = False
    step: str | None = None
    why: str | None = None


class ExplainResponse(WireStruct, kw_only=True):
    """All steps in order, also those after the first that fails; `visible` when every one is ok."""

    response_status: ResponseStatus = UNSTATED
    steps: list[ExplainStep | None] | None = None
    visible: bool = False
