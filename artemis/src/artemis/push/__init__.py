"""What callers are told of changes: cursors, the change log, and the stream that subscribers hang on. Pure code."""

from artemis.push.changes import EVERYTHING, SeenChange, changes_json, java_change, native_message
from artemis.push.cursor import (
    MAX_CURSOR,
    NOTHING,
    BadCursor,
    Cursor,
    Positions,
    decode_cursor,
    encode_cursor,
    read_cursor,
)
from artemis.push.delta import ServicesDeltaAnswer
from artemis.push.limits import PushCounters, PushLimits
from artemis.push.log import ChangeLog, LogCounters, Missed
from artemis.push.stream import ChangeStream, Reached
from artemis.push.subscriber import Subscriber
from artemis.push.telling import Dialect

__all__ = [
    "EVERYTHING",
    "MAX_CURSOR",
    "NOTHING",
    "BadCursor",
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
    "changes_json",
    "decode_cursor",
    "encode_cursor",
    "java_change",
    "native_message",
    "read_cursor",
]
