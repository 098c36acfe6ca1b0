"""Waiting for another thread without a lock that both would take."""

import threading

from artemis.client.done import Done


def test_everybody_who_waits_is_woken() -> None:
    """And whoever asks later does not wait."""
    done = Done()
    found: list[bool] = []
    threads = [threading.Thread(target=lambda: found.append(done.wait(20.0))) for _ in range(5)]
    for thread in threads:
        thread.start()
    done.set()
    for thread in threads:
        thread.join(20.0)
    assert ([True] * 5, True, True) == (found, done.wait(), bool(done))


def test_waiting_ends_in_time() -> None:
    """At once if the time is over, and without an end for a time that no lock can wait."""
    done = Done()
    assert (False, False, False) == (done.wait(0.0), done.wait(-1.0), bool(done))
    threading.Timer(0.01, done.set).start()
    assert done.wait(1e300)
