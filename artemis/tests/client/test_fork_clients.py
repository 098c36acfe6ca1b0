"""What a fork means for clients: real children, and both sides looked at from a real node."""

import json
import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from artemis.testing import RunningNode, running_node_sync

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are of POSIX")

PATIENCE = 30.0

PRELUDE = """
    import asyncio.log, json, multiprocessing, os, sys, threading, time, warnings
    # A step of the loop that took long says something of the machine.
    asyncio.log.logger.addFilter(lambda record: not str(record.msg).startswith("Executing %s took"))
    # From 3.12 on Python warns of forking with threads running: what locks they hold stays locked in the child. That
    # is what this is about.
    warnings.filterwarnings("ignore", ".*use of fork.*", DeprecationWarning)
    from artemis import ClientOptions, Instance
    from artemis.sync import ArtemisClient
    url = sys.argv[1]
    def make():
        options = ClientOptions(heartbeat_interval=0.3, poll_interval=0.1)
        return ArtemisClient(servers=[url], region_id="local", zone_id="zone1", options=options)
    def instance(port):
        return Instance(service_id="orders", ip="127.0.0.1", port=port)
    def live(client):
        return sorted(one.port for one in client.api.lookup(["orders"])[0].instances)
    def say(**words):
        os.write(1, (json.dumps(words) + "\\n").encode())
    def child(run):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                run()
                code = 0
            finally:
                if code:
                    import traceback; traceback.print_exc()
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


@pytest.fixture(scope="module")
def node() -> Iterator[RunningNode]:
    """Run a node whose leases are short, so that what nobody renews is seen to go."""
    with running_node_sync(lease_ttl=1, self_preservation=False) as one:
        yield one


def run(program: str, node: RunningNode) -> list[dict[str, object]]:
    """Run a program that forks; return what its processes said."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "program.py")
        file.write_text(textwrap.dedent(PRELUDE) + textwrap.dedent(program))
        result = subprocess.run(
            [sys.executable, "-X", "dev", file, node.url],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert (result.returncode, result.stderr) == (0, "")
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_what_the_parent_registered_stays_the_parents(node: RunningNode) -> None:
    """The child leaves the block, closes the client and ends; the parent's instance is there, renewed by the parent."""
    said = run(
        """
        with make() as client, client.registered(instance(1)) as registration:
            def in_child():
                registration.__exit__(None, None, None)
                client.__exit__(None, None, None)
            code = child(in_child)
            say(code=code, live=live(client), state=registration.state.value)
            time.sleep(1.5)  # longer than a lease
            say(live=live(client))
        """,
        node,
    )
    assert [{"code": 0, "live": [1], "state": "held"}, {"live": [1]}] == said


def test_the_child_starts_anew_at_its_first_use(node: RunningNode) -> None:
    """With threads, connections and registrations of its own; balancers made before go on, watches do not."""
    said = run(
        """
        with make() as client, client.registered(instance(1)):
            balancer, watch, events = client.balancer("orders"), client.watch("orders"), client.events()
            balancer.next(), next(watch)
            def in_child():
                before = threading.active_count()
                problems = []
                for iteration in (watch, events):
                    try:
                        next(iteration)
                    except Exception as error:
                        problems.append([type(error).__name__, error.forked])
                port = balancer.next().port
                with client.registered(instance(2)):
                    say(before=before, problems=problems, port=port, live=live(client), state=client.state.value)
                say(live=live(client), first=next(client.watch("orders")).instance.port)
                client.close()
                say(threads=threading.active_count())
            say(code=child(in_child))
            with client.registered(instance(3)) as mine:
                ports = [watch.next(timeout=5).instance.port]
                while ports[-1] != 3:
                    ports.append(watch.next(timeout=5).instance.port)
                say(live=live(client), last=ports[-1])
        """,
        node,
    )
    refused = ["ClosedError", True]
    assert [
        {"before": 1, "problems": [refused, refused], "port": 1, "live": [1, 2], "state": "connected"},
        {"live": [1], "first": 1},
        {"threads": 1},
        {"code": 0},
        {"live": [1, 3], "last": 3},
    ] == said


def test_forking_in_a_thread_while_others_use_the_client(node: RunningNode) -> None:
    """Whatever locks they hold, the children come through, several generations of them."""
    said = run(
        """
        with make() as client, client.registered(instance(1)):
            stop = threading.Event()
            def use():
                while not stop.is_set():
                    client.api.lookup(["orders"]); client.service("orders"); client.balancer("orders").next()
            users = [threading.Thread(target=use) for _ in range(4)]
            for user in users: user.start()
            codes = []
            def in_grandchild():
                assert live(client) == [1]
                client.close()
            def in_child():
                assert live(client) == [1]
                assert child(in_grandchild) == 0
                assert live(client) == [1]
                client.close()
            def fork():
                for _ in range(3):
                    codes.append(child(in_child))
            forker = threading.Thread(target=fork)
            forker.start(); forker.join()
            stop.set()
            for user in users: user.join()
            say(codes=codes, live=live(client))
        """,
        node,
    )
    assert [{"codes": [0, 0, 0], "live": [1]}] == said


def test_a_forked_child_of_multiprocessing_uses_the_client_that_it_inherits(node: RunningNode) -> None:
    """And unregisters its own when it just ends."""
    said = run(
        """
        def work(says):
            client.registered(instance(2)).__enter__()
            says.put(live(client))
        context = multiprocessing.get_context("fork")
        with make() as client, client.registered(instance(1)):
            says = context.Queue()
            process = context.Process(target=work, args=(says,))
            process.start()
            say(child=says.get())
            process.join()
            say(code=process.exitcode, live=live(client))
        """,
        node,
    )
    assert [{"child": [1, 2]}, {"code": 0, "live": [1]}] == said


def test_a_spawned_child_of_multiprocessing_unregisters_when_it_ends(node: RunningNode) -> None:
    """It made a client of its own and never closed it."""
    said = run(
        """
        kept = []
        def work(says):
            client = make()
            kept.append(client)
            client.open()
            client.registered(instance(2)).__enter__()
            says.put(live(client))
        if __name__ == "__main__":
            context = multiprocessing.get_context("spawn")
            with make() as client, client.registered(instance(1)):
                says = context.Queue()
                process = context.Process(target=work, args=(says,))
                process.start()
                say(child=says.get())
                process.join()
                say(code=process.exitcode, live=live(client))
        """,
        node,
    )
    assert [{"child": [1, 2]}, {"code": 0, "live": [1]}] == said


def test_an_async_client_in_a_child_says_that_it_is_the_parents(node: RunningNode) -> None:
    """Every use raises `ClosedError`; the parent's goes on, and leaving it in the child takes nothing out."""
    said = run(
        """
        import asyncio
        import artemis
        async def main():
            options = ClientOptions(heartbeat_interval=0.3, poll_interval=0.1)
            client = artemis.ArtemisClient(servers=[url], region_id="local", zone_id="zone1", options=options)
            async with client, client.registered(instance(1)) as registration:
                await client.service("orders")
                balancer = client.balancer("orders")
                def in_child():
                    uses = {
                        "service": lambda: client.service("orders"),
                        "lookup": lambda: client.api.lookup(["orders"]),
                        "registered": lambda: client.registered(instance(2)).__aenter__(),
                        "ready": balancer.ready,
                        "watch": lambda: anext(client.watch("orders")),
                    }
                    async def use(name):
                        try:
                            await uses[name]()
                        except artemis.ClosedError as error:
                            return [name, error.forked]
                    says = [asyncio.run(use(name)) for name in uses]
                    async def leave():
                        await registration.__aexit__(None, None, None)
                        await client.__aexit__(None, None, None)
                    asyncio.run(leave())
                    say(says=says)
                code = await asyncio.to_thread(child, in_child)
                names = [one.port for one in (await client.api.lookup(["orders"]))[0].instances]
                say(code=code, live=names)
                await asyncio.sleep(1.5)
                names = [one.port for one in (await client.api.lookup(["orders"]))[0].instances]
                say(live=names)
        asyncio.run(main())
        """,
        node,
    )
    assert [
        {"says": [[name, True] for name in ("service", "lookup", "registered", "ready", "watch")]},
        {"code": 0, "live": [1]},
        {"live": [1]},
    ] == said


def test_a_transport_of_ones_own_is_not_shared_with_a_child(node: RunningNode) -> None:
    """It may hold sockets that nobody knows to make again."""
    said = run(
        """
        from artemis import ClosedError, HttpTransport
        transport = HttpTransport(max_answer_bytes=1 << 20)
        with ArtemisClient(servers=[url], region_id="local", zone_id="zone1", transport=transport) as client:
            client.service("orders")
            def in_child():
                try:
                    client.service("orders")
                except ClosedError as error:
                    say(forked=error.forked)
            say(code=child(in_child))
        """,
        node,
    )
    assert [{"forked": True}, {"code": 0}] == said


def test_a_child_that_ends_as_programs_do_touches_nothing(node: RunningNode) -> None:
    """Modules are torn down and objects finalised then; the parent's connections live on, and its loop wakes."""
    said = run(
        """
        client = make()
        client.open()
        client.registered(instance(1)).__enter__()
        watch = client.watch("orders")
        next(watch)
        pid = os.fork()
        if pid == 0:
            sys.exit(5)
        say(code=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        with client.registered(instance(2)):
            say(change=watch.next(timeout=5).change_type, live=live(client))
        time.sleep(1.5)
        say(live=live(client))
        """,
        node,
    )
    assert [{"code": 5}, {"change": "new", "live": [1, 2]}, {"live": [1]}] == said


def test_what_was_chosen_before_a_fork_can_end_in_the_child(node: RunningNode) -> None:
    """Though a thread that the child does not have was in the middle of a choice."""
    said = run(
        """
        with make() as client, client.registered(instance(1)):
            balancer = client.balancer("orders", "least-requests")
            balancer.ready()
            request = balancer.request()
            chosen = request.__enter__()
            choices = balancer._inner._choices
            entered, leave = threading.Event(), threading.Event()
            def hold():
                with choices._lock:
                    entered.set()
                    leave.wait()
            threading.Thread(target=hold).start()
            entered.wait()
            def in_child():
                balancer.report(chosen, ok=True)
                request.__exit__(None, None, None)
                say(outliers=balancer.outliers())
            say(code=child(in_child))
            leave.set()
        """,
        node,
    )
    assert [{"outliers": []}, {"code": 0}] == said
