"""Options of a cluster: what fits together, what does not, and what is said then."""

import pytest

from artemis.server import cluster_options
from artemis.server.config import ConfigError, ServeConfig, checked, load_config

SHARED = "/etc/artemis/cluster-secret"


def refused(**values: object) -> str:
    """What is said of these options."""
    with pytest.raises(ConfigError) as caught:
        checked(values, {name: f"--{name.replace('_', '-')}" for name in values})
    return str(caught.value)


def accepted(**values: object) -> ServeConfig:
    """These options."""
    return checked(values, {})


def test_a_node_without_peers_is_in_no_cluster() -> None:
    """Nothing is asked of it; any of three options makes a cluster."""
    assert not accepted().clustered
    assert accepted(peers="http://localhost:1").clustered
    assert accepted(peers_dns="artemis.local").clustered
    assert accepted(peers_file="peers.txt").clustered
    assert accepted(cluster_secret_file=SHARED).clustered


def test_times_follow_the_ttl() -> None:
    """Seconds at 20 s of TTL, and fractions where leases are short."""
    long, short = accepted(), accepted(lease_ttl=2.0, heartbeat_interval=0.5)
    assert (1.0, 3.0, 10.0, 10.0, 2.5) == (long.beat, long.suspicion, long.given_up, long.grace, long.tolerated_skew)
    found = (short.beat, short.suspicion, short.given_up, short.grace, short.tolerated_skew)
    assert pytest.approx((0.2, 0.6, 1.2, 1.0, 0.25)) == found


def test_nodes_on_one_machine_need_no_secret() -> None:
    """Loopback is reached from loopback only."""
    config = accepted(peers="http://127.0.0.1:81, http://[::1]:82")
    assert ["http://127.0.0.1:81", "http://[::1]:82"] == [str(url) for url in config.peer_urls]


def test_a_loopback_url_never_meets_other_machines() -> None:
    """The sentence names the peer, the own URL, and what to do (design 6)."""
    text = refused(peers="http://10.0.0.7:8080", cluster_secret_file=SHARED)
    assert "http://10.0.0.7:8080" in text
    assert "--self-url http://ADDRESS:PORT" in text
    assert accepted(peers="http://10.0.0.7:8080", host="10.0.0.8", cluster_secret_file=SHARED).clustered
    assert accepted(peers="http://10.0.0.7:8080", self_url="http://10.0.0.8:1", cluster_secret_file=SHARED).clustered


@pytest.mark.parametrize("values", [{"peers": "http://10.0.0.7:1"}, {"peers_dns": "a"}, {"peers_file": "a"}])
def test_a_node_beyond_loopback_needs_a_secret(values: dict[str, object]) -> None:
    """Whoever reaches the port could be a peer."""
    assert "cluster-secret-file: " in refused(host="10.0.0.8", **values)
    assert accepted(host="10.0.0.8", cluster_secret_file=SHARED, **values).clustered


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.8", "registry"])
def test_what_a_node_listens_on_decides_whether_it_needs_a_secret(host: str) -> None:
    """Whoever reaches that can dial it, whatever it announces and wherever its peers are."""
    values: dict[str, object] = {"peers": "http://127.0.0.1:1", "self_url": "http://127.0.0.1:2"}
    assert "or listen on loopback, with --host 127.0.0.1" in refused(host=host, **values)
    assert accepted(host=host, cluster_secret_file=SHARED, **values).clustered
    assert accepted(host="127.0.0.1", **values).clustered


@pytest.mark.parametrize("rest", ["/artemis", "/artemis-service/api", "?a=b", "/?", "#here", "/x?y#z"])
def test_what_follows_the_port_of_a_peer_is_refused(rest: str) -> None:
    """Nobody would look there; the sentence says what to give."""
    assert "give http://127.0.0.1:7" in refused(peers=f"http://127.0.0.1:8, http://127.0.0.1:7{rest}")
    assert 1 == len(accepted(peers="http://127.0.0.1:7/").peer_urls)


def test_an_own_url_that_no_node_can_use_is_refused() -> None:
    """The others are told it."""
    assert "self-url: 'http://127.0.0.1:2/?a=b' has more than" in refused(
        peers="http://127.0.0.1:1", self_url="http://127.0.0.1:2/?a=b"
    )


def test_a_record_outlives_the_last_who_may_expire_it() -> None:
    """Lifetime > TTL + hold + members x grace + a few exchange rounds; the derived one keeps to that."""
    peers = ",".join(f"http://127.0.0.1:{port}" for port in range(1, 5))
    assert "--tombstone-lifetime: must be more than 215 in a cluster of 5" in refused(
        peers=peers, tombstone_lifetime=215
    )
    assert 216 == accepted(peers=peers, tombstone_lifetime=216).record_lifetime
    assert 155 == accepted(tombstone_lifetime=155).record_lifetime
    many = ",".join(f"http://127.0.0.1:{port}" for port in range(1, 60))
    assert 2 * (90 + 60 + 60 * 10 + 15) == accepted(peers=many).record_lifetime


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"peer_beat": 6.0}, "peer-beat"),
        ({"peer_suspect": 1.5}, "peer-suspect"),
        ({"peer_down": 2.0}, "peer-down"),
        ({"peer_grace": 1.0}, "peer-grace"),
        ({"peers": "a"}, "peers"),
        ({"peers": ",".join(f"http://localhost:{port}" for port in range(1, 70))}, "peers"),
        ({"peers_dns": "a b"}, "peers-dns"),
        ({"peers_dns": "a:0"}, "peers-dns"),
        ({"peers_dns": "a:65536"}, "peers-dns"),
        ({"peers_dns": "_a._tcp.b:80"}, "peers-dns"),
        ({"cluster_name": "a b"}, "cluster-name"),
        ({"join_timeout": -1}, "join-timeout"),
    ],
)
def test_what_cannot_be_is_refused_by_name(values: dict[str, object], named: str) -> None:
    """The complaint begins with the option."""
    text = refused(**values)
    assert f"{named}: " in text


@pytest.mark.parametrize("name", ["artemis", "artemis.example.com:8080", "a.b.", "_artemis._tcp.example.com"])
def test_names_of_nodes(name: str) -> None:
    """With a port or without, and services."""
    assert name == accepted(peers_dns=name).peers_dns


def test_without_the_client_of_nats_a_node_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start, and not when it reaches for the engine."""
    monkeypatch.setattr(cluster_options, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"--cluster: .*pip install 'artemis-registry\[nats\]'"):
        load_config(None, {"cluster": "nats://127.0.0.1:4222"})


def test_a_node_around_an_engine_is_clustered_without_peers_and_secret() -> None:
    """And the servers are those that it names."""
    config = load_config(None, {"cluster": "nats://127.0.0.1,127.0.0.2:5222"})
    assert config.clustered
    assert config.engine_servers is not None
    assert (("127.0.0.1", 4222), ("127.0.0.2", 5222)) == config.engine_servers.addresses
