"""`artemis doctor` on a machine of several workers, of which one stands still."""

import signal
import sys

import pytest
from worker_machines import machine
from worker_waits import command, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="connections are spread over workers on Linux")


async def test_a_worker_that_stands_still_is_named_whichever_answers():
    """The command asks again where its connection came to that one, and says which process it is."""
    async with machine() as running:
        first, second = await running.at_each()

        async def stands_still() -> bool:
            workers = (await first.ask("/api/v1/node/vitals")).json()["workers"]
            return any(each["silentMs"] > 2_500 for each in workers)  # type: ignore[index,attr-defined]

        well = await command("doctor", "--server", running.url)
        stopped = running.signal(1, signal.SIGSTOP)
        await until(stands_still, expected=True)
        code, said = await command("doctor", "--server", running.url)
        assert (0, 1) == (well[0], code), said
        assert f"FAIL  status: worker 1 of {running.url}, process {stopped}, has stood still for" in said
        await second.close()
