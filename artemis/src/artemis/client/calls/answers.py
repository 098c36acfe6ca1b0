"""Whether what a node sent is an answer to what it was asked. Anything else is worth no more than silence.

Pure: the bytes and the request come in, the answer or `UnusableAnswer` goes out. Not here: whether to try again, see
`attempts`; what an answer means for leases and services, see `artemis.client.registration` and `.discovery`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import msgspec

from artemis.client.names import instance_key, service_key
from artemis.model import (
    LookupResponse,
    MalformedBody,
    NodeStatusResponse,
    RegistryResponse,
    ServicesResponse,
    ToldResponse,
    decode,
)
from artemis.model.cluster import UpNodesResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from artemis.model import (
        LookupRequest,
        NodeStatusRequest,
        RegistryRequest,
        ResponseStatus,
        ServicesRequest,
        ToldRequest,
    )
    from artemis.model.cluster import UpNodesRequest

STATUSES: Final = frozenset({"success", "fail", "partial_fail"})
"""What a node says about the outcome (spec 1.2), in exactly this spelling."""

AnswerT = TypeVar(
    "AnswerT", RegistryResponse, LookupResponse, ServicesResponse, NodeStatusResponse, ToldResponse, UpNodesResponse
)
RequestT = TypeVar("RequestT", bound=msgspec.Struct)


class UnusableAnswer(Exception):  # noqa: N818 - an outcome that never leaves the SDK, not an error for its users
    """What came is no answer to the request; the text says why in words for people."""


@dataclass(frozen=True, slots=True)
class Endpoint(Generic[RequestT, AnswerT]):
    """An operation of the nodes: its path below ``/api/``, the type of its answer, and what that has to contain.

    ``check`` gets a request and an answer that is not ``fail``, and raises ``UnusableAnswer`` if they do not match.
    """

    path: str
    answer: type[AnswerT]
    check: Callable[[RequestT, AnswerT], None]

    def read(self, request: RequestT, raw: bytes) -> AnswerT:
        """Return the answer to ``request`` that ``raw`` holds, be it yes or no.

        Raises ``UnusableAnswer`` for what is no such answer, has none of the three statuses, or says yes without saying
        what was asked for.
        """
        try:
            answer = decode(self.answer, raw)
        except MalformedBody as error:
            raise UnusableAnswer(f"the answer is not one of a registry node ({error})") from error
        if answer is None or answer.response_status.status is None:
            raise UnusableAnswer("the answer has no responseStatus; is this a registry node?")
        status = answer.response_status.status
        if status not in STATUSES:
            raise UnusableAnswer(f"the answer's status is {status[:40]!r}, not success, fail or partial_fail")
        if status != "fail":
            self.check(request, answer)
        return answer


def check_written(request: RegistryRequest, answer: RegistryResponse) -> None:
    """Check an answer to register, heartbeat or unregister: each failure is about an instance of the request.

    Whatever is not named counts as done (spec 2.1), so a failure of nobody in particular could be anybody's.
    """
    failed = answer.failed_instances
    if failed:
        sent = {instance_key(instance) for instance in request.instances or () if instance is not None}
        for failure in failed:
            if failure is None or failure.instance is None or instance_key(failure.instance) not in sent:
                raise UnusableAnswer("the answer reports the failure of an instance that was not in the request")
    elif answer.response_status.status == "partial_fail":
        raise UnusableAnswer("the answer is a partial_fail that does not say which instances failed")


def check_looked_up(request: LookupRequest, answer: LookupResponse) -> None:
    """Check an answer to lookup: it shows every service of the request, an unknown one too (spec 2.2)."""
    _check_whole(answer.response_status)
    shown = {service_key(service.service_id) for service in answer.services or () if service is not None}
    asked = [config.service_id for config in request.discovery_configs or () if config is not None]
    missing = [name for name in asked if service_key(name) and service_key(name) not in shown]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise UnusableAnswer(f"the answer does not show the service {missing[0]!r}{more}")


def check_listed(request: ServicesRequest, answer: ServicesResponse) -> None:  # noqa: ARG001 - one shape for all checks
    """Check an answer to services: the list is there; it may be empty."""
    _check_whole(answer.response_status)
    if answer.services is None:
        raise UnusableAnswer("the answer has no services")


def check_told(request: NodeStatusRequest, answer: NodeStatusResponse) -> None:  # noqa: ARG001 - one shape for all checks
    """Check an answer to the node status: it says a status (spec 2.4)."""
    _check_whole(answer.response_status)
    told = answer.node_status
    if told is None or not (told.status or "").strip():
        raise UnusableAnswer("the answer has no nodeStatus")


def check_named(request: UpNodesRequest, answer: UpNodesResponse) -> None:  # noqa: ARG001 - one shape for all checks
    """Check an answer to the lookup of nodes: the list is there (spec 2.3)."""
    _check_whole(answer.response_status)
    if answer.nodes is None:
        raise UnusableAnswer("the answer has no nodes")


def check_counted(request: ToldRequest, answer: ToldResponse) -> None:  # noqa: ARG001 - one shape for all checks
    """Check an answer to told: either all have been told, or it says how many have not."""
    _check_whole(answer.response_status)
    if answer.waiting < 0 or answer.told != (answer.waiting == 0):
        raise UnusableAnswer(f"the answer has told {answer.told} and {answer.waiting} waiting")


def _check_whole(status: ResponseStatus) -> None:
    if status.status == "partial_fail":
        raise UnusableAnswer("the answer is a partial_fail, which this operation does not have")
