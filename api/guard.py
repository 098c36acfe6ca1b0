"""Compares what is recorded with what there is, and says what to do. Pure: sources and files come in as values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from api.changes import Change, compare
from api.record import Record
from api.versions import next_adding, next_breaking, reaches

if TYPE_CHECKING:
    from api.surface import Surface


class Verdict(msgspec.Struct, frozen=True):
    """What to do about a difference.

    refusals: changes that the version does not allow. stale: those that are not recorded yet. record: what to write.
    reason: what is wrong, in a sentence that says what to do; empty when nothing is. renewable: whether writing the
    record is a way out.
    """

    refusals: list[Change]
    stale: list[Change]
    record: Record
    reason: str = ""
    renewable: bool = True


def first(surface: Surface, version: str, *, released: bool) -> Record:
    """The record of a distribution that has none: everything that there is becomes promised."""
    return Record(version, released, surface, surface)


def judge(record: Record, surface: Surface, version: str, *, released: bool) -> Verdict:
    """Whether `surface`, of `version`, keeps what is promised and is recorded. released: that version is out."""
    if released and reaches(version, record.version) and not (record.released and version == record.version):
        return _at_release(record, surface, version)
    changes = compare(record.promised, surface)
    breaking = [change for change in changes if change.breaking]
    stale = compare(record.present, surface)
    renewed = Record(record.version, record.released, record.promised, surface)
    if breaking and not reaches(version, next_breaking(record.version)):
        return Verdict(breaking, stale, renewed, _refused(breaking, record, version), renewable=False)
    if record.released and changes and not reaches(version, next_adding(record.version)):
        reason = (
            f"{record.version} is out as it was; what comes after needs a version of its own: "
            f"{next_adding(record.version)} in _version.py."
        )
        return Verdict([], stale, renewed, reason, renewable=False)
    if surface != record.present:
        return Verdict(
            [], stale, renewed, "The record does not show this yet; run `make api` and commit what it writes."
        )
    return Verdict([], [], renewed)


def _at_release(record: Record, surface: Surface, version: str) -> Verdict:
    """A version that the changelog has got since: it may break no more than it says, and is promised from now on."""
    breaking = [change for change in compare(record.promised, surface) if change.breaking]
    stale = compare(record.present, surface)
    renewed = Record(version, released=True, promised=surface, present=surface)
    if breaking and not reaches(version, next_breaking(record.version)):
        return Verdict(breaking, stale, renewed, _refused(breaking, record, version), renewable=False)
    reason = f"{version} is released, and its API is promised from now on; run `make api` and commit what it writes."
    return Verdict([], stale, renewed, reason)


def _refused(breaking: list[Change], record: Record, version: str) -> str:
    things = "This breaks" if len(breaking) == 1 else f"These {len(breaking)} changes break"
    return (
        f"{things} code written for {record.version}, and the version is {version}. Keep the old way beside the new "
        f"one; or say {next_breaking(record.version)} in _version.py, tell in CHANGELOG.md how to adapt, and run "
        "`make api`."
    )
