"""What a node holds and does not show, as the lists and the commands of operators tell of it.

Not here: pulling out and in itself (`operators`), and why an instance is hidden (`explain`, which the node answers).
"""

from __future__ import annotations

from artemis.cli.calls import ask, post
from artemis.cli.output import counted
from artemis.model import Instance
from artemis.model.management import (
    InstanceKey,
    InstanceKeyRequest,
    InstanceOperationsResponse,
    ManagedServiceRequest,
    ManagedServiceResponse,
    ServerKey,
    ServerKeyRequest,
    ServerOperationsResponse,
)
from artemis.model.status import OverviewResponse


def recorded(server: str, key: InstanceKey | ServerKey) -> list[str]:
    """Return the names of the operations that are recorded for an instance or a machine."""
    path = "management/{}-operations.json"
    if isinstance(key, InstanceKey):
        wanted = InstanceKeyRequest(instance_key=key)
        found = post(server, path.format("instance"), InstanceOperationsResponse, wanted).operations
        return [] if found is None else [name for name in found.operations or () if name]
    asked = ServerKeyRequest(server_key=key)
    of_server = post(server, path.format("server"), ServerOperationsResponse, asked).operations
    return [] if of_server is None else [name for name in of_server.operations or () if name]


def leased(server: str, service: str) -> list[Instance] | None:
    """Return every instance of a service that holds a lease, its status `down` where it is pulled out.

    None where the node cannot tell.
    """
    answer = ask(server, "management/service.json", ManagedServiceResponse, ManagedServiceRequest(service_id=service))
    if answer is None or answer.service is None:
        return None
    return [one for one in answer.service.instances or () if one is not None]


def not_shown(held: list[Instance], shown: int) -> str:
    """Say how many of the instances that are `held` are not among those that callers were `shown`, and why.

    Empty when there are none.
    """
    out = sum((one.status or "").lower() == "down" for one in held)
    filtered = len(held) - shown - out
    said = []
    if out:
        said.append(f"{_are(out)} pulled out; see `artemis pullouts`")
    if filtered > 0:
        said.append(f"{_are(filtered)} hidden otherwise; see `artemis explain SERVICE INSTANCE`")
    return "; ".join(said)


def hidden_in_all(server: str, shown: int) -> str:
    """Say how many instances a node holds beyond those that callers were `shown`; empty when there are none."""
    overview = ask(server, "v1/status", OverviewResponse)
    hidden = 0 if overview is None else overview.instances - shown
    if hidden <= 0:
        return ""
    return f"{_are(hidden)} pulled out or hidden otherwise; see `artemis pullouts` and `artemis explain`"


def _are(count: int) -> str:
    return f"{counted(count, 'instance')} {'is' if count == 1 else 'are'}"
