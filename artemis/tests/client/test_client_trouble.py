"""What a client logs of an outage: its beginning and its end."""

import asyncio
import logging

import pytest

from artemis import (
    ArtemisClient,
    Attempt,
    ClientOptions,
    HeartbeatFailed,
    Instance,
    LookupFailed,
    RefusedError,
    UnreachableError,
)
from artemis.client.trouble import Trouble
from artemis.testing import running_node

PATIENCE = 60.0


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged."""
    return [record.getMessage() for record in caplog.records]


def unreachable(reason: str) -> UnreachableError:
    """Build the error of a call that nobody answered."""
    return UnreachableError("registry/heartbeat.json", [Attempt("http://n", reason)])


def test_trouble_is_logged_when_it_begins_changes_its_kind_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    """Repetitions are counted; success without trouble before is no news."""
    trouble = Trouble("heartbeat", logging.getLogger("artemis.client"))
    trouble.over()
    for reason in ("one", "two", "three"):
        trouble.met(unreachable(reason))
    trouble.met(RefusedError("http://n", "registry/heartbeat.json", "no-permission", "why"))
    trouble.met(RefusedError("http://n", "registry/heartbeat.json", "no-permission", "why else"))
    trouble.over()
    trouble.over()
    begun = "heartbeat failed, and is tried again until it works"
    assert messages(caplog) == [
        f"{begun}: no registry node answered registry/heartbeat.json: http://n: one",
        f"{begun}: http://n refused registry/heartbeat.json: no-permission: why",
        "heartbeat works again after 5 failures",
    ]
    trouble.met(unreachable("next"))
    assert len(messages(caplog)) == 4
    trouble.over()
    assert messages(caplog)[-1] == "heartbeat works again after 1 failure"


class Log(logging.Handler):
    """What a client warns of, to be waited for, however much else the process logs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.whole: list[str] = []
        self.told: list[str] = []
        self._more = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a message in, without what varies."""
        self.whole.append(record.getMessage())
        self.told.append(self.whole[-1].split(":")[0].split(" after ")[0])
        self._more.set()

    async def holds(self, count: int) -> None:
        """Wait for so many messages."""
        async with asyncio.timeout(PATIENCE):
            while len(self.told) < count:
                self._more.clear()
                await self._more.wait()


async def test_an_outage_is_two_lines_for_each_loop(quick: ClientOptions) -> None:
    """However many heartbeats and lookups failed meanwhile."""
    log = Log()
    logger = logging.getLogger("artemis.client")
    logger.addHandler(log)
    try:
        async with (
            running_node() as node,
            ArtemisClient(servers=[node.url], region_id="local", zone_id="zone1", options=quick) as client,
            client.registered(Instance(service_id="orders", ip="127.0.0.1", port=1)),
        ):
            # Another service than that of the registration: the guard has a line of its own for what is missed.
            await client.service("prices")
            events = client.events()
            await asyncio.to_thread(node.kill)
            heartbeats = lookups = 0
            async with asyncio.timeout(PATIENCE):
                while heartbeats < 3 or lookups < 3:
                    event = await anext(events)
                    heartbeats += isinstance(event, HeartbeatFailed)
                    lookups += isinstance(event, LookupFailed)
            await asyncio.to_thread(node.restart)
            await log.holds(4)
    finally:
        logger.removeHandler(log)
    begun = "failed, and is tried again until it works"
    lines = [f"heartbeat {begun}", "heartbeat works again", f"lookup {begun}", "lookup works again"]
    assert lines == sorted(log.told), log.whole
