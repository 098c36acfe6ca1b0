"""Scripts that register themselves, as processes of their own."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator

import pytest

from artemis import Instance, UnreachableError
from artemis.script import registered
from artemis.sync import ArtemisClient

PATIENCE = 60.0
TERMINATED = 143

PROGRAM = """
    import asyncio, sys, time
    from artemis import Instance
    from artemis.script import registered

    @registered(Instance(service_id=sys.argv[1], ip="127.0.0.1", port=9000))
    {function}

    {call}
"""
PLAIN = 'def main():\n        print("running", flush=True)\n        {body}'
ASYNC = 'async def main():\n        print("running", flush=True)\n        {body}'


@pytest.fixture
def blocking(node_url: str) -> Iterator[ArtemisClient]:
    """Open a client to look with."""
    with ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1") as one:
        yield one


def start(node_url: str, service_id: str, function: str, call: str) -> subprocess.Popen[str]:
    """Start a script and wait until its main function runs."""
    place = {"ARTEMIS_SERVERS": f"{node_url}, {node_url}", "ARTEMIS_REGION": "local", "ARTEMIS_ZONE": "zone1"}
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM.format(function=function, call=call)), service_id],
        stdout=subprocess.PIPE,
        env=os.environ | place,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    return process


def live(client: ArtemisClient, service_id: str) -> int:
    return len(client.api.lookup([service_id])[0].instances or ())


KINDS = pytest.mark.parametrize(
    ("function", "wait", "call"),
    [(PLAIN, "time.sleep(60)", "main()"), (ASYNC, "await asyncio.sleep(60)", "asyncio.run(main())")],
    ids=["plain", "async"],
)


@KINDS
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_script_and_takes_it_out(
    node_url: str,
    blocking: ArtemisClient,
    service_id: str,
    function: str,
    wait: str,
    call: str,
    number: signal.Signals,
) -> None:
    """SIGTERM leaves the code that shells know for it, Ctrl-C what Python makes of it."""
    with start(node_url, service_id, function.format(body=wait), call) as process:
        assert live(blocking, service_id) == 1
        process.send_signal(number)
        code = process.wait(PATIENCE)
    assert code == (TERMINATED if number is signal.SIGTERM else -signal.SIGINT)
    assert live(blocking, service_id) == 0


@KINDS
def test_a_script_that_ends_is_out(
    node_url: str, blocking: ArtemisClient, service_id: str, function: str, wait: str, call: str
) -> None:
    """Also when its main function raises, which comes out as it is."""
    with start(node_url, service_id, function.format(body="raise SystemExit(7)"), call) as process:
        assert process.wait(PATIENCE) == 7
    assert live(blocking, service_id) == 0


def test_arguments_and_answers_pass_through(node_url: str, blocking: ArtemisClient, service_id: str) -> None:
    """In any thread, and as often as it is called; the handling of SIGTERM is as it was."""
    me = Instance(service_id=service_id, ip="127.0.0.1", port=9000)

    @registered(me, servers=[node_url], region_id="local", zone_id="zone1")
    def main(one: int, *, two: int) -> tuple[int, int]:
        """Say hello."""
        return one + two, live(blocking, service_id)

    @registered(me, servers=[node_url], region_id="local", zone_id="zone1")
    async def amain(one: int) -> tuple[int, int]:
        return one, live(blocking, service_id)

    before = signal.getsignal(signal.SIGTERM)
    assert (main(1, two=2), main.__doc__) == ((3, 1), "Say hello.")
    assert asyncio.run(amain(4)) == (4, 1)
    thread = threading.Thread(target=main, args=(1,), kwargs={"two": 2})
    thread.start()
    thread.join(PATIENCE)
    assert signal.getsignal(signal.SIGTERM) is before
    assert live(blocking, service_id) == 0


def test_without_a_registry_it_does_not_run_unless_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that nobody gave, one where nobody is, and an instance that was forgotten."""
    monkeypatch.delenv("ARTEMIS_SERVERS", raising=False)
    me = Instance(service_id="orders", region_id="local", zone_id="zone1", ip="127.0.0.1", port=9000)

    @registered(me)
    def nowhere() -> None:
        pytest.fail("it ran")  # pragma: no cover

    with pytest.raises(ValueError, match="ARTEMIS_SERVERS"):
        nowhere()
    monkeypatch.setenv("ARTEMIS_SERVERS", "http://127.0.0.1:9")
    with pytest.raises(UnreachableError):
        nowhere()
    with pytest.raises(ValueError, match="at least one"):
        registered()
    with pytest.raises(TypeError, match="makes the client itself"):
        registered(ArtemisClient(servers=["http://127.0.0.1:9"]), me)  # type: ignore[arg-type]

    @registered(me, required=False)
    def anyway() -> float:
        return time.monotonic()

    assert anyway() > 0
