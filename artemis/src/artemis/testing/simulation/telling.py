"""Says what records and messages are, in few words, for those who look at a broken law."""

from __future__ import annotations

from collections.abc import Sequence

from artemis.cluster import Changes, Farewell, InstanceRow, Message, OperationRow, Repair
from artemis.cluster.engine.entries import BadEntry, MemberRow, decode_entry
from artemis.cluster.engine.port import Stored, Told
from artemis.cluster.messages import Part
from artemis.registry import Record, Stamp
from artemis.testing.simulation.plan import EPOCH
from artemis.testing.simulation.process import Process


def record_at(process: Process, key: tuple[str, str]) -> Record | None:
    """Return the record that a node has of a service and instance id."""
    lease = process.node.registry.find(*key)
    return None if lease is None else lease.record


def told_record(record: Record | None) -> str:
    """Say what a record is."""
    if record is None:
        return "nothing"
    state = "removed" if record.removed else "live" if record.live else "expired"
    dots = [(dot.origin.node, dot.origin.epoch, dot.seq) for dot in record.dots]
    return (
        f"{record.key[2]}({state} v={_stamp(record.version)} renewed={_stamp(record.renewed)} "
        f"expired={_stamp(record.expired)} asserted={_stamp(record.asserted)} dots={_parts(dots)})"
    )


def told_message(message: Message) -> str | None:
    """Say what a message tells; None for those that come all the time and tell nothing."""
    match message:
        case Changes():
            rows = " ".join(map(_row, message.rows))
            return f"changes {message.node}/{_epoch(message.epoch)}:{message.first} {rows}"
        case Repair():
            if not message.index and message.last and not message.buckets:
                return None
            state = ""
            if not message.index:
                base = " ".join(f"{node}/{_epoch(epoch)}" for node, epoch in message.base)
                state = f"vector=[{_parts(message.vector)}] base=[{base}] floor=[{_parts(message.floor)}] "
            rows = " ".join(map(_row, message.rows))
            return f"repair {message.request % 2**20}.{message.index}{'.' if message.last else ''} {state}{rows}"
        case Farewell():
            return f"farewell {message.node}/{_epoch(message.epoch)}{' leaving' if message.leaving else ''}"
        case _:
            return None


def told_value(key: str, data: bytes) -> str:
    """Say what an entry of a bucket tells."""
    try:
        value = decode_entry(key, data)
    except BadEntry as error:
        return f"nothing that can be read: {error}"
    if not isinstance(value, MemberRow):
        return _row(value)
    stored = " ".join(f"{_epoch(epoch)}:{seq}" for epoch, seq in value.stored)
    base = " ".join(f"{node}/{_epoch(epoch)}" for node, epoch in value.base)
    return (
        f"{value.node}/{_epoch(value.epoch)} stored=[{stored}] base=[{base}] floor=[{_parts(value.floor)}] "
        f"others=[{_parts(value.others)}] of {value.bucket}{' left' if value.left else ''}"
    )


def told_marker(message: Told) -> str | None:
    """Say what a node tells without the bucket; None for what comes all the time."""
    if not isinstance(message, Stored):
        return None
    return f"{message.node}/{_epoch(message.epoch)}:{message.reached} is in {message.bucket} up to {message.sequence}"


def _row(row: InstanceRow | OperationRow | None) -> str:
    if row is None:
        return "-"
    if isinstance(row, OperationRow):
        state = "completed" if row.removed else "set"
        return f"{row.service}/{row.target} {row.operation}({state} v={_stamp(row.version)} dots={_parts(row.dots)})"
    state = "removed" if row.removed else "live" if row.renewed > row.expired else "expired"
    return (
        f"{row.instance}({state} v={_stamp(row.version)} renewed={_stamp(row.renewed)} expired={_stamp(row.expired)} "
        f"asserted={_stamp(row.asserted)} age={row.age} dots={_parts(row.dots)})"
    )


def _stamp(stamp: Stamp) -> str:
    """Say a stamp in milliseconds of the world, with what the clock had to add."""
    if not stamp[0]:
        return "0"
    at, more = divmod(stamp[0] - EPOCH * 1000, 1000)
    return f"{at}{f'+{more}' if more else ''}@{stamp[1]}"


def _parts(parts: Sequence[Part]) -> str:
    return " ".join(f"{node}/{_epoch(epoch)}:{seq}" for node, epoch, seq in parts)


def _epoch(epoch: int) -> int:
    """Say an epoch as the moment of the world in which a right clock would have given it."""
    return epoch - EPOCH
