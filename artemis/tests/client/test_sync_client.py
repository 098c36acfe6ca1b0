"""The client for code that blocks, against a real node."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Queue

import pytest

from artemis import (
    ClientOptions,
    ClosedError,
    ConnectionState,
    Instance,
    InstanceChange,
    LeaseState,
    NoInstancesError,
    Registered,
    ServiceView,
    UnreachableError,
)
from artemis.sync import ArtemisClient
from artemis.testing import running_node_sync

PATIENCE = 60.0


@pytest.fixture
def blocking(node_url: str, quick: ClientOptions) -> Iterator[ArtemisClient]:
    """Open a client that blocks."""
    with ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1", options=quick) as one:
        yield one


def an_instance(service_id: str, port: int = 9000) -> Instance:
    return Instance(service_id=service_id, ip="127.0.0.1", port=port)


def client_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("artemis client")]


def test_a_service_registers_and_a_caller_finds_it(blocking: ArtemisClient, service_id: str) -> None:
    """With the words of the async client, less the awaiting."""
    with blocking.registered(an_instance(service_id)) as registration:
        assert (registration.state, blocking.status.leases) == (LeaseState.HELD, 1)
        assert registration.instance.url == "http://127.0.0.1:9000"
        assert blocking.service(service_id).instances == (registration.instance,)
        assert blocking.balancer(service_id).next() == registration.instance
        assert blocking.state is ConnectionState.CONNECTED
    assert registration.error == ""
    [left] = blocking.api.lookup([service_id])
    assert left.instances == []


def test_a_watch_tells_changes_and_ends_when_another_thread_closes_it(blocking: ArtemisClient, service_id: str) -> None:
    """Whoever waits in it comes out of the loop."""
    watch = blocking.watch(service_id)
    with blocking.registered(an_instance(service_id)):
        assert watch.next(timeout=PATIENCE).change_type == "new"
    assert next(watch).change_type == "delete"
    with ThreadPoolExecutor(1) as threads:
        rest = threads.submit(list, watch)
        watch.close()
        assert rest.result(PATIENCE) == []


def test_a_listener_may_block_on_the_client(blocking: ArtemisClient, service_id: str) -> None:
    """It runs in a thread of its own, and closing it ends it."""
    told: Queue[tuple[str, int]] = Queue()

    def hear(change: InstanceChange, view: ServiceView) -> None:
        told.put((change.change_type, len(blocking.service(view.service_id).instances)))

    with blocking.listen(service_id, hear) as listener:
        assert (listener.service_id, listener.closed) == (service_id, False)
        with blocking.registered(an_instance(service_id)):
            assert told.get(timeout=PATIENCE) == ("new", 1)
        assert told.get(timeout=PATIENCE) == ("delete", 0)
    assert listener.closed


def test_a_step_that_times_out_loses_nothing(blocking: ArtemisClient, service_id: str) -> None:
    """The next step finds what came meanwhile."""
    watch = blocking.watch(service_id)
    with pytest.raises(TimeoutError, match=r"not done within 0.05 s"):
        watch.next(timeout=0.05)
    with blocking.registered(an_instance(service_id)) as registration:
        assert watch.next(timeout=PATIENCE).instance == registration.instance


def test_events_arrive_and_end_with_the_client(node_url: str, quick: ClientOptions, service_id: str) -> None:
    """Closing the client ends whoever iterates, after what was waiting."""
    client = ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1", options=quick)
    with client:
        events = client.events()
        with client.registered(an_instance(service_id)) as registration:
            pass
        with ThreadPoolExecutor(1) as threads:
            told = threads.submit(list, events)
            client.close()
            assert Registered(registration.instance, again=False) in told.result(PATIENCE)


def test_events_that_were_waiting_are_there_after_the_end(node_url: str, quick: ClientOptions, service_id: str) -> None:
    """Whoever looks only when the client is closed misses nothing."""
    with ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1", options=quick) as client:
        events = client.events()
        with client.registered(an_instance(service_id)) as registration:
            pass
    assert Registered(registration.instance, again=False) in list(events)


def test_threads_use_one_client_together(blocking: ArtemisClient, service_id: str) -> None:
    """Registering, looking up and choosing at once."""

    def one(number: int) -> str | None:
        with blocking.registered(an_instance(service_id, 9100 + number)) as registration:
            blocking.service(service_id)
            blocking.api.lookup([service_id])
            return registration.instance.instance_id

    with ThreadPoolExecutor(8) as threads:
        ids = list(threads.map(one, range(16)))
    assert [f"127.0.0.1:{9100 + number}" for number in range(16)] == ids
    assert blocking.api.lookup([service_id])[0].instances == []


async def test_it_works_where_a_loop_runs(node_url: str, quick: ClientOptions, service_id: str) -> None:
    """The call blocks this loop for as long as it takes, and that is all."""
    with ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1", options=quick) as client:
        with client.registered(an_instance(service_id)):
            assert len(client.service(service_id).instances) == 1
        await asyncio.sleep(0)


def test_errors_come_out_as_themselves_with_the_stack_of_the_caller(quick: ClientOptions) -> None:
    """As if the caller's thread had done it."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with ArtemisClient(servers=[url], region_id="local", zone_id="zone1", options=quick) as client:
        with pytest.raises(UnreachableError) as caught:
            client.service("orders")
        assert caught.traceback[0].name == "test_errors_come_out_as_themselves_with_the_stack_of_the_caller"
        with pytest.raises(UnreachableError):
            client.balancer("orders").next()
        with pytest.raises(UnreachableError):
            client.registered(an_instance("orders")).__enter__()
        with pytest.raises(ValueError, match="blank"):
            client.watch(" ")


