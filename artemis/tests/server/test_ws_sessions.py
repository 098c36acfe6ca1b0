"""Sessions as a pure core: life time, limits, blacklists, numbers."""

import pytest

from artemis.server.config import ServeConfig
from artemis.server.websocket.sessions import Endpoint, SessionPolicy, Sessions, endpoint_paths, session_policy


def begin(sessions: Sessions[int], count: int, *, now: int = 0) -> None:
    """Begin sessions 0, 1, ...; their chances are spread evenly."""
    for number in range(count):
        sessions.begin(Endpoint.HEARTBEAT, number, now, number / count)


def ended(sessions: Sessions[int], now: int) -> list[int]:
    """End those whose life is over."""
    found = sessions.expired(now)
    for session in found:
        assert sessions.end(Endpoint.HEARTBEAT, session)
    return found


def test_a_session_ends_after_its_life_time_and_not_before() -> None:
    """However long it has been silent or busy, only the time since its beginning counts."""
    sessions = Sessions[int](SessionPolicy(ttl=1000))
    sessions.begin(Endpoint.CHANGES, 1, 500, 0.0)
    assert sessions.expired(1499) == []
    assert sessions.expired(1500) == [1]


def test_sessions_that_began_together_end_one_after_the_other() -> None:
    """Ends are spread over a tenth of the life time, so that a fleet is not sent away at once."""
    sessions = Sessions[int](SessionPolicy(ttl=100_000))
    begin(sessions, 10)
    assert ended(sessions, 99_999) == []
    assert ended(sessions, 100_000) == [0]
    assert ended(sessions, 104_999) == [1, 2, 3, 4]
    assert ended(sessions, 110_000) == [5, 6, 7, 8, 9]


def test_the_spread_is_a_minute_at_most() -> None:
    """A life time of hours does not become hours and more."""
    sessions = Sessions[int](SessionPolicy(ttl=18_000_000))
    sessions.begin(Endpoint.NATIVE, 1, 0, 1.0)
    assert sessions.expired(18_059_999) == []
    assert sessions.expired(18_060_000) == [1]


def test_one_sweep_ends_a_share_of_the_sessions_only() -> None:
    """Also when all are overdue, because the life time was made shorter, they go bit by bit."""
    sessions = Sessions[int](SessionPolicy(ttl=18_000_000))
    begin(sessions, 2000)
    sessions.policy = SessionPolicy(ttl=300_000)
    assert ended(sessions, 1_000_000) == list(range(100))
    assert len(ended(sessions, 1_001_000)) == 95


def test_the_number_of_sessions_is_limited_over_all_endpoints() -> None:
    """A session that ends makes room."""
    sessions = Sessions[int](SessionPolicy(max_sessions=2))
    sessions.begin(Endpoint.HEARTBEAT, 1, 0, 0.0)
    assert sessions.judge(Endpoint.CHANGES, "10.0.0.1") is None
    sessions.begin(Endpoint.CHANGES, 2, 0, 0.0)
    refusal = sessions.judge(Endpoint.NATIVE, "10.0.0.1")
    assert refusal is not None
    assert refusal.status == 503
    assert sessions.refused == {"full": 1}
    assert sessions.end(Endpoint.CHANGES, 2)
    assert not sessions.end(Endpoint.CHANGES, 2)
    assert sessions.judge(Endpoint.NATIVE, "10.0.0.1") is None


@pytest.mark.parametrize("address", ["10.0.0.9", "::ffff:10.0.0.9", "fe80::1"])
def test_an_address_on_the_blacklist_of_an_endpoint_is_refused_there_only(address: str) -> None:
    """The list is that of the endpoint; an IPv4 address over IPv6 is the same address."""
    config = ServeConfig(ws_blacklist_discovery="10.0.0.9, FE80:0::1")
    sessions = Sessions[int](session_policy(config))
    refusal = sessions.judge(Endpoint.CHANGES, address)
    assert refusal is not None
    assert refusal.status == 403
    assert sessions.judge(Endpoint.HEARTBEAT, address) is None
    assert sessions.judge(Endpoint.CHANGES, "10.0.0.8") is None
    assert sessions.refused == {"blacklisted": 1}


def test_the_options_become_the_policy() -> None:
    """Seconds become milliseconds; the defaults are those of the original."""
    assert session_policy(ServeConfig()).ttl == 360_000
    config = ServeConfig(ws_session_ttl=300, max_ws_sessions=7, ws_blacklist_heartbeat=["1.2.3.4", "::1"])
    policy = session_policy(config)
    assert (policy.ttl, policy.max_sessions) == (300_000, 7)
    assert policy.blacklists[Endpoint.HEARTBEAT] == {"1.2.3.4", "::1"}


@pytest.mark.parametrize(
    "options", [{"ws_session_ttl": 299}, {"ws_session_ttl": 18_001}, {"ws_blacklist_heartbeat": "not-an-address"}]
)
def test_options_outside_their_range_are_refused(options: dict[str, object]) -> None:
    """The range of the session's life time is that of the original (spec 10.3)."""
    with pytest.raises(ValueError, match="ws_"):
        ServeConfig(**options)


def test_sessions_are_counted_by_the_names_of_the_original() -> None:
    """registry, discovery and discoveries; the seed's endpoint has a name of ours."""
    sessions = Sessions[int](SessionPolicy())
    sessions.begin(Endpoint.HEARTBEAT, 1, 0, 0.0)
    sessions.begin(Endpoint.ALL_CHANGES, 2, 0, 0.0)
    assert sessions.counts() == {"registry": 1, "discovery": 0, "discoveries": 1, "native": 0}
    assert sorted(sessions) == [1, 2]
    assert len(sessions) == 2


def test_every_path_exists_with_and_without_the_prefix() -> None:
    """Clients that know the servlet context and clients that do not find the same endpoints."""
    plain, prefixed = endpoint_paths(), endpoint_paths("/artemis-service")
    assert len(plain) == 7
    assert prefixed == plain | {f"/artemis-service{path}": endpoint for path, endpoint in plain.items()}
