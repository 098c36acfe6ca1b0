"""How Java peers read in `artemis cluster status`."""

from artemis.cli.cluster_seen import Seen
from artemis.cli.java_view import java_rows, java_troubles
from artemis.model.cluster_status import ClusterViewResponse
from artemis.model.java_peers import JavaPeerView


def node(name: str, *peers: JavaPeerView) -> Seen:
    """Return a node that answers and has these Java peers."""
    return Seen(url=name, view=ClusterViewResponse(java_peers=[*peers]))


UP = JavaPeerView(
    url="http://j:8080", state="up", serves_registry=True, zone_id="z1", for_ms=3_000, told=7, offered=True
)
UNKNOWN = JavaPeerView(url="http://j:8080", state="unknown", why="no answer in time")


def test_each_java_peer_of_each_node_has_a_line():
    """With how it stands and what it was told; nodes that do not answer tell of none."""
    (row,) = java_rows([node("http://a", UP), Seen(url="http://b", silence="timeout")])
    assert ("http://j:8080", "http://a", "up", "3 s", "z1", "yes", 0, 7, 0, 0, 0) == row


def test_a_java_peer_that_does_not_serve_is_trouble():
    """Said once for all nodes that see it so; one that is up is none, unless it does not take what it is told."""
    assert ["Java peer http://j:8080 is unknown: no answer in time; so http://a and http://b see it."] == java_troubles(
        [node("http://a", UNKNOWN), node("http://b", UNKNOWN)]
    )
    assert [] == java_troubles([node("http://a", UP)])
    failing = JavaPeerView(url="http://j:8080", state="up", serves_registry=True, error="bad-request: no")
    assert [
        "Java peer http://j:8080 does not take everything (bad-request: no); so http://a sees it."
    ] == java_troubles([node("http://a", failing)])


def test_a_node_that_lacks_a_java_peer_of_another_is_trouble():
    """Each node passes on what its own clients ask, so all need the same."""
    assert ["http://b lacks Java peer http://j:8080; give all nodes the same --java-peers."] == java_troubles(
        [node("http://a", UP), node("http://b")]
    )