def test_a_balancer_waits_once_and_then_chooses_in_the_thread_of_the_caller(
    blocking: ArtemisClient, service_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No word goes to the loop once the service is known."""
    balancer = blocking.balancer(service_id, "random")
    with pytest.raises(NoInstancesError):
        balancer.next()
    watch = blocking.watch(service_id)
    with blocking.registered(an_instance(service_id)) as registration:
        watch.next(timeout=PATIENCE)
        assert balancer.next() == registration.instance
        monkeypatch.setattr("artemis.client.sync.loop.LoopThread.soon", lambda *_: pytest.fail("it went to the loop"))
        assert [balancer.next() for _ in range(100)] == [registration.instance] * 100
        monkeypatch.undo()


def test_a_timeout_ends_a_long_call(quick: ClientOptions) -> None:
    """The node accepts and says nothing; the caller has more to do."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with (
            ArtemisClient(servers=[url], region_id="local", zone_id="zone1", options=quick) as client,
            pytest.raises(TimeoutError, match=r"not done within 0.1 s"),
        ):
            client.service("orders", timeout=0.1)


def test_closing_refuses_whoever_waits(quick: ClientOptions) -> None:
    """A call that waits for a silent node comes back with `ClosedError` when another thread closes the client."""
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(1) as threads:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        client = ArtemisClient(servers=[url], region_id="local", zone_id="zone1")
        with client:
            waiting = threads.submit(client.api.services)
            connection, _ = silent.accept()
            with connection:
                client.close()
            with pytest.raises((ClosedError, UnreachableError)):
                waiting.result(PATIENCE)


def test_a_client_is_used_between_entering_and_leaving(node_url: str) -> None:
    """Before, after and twice are errors that say so; closing again is none."""
    client = ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1")
    assert client.state is ConnectionState.SUSPENDED
    assert client.server == node_url
    with pytest.raises(ClosedError, match="`with`"):
        client.service("orders")
    client.open()
    client.close()
    client.close()
    with pytest.raises(ClosedError):
        client.service("orders")
    with pytest.raises(RuntimeError, match="once"):
        client.open()
    with pytest.raises(TypeError, match="list of URLs"):
        ArtemisClient(servers=node_url)


def test_closing_ends_the_thread(node_url: str, service_id: str) -> None:
    """Nothing of a closed client runs on."""
    with ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1") as client:
        client.service(service_id)
        assert client_threads() != []
    assert client_threads() == []


def test_a_dropped_client_warns_and_ends(node_url: str, blocking: ArtemisClient, service_id: str) -> None:
    """Its instances are taken out too."""
    client = ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1")
    client.open()
    held: list[object] = [client, client.registered(an_instance(service_id)).__enter__()]
    watch = blocking.watch(service_id)
    assert watch.next(timeout=PATIENCE).change_type == "new"
    del client
    with pytest.warns(ResourceWarning, match="unclosed ArtemisClient"):
        held.clear()
    assert watch.next(timeout=PATIENCE).change_type == "delete"


def test_a_coroutine_of_the_client_may_not_block_on_it(blocking: ArtemisClient, service_id: str) -> None:
    """It would wait for itself for ever; so it is told."""

    async def call(_: object) -> None:
        blocking.service(service_id)

    with pytest.raises(RuntimeError, match="wait for itself"):
        blocking._work.run(call)


