"""Namespaces as tests use them, and nothing left of them."""

import os
import subprocess
import sys

from artemis.testing.namespaces import Machine, Network, remove_leftovers

TRY = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], 9), 1):
        print("open")
except OSError as error:
    print("answers" if isinstance(error, ConnectionRefusedError) else "silent")
"""


def reach(machine: Machine, address: str) -> str:
    """Whether a machine can reach another one, where nothing listens."""
    words = [*machine.within, sys.executable, "-c", TRY, address]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def names() -> str:
    """All namespaces and interfaces of this machine."""
    words = "ip netns list; ip -o link"
    return subprocess.run(["/bin/sh", "-c", words], capture_output=True, text=True, check=True).stdout


def test_machines_reach_each_other_and_us(network: Network) -> None:
    """They are joined by a switch."""
    one, two = network.machine(), network.machine()
    assert ["answers"] * 3 == [reach(one, two.address), reach(two, one.address), reach(one, network.address)]


def test_packets_can_be_dropped(network: Network) -> None:
    """Those from one machine, those from all, and none after that."""
    one, two, three = (network.machine() for _ in range(3))
    two.drop(1, one.address)
    assert ["silent", "answers"] == [reach(one, two.address), reach(three, two.address)]
    two.drop(1)
    assert "silent" == reach(three, two.address)
    two.heal()
    assert ["answers"] * 2 == [reach(one, two.address), reach(three, two.address)]


def test_a_machine_can_be_cut_off_in_one_direction_and_in_all(network: Network) -> None:
    """By a route that leads nowhere, and by its plug."""
    one, two, three = (network.machine() for _ in range(3))
    one.blackhole(two.address)
    assert ["silent", "silent", "answers"] == [
        reach(one, two.address),
        reach(two, one.address),
        reach(one, three.address),
    ]
    one.heal()
    assert "answers" == reach(one, two.address)
    two.unplug()
    assert "silent" == reach(one, two.address)
    two.heal()
    assert "answers" == reach(one, two.address)


def test_nothing_is_left_behind(network: Network) -> None:
    """Neither of networks that ended nor of processes that were killed before they could end theirs."""
    mine = f"arte{os.getpid()}"
    network.machine()
    assert mine in names()
    script = "import os\nfrom artemis.testing.namespaces import Network\nNetwork().__enter__().machine()\nos._exit(0)"
    dead = subprocess.Popen([sys.executable, "-c", script])
    dead.wait()
    assert f"arte{dead.pid}-1" in names()
    assert {f"arte{dead.pid}-hub", f"arte{dead.pid}-1"} <= set(remove_leftovers())
    network.__exit__(None, None, None)
    assert mine not in names()
    assert f"arte{dead.pid}-" not in names()
