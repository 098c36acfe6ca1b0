"""What callers are told of changes: cursors, the change log, and the stream that subscribers hang on. Pure code."""

from artemis.model.cursors import (
    FEDERATED,
    MAX_CURSOR,
    NOTHING,
    BadCursor,
    Cursor,
    decode_cursor,
    encode_cursor,
    read_cursor,
)
from artemis.push.catching_up import CatchingUp, Wait
from artemis.push.changes import EVERYTHING, SeenChange, changes_json, java_change, native_message
from artemis.push.cursor import Positions
from artemis.push.delta import ServicesDeltaAnswer
from artemis.push.entries import LogCounters, Missed
from artemis.push.limits import PushCounters, PushLimits
from artemis.push.log import ChangeLog
from artemis.push.stream import ChangeStream, Reached
from artemis.push.subscriber import Subscriber
from artemis.push.telling import Dialect
from artemis.push.touches import Alterations, Touched

__all__ = [
    "EVERYTHING",
    "FEDERATED",
    "MAX_CURSOR",
    "NOTHING",
    "Alterations",
    "BadCursor",
    "CatchingUp",
    "ChangeLog",
    "ChangeStream",
    "Cursor",
    "Dialect",
    "LogCounters",
    "Missed",
    "Positions",
    "PushCounters",
    "PushLimits",
    "Reached",
    "SeenChange",
    "ServicesDeltaAnswer",
    "Subscriber",
    "Touched",
    "Wait",
    "changes_json",
    "decode_cursor",
    "encode_cursor",
    "java_change",
    "native_message",
    "read_cursor",
]