def run_program(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), *arguments], stdout=subprocess.PIPE, text=True
    )


def test_the_end_of_a_program_unregisters(node_url: str, blocking: ArtemisClient, service_id: str) -> None:
    """Nobody closed the client; resolving the registry's name at that time is no trouble."""
    program = """
        import sys
        from artemis import Instance
        from artemis.sync import ArtemisClient
        url = sys.argv[1].replace("127.0.0.1", "localhost")
        client = ArtemisClient(servers=[url], region_id="local", zone_id="zone1")
        client.open()
        client.registered(Instance(service_id=sys.argv[2], ip="127.0.0.1", port=9000)).__enter__()
        print(len(client.service(sys.argv[2]).instances))
    """
    with run_program(program, node_url, service_id) as process:
        output, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output) == (0, "1\n")
    assert blocking.api.lookup([service_id])[0].instances == []


def test_ctrl_c_in_a_blocking_call_leaves_nothing_behind(quick: ClientOptions, service_id: str) -> None:
    """The interrupted registration is not there, and the same one can be made again."""
    program = """
        import signal, sys
        from artemis import Instance
        from artemis.sync import ArtemisClient
        me = Instance(service_id=sys.argv[2], ip="127.0.0.1", port=9000)
        with ArtemisClient(servers=[sys.argv[1]], region_id="local", zone_id="zone1") as client:
            client.api.services()
            try:
                print("ready", flush=True)
                for change in client.watch(sys.argv[2]):
                    pass
            except KeyboardInterrupt:
                print("interrupted", flush=True)
            input()
            try:
                print("registering", flush=True)
                client.registered(me).__enter__()
            except KeyboardInterrupt:
                print("interrupted", flush=True)
            input()
            with client.registered(me):
                print(len(client.api.lookup([sys.argv[2]])[0].instances), flush=True)
    """
    with (
        running_node_sync() as node,
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program), node.url, service_id],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        node.process.send_signal(signal.SIGSTOP)
        try:
            print(file=process.stdin)
            assert process.stdout.readline() == "registering\n"
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "interrupted\n"
        finally:
            node.process.send_signal(signal.SIGCONT)
        print(file=process.stdin)
        assert process.stdout.readline() == "1\n"
        assert process.wait(PATIENCE) == 0


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="timers that interrupt are of POSIX")
def test_signal_handlers_may_call_the_client_whatever_they_interrupt(node_url: str) -> None:
    """A choice, a call, or the very moment in which its result arrives; they may close it as well."""
    program = """
        import signal, sys
        from artemis import ClosedError, Instance
        from artemis.sync import ArtemisClient
        with ArtemisClient(servers=[sys.argv[1]], region_id="local", zone_id="zone1") as client:
            with client.registered(Instance(service_id="signals", ip="127.0.0.1", port=9000)):
                balancer, handled = client.balancer("signals"), 0
                balancer.ready()
                def handle(*_):
                    global handled
                    handled += 1
                    balancer.report(balancer.next(), ok=True)
                    client.service("signals")
                    if handled == 250:
                        client.close()
                    else:
                        signal.setitimer(signal.ITIMER_REAL, 0.001)
                signal.signal(signal.SIGALRM, handle)
                signal.setitimer(signal.ITIMER_REAL, 0.001)
                try:
                    while True:
                        balancer.next()
                        client.service("signals")
                except ClosedError:
                    print(handled)
        """
    # Coverage holds a lock of its own in traced threads; a handler that interrupts it there would wait for ever.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), node_url],
        capture_output=True,
        text=True,
        timeout=60.0,
        check=False,
        env=plain,
    )
    assert ("250\n", "") == (run.stdout, run.stderr)


def test_a_signal_handler_that_interrupts_the_opening_can_only_close(node_url: str, quick: ClientOptions) -> None:
    """Everything else would wait for what it interrupts."""
    client = ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1", options=quick)
    problems: list[Exception] = []

    class Impatient(threading.Thread):
        def start(self) -> None:
            try:
                client.service("orders")
            except RuntimeError as error:
                problems.append(error)
            client.close()
            super().start()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("artemis.client.sync.loop.threading.Thread", Impatient)
        with pytest.raises(ClosedError):
            client.open()
    assert ["interrupted the opening" in str(problem) for problem in problems] == [True]
    assert client_threads() == []
