"""How an engine reads in `artemis cluster status`."""

from artemis.cli.cluster_seen import Seen
from artemis.cli.cluster_view import remarks
from artemis.cli.doctor_checks import Examined, data, membership
from artemis.cli.engine_view import engine_rows, engine_troubles
from artemis.model.cluster_status import ClusterViewResponse
from artemis.model.engine import EngineView

SERVERS = "nats://h1:4222,h2:4222"
READY = EngineView(servers=SERVERS, server="nats://h1:4222", state="ready", synced=True, position=7, remade=1)
AWAY = EngineView(servers=SERVERS, state="connecting", why="nats://h2:4222 cannot be reached", waiting=3)


def node(name: str, engine: EngineView | None) -> Seen:
    """Return a node of a cluster that answers, around this engine."""
    return Seen(url=name, view=ClusterViewResponse(in_cluster=True, engine=engine))


def test_each_node_around_an_engine_has_a_line():
    """With the server that it is connected to, else all that it may be; others have none."""
    rows = engine_rows(
        [
            node("http://a", READY),
            node("http://b", AWAY),
            node("http://c", None),
            Seen(url="http://d", silence="timeout"),
        ]
    )
    assert [
        ("http://a", "nats://h1:4222", "ready", 7, "0 changes", 2),
        ("http://b", SERVERS, "connecting", 0, "3 changes", 1),
    ] == rows


def test_an_engine_that_is_not_ready_is_trouble():
    """Said once for all nodes that see it so."""
    assert [] == engine_troubles([node("http://a", READY)])
    assert [
        "http://a and http://b say that the engine is connecting: nats://h2:4222 cannot be reached."
    ] == engine_troubles([node("http://a", AWAY), node("http://b", AWAY), node("http://c", READY)])


def test_who_asks_has_ended_the_sentence():
    """Reasons are the words of nodes."""
    asks = EngineView(servers="nats://h2:4222", state="connecting", why="refused; does nats-server run there?")
    assert ["http://a says that the engine is connecting: refused; does nats-server run there?"] == engine_troubles(
        [node("http://a", asks)]
    )


def test_why_an_engine_is_away_is_said_once() -> None:
    """Without whom else a node serves is said all the same."""
    engine, why = f"the engine {SERVERS}", str(AWAY.why)
    other = "http://c (nothing was heard of it for 12 s)"
    views = {
        "http://a": {"alone": f"it serves without {engine} ({why})"},
        "http://b": {"alone": f"it serves without {other}; without {engine} ({why})"},
        "http://d": {},  # it starts
    }
    nodes = [
        Seen(url=url, view=ClusterViewResponse(in_cluster=True, engine=AWAY, unlisted={engine: why}, **words))
        for url, words in views.items()
    ]
    assert [f"http://b serves without {other}."] == remarks(nodes)
    assert 1 == len(engine_troubles(nodes))
    examined = [Examined(seen=node) for node in nodes]
    assert [f"http://b: it serves without {other}"] == [found.text for found in data(examined)]
    assert [] == list(membership(examined))


def test_nodes_that_are_refused_are_told_of_once():
    """By whoever refuses them."""
    refusing = EngineView(servers=SERVERS, state="ready", refused=["node x is of region elsewhere"])
    assert ["node x is of region elsewhere."] == engine_troubles(
        [node("http://a", refusing), node("http://b", refusing)]
    )


def test_a_mesh_beside_an_engine_is_trouble():
    """What either knows the other lacks; a mesh alone is none."""
    assert ["http://b is in a mesh of peers, the others are not."] == engine_troubles(
        [node("http://a", READY), node("http://b", None)]
    )
    assert [] == engine_troubles([node("http://b", None)])
