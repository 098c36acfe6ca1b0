"""The form of log records: fields for machines beside the words for people."""

import dataclasses
import io
import json
import logging
from types import UnionType
from typing import get_args

import pytest
import structlog

from artemis import ArtemisClient, ClientOptions, Instance, RefusedError
from artemis.client import (
    AnswerDoubted,
    ClientEvent,
    ConnectionState,
    HeartbeatFailed,
    LookupFailed,
    NodeSwitched,
    RegistrationRefused,
    StateChanged,
    UnreachableError,
)
from artemis.client.telemetry import LogTelemetry, event_fields, fields
from artemis.client.telemetry.logs import action_of
from artemis.client.trouble import Trouble

ORDERS = Instance(service_id="orders", instance_id="one", ip="10.0.0.1", port=80)
REFUSED = RefusedError("http://n1", "registry/heartbeat.json", "rate-limited", "slow down")


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (
            StateChanged(ConnectionState.CONNECTED, ConnectionState.LOST, "silence"),
            {"action": "state-changed", "old": "connected", "new": "lost", "reason": "silence"},
        ),
        (NodeSwitched("a", "b", "gone"), {"action": "node-switched", "old": "a", "new": "b", "reason": "gone"}),
        (
            RegistrationRefused(ORDERS, "bad-request", "no url"),
            {
                "action": "registration-refused",
                "service_id": "orders",
                "instance_id": "one",
                "error_code": "bad-request",
                "reason": "no url",
            },
        ),
        (
            HeartbeatFailed(REFUSED),
            {
                "action": "heartbeat-failed",
                "error": str(REFUSED),
                "error_code": "rate-limited",
                "node": "http://n1",
            },
        ),
        (
            LookupFailed(("a", "b"), UnreachableError("x", [])),
            {"action": "lookup-failed", "service_ids": ["a", "b"], "error": str(UnreachableError("x", []))},
        ),
        (
            AnswerDoubted("orders", (ORDERS,), "half is gone"),
            {
                "action": "answer-doubted",
                "service_id": "orders",
                "instance_ids": ["one"],
                "count": 1,
                "reason": "half is gone",
            },
        ),
    ],
)
def test_an_event_has_flat_fields(event: ClientEvent, expected: dict[str, object]) -> None:
    """Instances by their ids, states by their values, errors in words and with their codes."""
    assert expected == event_fields(event)


def test_no_field_of_any_event_is_one_that_logging_keeps_for_itself() -> None:
    """A record can be made of each."""
    record = vars(logging.makeLogRecord({}))
    assert isinstance(ClientEvent, UnionType)
    for kind in get_args(ClientEvent):
        found = event_fields(kind(*["x" for _ in dataclasses.fields(kind)]))
        assert not set(found) & set(record), kind
        assert action_of(kind) == found["action"]


def test_fields_that_are_not_known_are_left_out() -> None:
    """What remains says what it was about."""
    assert {"action": "x"} == fields("x")
    assert {"action": "x", "node": "n", "operation": "o", "service_ids": ["a"], "count": 0} == fields(
        "x", node="n", operation="o", service_ids=("a",), count=0
    )
    assert {"action": "x", "service_id": "orders", "instance_id": "one", "error": "boom", "reason": "r"} == fields(
        "x", instance=ORDERS, error=ValueError("boom"), reason="r"
    )


def test_records_of_the_sdk_itself_have_fields(caplog: pytest.LogCaptureFixture) -> None:
    """Trouble says what failed, where and with which code, and when it is over how often it had been met."""
    trouble = Trouble("heartbeat", logging.getLogger("artemis.client"))
    trouble.met(REFUSED)
    trouble.met(REFUSED)
    trouble.over()
    failed, over = (vars(record) for record in caplog.records)
    assert ("heartbeat-failed", "http://n1", "rate-limited") == (failed["action"], failed["node"], failed["error_code"])
    assert ("heartbeat-works", 2) == (over["action"], over["count"])


async def test_events_become_records_that_structlog_shows_as_json(
    node_url: str, quick: ClientOptions, service_id: str
) -> None:
    """With `ExtraAdder` the fields are members of the object."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), structlog.stdlib.add_log_level],
        )
    )
    logger = logging.getLogger("test.artemis.telemetry")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        telemetry = LogTelemetry(logger)
        async with (
            ArtemisClient(servers=[node_url], region_id="local", options=quick, telemetry=telemetry) as client,
            client.registered(Instance(service_id=service_id, zone_id="zone1", ip="127.0.0.1", port=7)),
        ):
            pass
    finally:
        logger.removeHandler(handler)
    records = [json.loads(line) for line in written.getvalue().splitlines()]
    registered = next(record for record in records if record["action"] == "registered")
    assert (service_id, "127.0.0.1:7", False, "info") == (
        registered["service_id"],
        registered["instance_id"],
        registered["again"],
        registered["level"],
    )
    assert "registered: " in registered["event"]


def test_what_needs_attention_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """The way back is information."""
    telemetry = LogTelemetry()
    with caplog.at_level(logging.INFO, "artemis.client"):
        telemetry.event(StateChanged(ConnectionState.CONNECTED, ConnectionState.SUSPENDED, "silence"))
        telemetry.event(StateChanged(ConnectionState.SUSPENDED, ConnectionState.CONNECTED, "an answer"))
        telemetry.event(HeartbeatFailed(REFUSED))
    assert [logging.WARNING, logging.INFO, logging.WARNING] == [record.levelno for record in caplog.records]
