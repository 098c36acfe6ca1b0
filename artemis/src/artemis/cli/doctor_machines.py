"""What `artemis doctor` finds in how nodes stand on their machines: queues, disks, files, certificates. Pure.

Not here: how the nodes stand with each other (`doctor_checks`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from artemis.cli.doctor_checks import Examined, Finding, Level
from artemis.cli.output import counted
from artemis.cli.overview import duration_text

_LITTLE, _NOTHING = 0.10, 0.02
"""Shares of a disk that are left at which a word, and at which more than a word is due."""

_MANY = 0.80
_SOON = 14 * 86_400
_WAITING = 1_000
"""Messages for one peer that wait, beyond which it is slow."""

_OVERFLOWS = {
    "overflows": "a queue to a peer was dropped, and repaired by an exchange",
    "heldDropped": "changes that waited for others were lost, and repaired by an exchange",
    "oversized": "a message was too large to be sent",
    "failures": "the mesh failed at something; see the log",
}
_REFUSED = {
    "connectionsRefused": ("connections were refused beyond --max-connections", "raise it, or add nodes"),
    "instancesRefused": ("registrations were refused beyond --max-instances", "raise it"),
    "operationsRefused": ("operations were refused beyond --max-operations", "complete some, or raise it"),
    "snapshotsFailed": ("snapshots could not be written", "see the log and the disk"),
    "subscribersDropped": ("subscribers fell too far behind", "they have come back; see which are slow"),
    "sweptEarly": ("removed instances were forgotten before their time", "see `artemis_registry_events_total`"),
}


def queues(nodes: Sequence[Examined]) -> Iterator[Finding]:
    """What overflowed or was refused since the start, and what waits for a slow peer."""
    for node in nodes:
        view, vitals = node.seen.view, node.vitals
        if view is not None:
            for member in view.members or ():
                if member.queued > _WAITING:
                    text = f"{counted(member.queued, 'message')} of {node.url} wait for {member.url}"
                    yield Finding("queues", Level.WARN, text, "that node or the network to it is slow")
            for name, what in _OVERFLOWS.items():
                count = (view.counters or {}).get(name, 0)
                if count:
                    yield Finding("queues", Level.WARN, f"{node.url}: {what}, {counted(count, 'time')} since its start")
        if vitals is not None:
            for name, (what, advice) in _REFUSED.items():
                count = (vitals.counters or {}).get(name, 0)
                if count:
                    yield Finding("queues", Level.WARN, f"{node.url}: {count} {what} since its start", advice)
            if vitals.pauses:
                text = f"{node.url} stood still {counted(vitals.pauses, 'time')} since its start"
                yield Finding("queues", Level.WARN, text, "its machine is overloaded, suspended or migrated")


def machines(nodes: Sequence[Examined]) -> Iterator[Finding]:
    """Disks that are full, files that run out."""
    for node in nodes:
        vitals = node.vitals
        if vitals is None:
            continue
        if vitals.data_free is not None and vitals.data_total:
            left = vitals.data_free / vitals.data_total
            if left < _LITTLE:
                text = f"the disk of the data directory of {node.url} has {left:.0%} left, {vitals.data_free >> 20} MiB"
                yield Finding("machines", Level.FAIL if left < _NOTHING else Level.WARN, text, "make room")
        if vitals.files_open is not None and vitals.files_limit and vitals.files_open > _MANY * vitals.files_limit:
            text = f"{node.url} has {vitals.files_open} of {vitals.files_limit} files open"
            yield Finding("machines", Level.WARN, text, "raise the limit (ulimit -n, LimitNOFILE), or add nodes")


def certificates(now: float) -> Callable[[Sequence[Examined]], Iterable[Finding]]:
    """Return the check of certificates that end soon; `now` is seconds since 1970."""

    def look(nodes: Sequence[Examined]) -> Iterator[Finding]:
        for node in nodes:
            expires = None if node.vitals is None else node.vitals.certificate_expires
            if expires is None:
                continue
            left = expires - now
            advice = "put a new one in its place; it is read while the node runs"
            if left <= 0:
                yield Finding("certificates", Level.FAIL, f"the certificate of {node.url} has expired", advice)
            elif left < _SOON:
                text = f"the certificate of {node.url} ends in {duration_text(round(left * 1000))}"
                yield Finding("certificates", Level.WARN, text, advice)

    return look
