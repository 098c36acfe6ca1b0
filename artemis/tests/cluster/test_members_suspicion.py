"""Whether a node is there: silence, and how long one that came back must be steady."""

from artemis.cluster.suspicion import MOST_FLAPS, Patience, Presence, Suspicion

PATIENCE = Patience(suspect=3_000, down=10_000)


def interrupted(times: int) -> tuple[Suspicion, int]:
    """A node that fell silent so often, each time for four seconds, and the moment at which it is heard again."""
    now = 0
    suspicion = Suspicion(PATIENCE, now)
    for _ in range(times):
        now += 4_000
        suspicion.judge(now)
        now += 1
        suspicion.hear(now)
        suspicion.judge(now)
    return suspicion, now


def steady_after(suspicion: Suspicion, now: int) -> int:
    """How many milliseconds it is heard, once a second, before it is believed."""
    begun = now
    while suspicion.presence is not Presence.STEADY:
        now += 1_000
        suspicion.hear(now)
        suspicion.judge(now)
    return now - begun


def test_a_node_that_is_heard_stays_believed() -> None:
    """A sign of life a second is enough."""
    suspicion = Suspicion(PATIENCE, 0)
    for now in range(0, 60_000, 1_000):
        suspicion.hear(now)
        assert not suspicion.judge(now)
    assert (Presence.STEADY, 0) == (suspicion.presence, suspicion.flaps)


def test_silence_is_suspicion_first_and_the_end_later() -> None:
    """At the stated times, and each is told once."""
    suspicion = Suspicion(PATIENCE, 0)
    changes = [now for now in range(0, 20_000, 100) if suspicion.judge(now)]
    assert [3_000, 10_000] == changes
    assert (Presence.GONE, 1) == (suspicion.presence, suspicion.flaps)


def test_a_lost_connection_is_suspicion_at_once() -> None:
    """Nobody waits for the silence."""
    suspicion = Suspicion(PATIENCE, 0)
    suspicion.lose(10)
    assert (Presence.SUSPECTED, 1) == (suspicion.presence, suspicion.flaps)
    suspicion.lose(20)
    assert 1 == suspicion.flaps


def test_each_interruption_doubles_the_time_until_it_is_believed() -> None:
    """From the time of suspicion to twenty times that, and no further."""
    assert [3_000, 6_000, 12_000, 24_000, 48_000, 60_000, 60_000] == [
        steady_after(*interrupted(times)) for times in (1, 2, 3, 4, 5, 6, 20)
    ]


def test_interruptions_are_remembered_up_to_a_bound_and_forgotten_one_by_one() -> None:
    """One for each thirty seconds in which it was believed and heard."""
    suspicion, now = interrupted(20)
    assert MOST_FLAPS == suspicion.flaps
    now += steady_after(suspicion, now)
    flaps = []
    for later in range(now, now + 10 * 30_000, 1_000):
        suspicion.hear(later)
        suspicion.judge(later)
        flaps.append(suspicion.flaps)
    assert (MOST_FLAPS, 0) == (flaps[0], flaps[-1])
    assert [30] * (MOST_FLAPS - 1) == [flaps.count(each) for each in range(1, MOST_FLAPS)]


def test_an_interruption_while_it_returns_begins_anew() -> None:
    """And counts."""
    suspicion, now = interrupted(1)
    assert (Presence.RETURNING, 3_000) == (suspicion.presence, suspicion.patience_left(now))
    suspicion.judge(now + 3_000)
    assert (Presence.SUSPECTED, 2, 0) == (suspicion.presence, suspicion.flaps, suspicion.patience_left(now))


def test_a_node_that_was_gone_returns_like_one_that_was_suspected() -> None:
    """First heard, later believed."""
    suspicion = Suspicion(PATIENCE, 0)
    for now in (3_000, 10_000, 50_000):
        suspicion.judge(now)
    suspicion.hear(60_000)
    suspicion.judge(60_000)
    assert Presence.RETURNING is suspicion.presence


def test_an_old_sign_of_life_tells_nothing() -> None:
    """The latest counts."""
    suspicion = Suspicion(PATIENCE, 5_000)
    suspicion.hear(1_000)
    assert 5_000 == suspicion.heard


def test_a_new_life_after_a_farewell_is_no_interruption() -> None:
    """A rolling restart hides nobody longer than it takes."""
    suspicion, now = interrupted(3)
    suspicion.renew(now + 50_000)
    assert (Presence.STEADY, now + 50_000) == (suspicion.presence, suspicion.heard)
