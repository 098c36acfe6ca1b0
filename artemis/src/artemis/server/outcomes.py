"""Outcomes that several operations share: what became of each instance of a request (spec 1.2, 1.4, 2.1).

Not here: the decisions, which are the node's (`node`) and the handlers'.
"""

from artemis.model import FailedInstance, Instance, RegistryResponse
from artemis.model.instances import instance_text
from artemis.model.responses import INTERNAL_SERVICE_ERROR, NO_PERMISSION, PARTIAL_FAIL, SUCCESS
from artemis.registry import RegistryError, WrongRegion
from artemis.server.versions import Versions

REGISTRY_SUCCESS = RegistryResponse(response_status=SUCCESS)
"""The answer of every registry operation in which nothing failed; one object, so that doors keep its bytes."""

NOT_EXISTING = "Instance is not exising! Need re-register."
"""The original's text, spelt as there."""


def outcome(failed: list[FailedInstance | None], versions: Versions | None = None) -> RegistryResponse:
    """Return the answer of a registry operation: `partial_fail` as soon as one instance failed, even if all did.

    It names versions if the client does, and not the same ones.
    """
    if versions is not None and versions.news:
        status = PARTIAL_FAIL if failed else SUCCESS
        return RegistryResponse(failed_instances=failed or None, response_status=status, versions=versions.told)
    if not failed:
        return REGISTRY_SUCCESS
    return RegistryResponse(failed_instances=failed, response_status=PARTIAL_FAIL)


def refused(instance: Instance, error: RegistryError) -> FailedInstance:
    """Return an instance that the registry refused, with the code and the text of the original."""
    if isinstance(error, WrongRegion):
        return failed_instance(instance, NO_PERMISSION, str(error))
    return failed_instance(instance, INTERNAL_SERVICE_ERROR, f"Exception: {error}")


def failed_instance(instance: Instance, code: str, reason: str) -> FailedInstance:
    """Return a failed instance; its message starts with the text form of the instance (spec 1.4)."""
    return FailedInstance(error_code=code, error_message=f"{instance_text(instance)}: {reason}", instance=instance)


def not_ours(what: str, asked: str | None, ours: str) -> str:
    """Say that a request is for another `what`, region or zone, than `ours`."""
    if not asked:
        return f"{what}Id is missing; this node serves the {what} {ours!r}"
    return f"{what} {asked!r} is not the {what} {ours!r} of this node"
