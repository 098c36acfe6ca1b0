"""Which addresses of nodes are usable."""

import pytest

from artemis.client.nodes.urls import node_url, objection, on_loopback, same_node

FAR, NEAR, TLS = "http://10.0.0.1:8080", "http://127.0.0.1:8080", "https://registry.example"


def test_node_url_keeps_a_prefix_and_drops_the_trailing_slash() -> None:
    """A node may live below a prefix; the joining slash belongs to the path."""
    assert node_url(" http://host:8080/artemis-service/ ") == "http://host:8080/artemis-service"


@pytest.mark.parametrize(
    "text",
    ["", "host:8080", "ftp://host:1", "http://", "http://host:99999", "http://host:0", "http://h/?a=b", "http://["],
)
def test_node_url_refuses_what_is_no_address(text: str) -> None:
    """A wrong address is an error that quotes it, before anything is sent."""
    with pytest.raises(ValueError, match="not the URL of a node"):
        node_url(text)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://A:80/x/", "http://a/x", True),
        ("https://a", "https://a:443", True),
        ("http://a", "https://a", False),
        ("http://a:1/x", "http://a:1/X", False),
    ],
)
def test_spellings_of_one_address_are_the_same(one: str, other: str, same: bool) -> None:
    """Hosts and schemes know no letter case, paths do."""
    assert (same_node(one) == same_node(other)) is same


@pytest.mark.parametrize(
    ("url", "loopback"),
    [(NEAR, True), ("http://localhost:1", True), ("http://[::1]:1", True), (FAR, False), (TLS, False)],
)
def test_loopback_is_seen_in_the_address(url: str, loopback: bool) -> None:
    """By number or by the reserved name; nothing is looked up."""
    assert on_loopback(url) is loopback


@pytest.mark.parametrize(
    "host",
    ["127.1", "127.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost.", "127.0.0.1.", "[::ffff:127.0.0.1]"],
)
def test_loopback_is_seen_in_every_spelling_that_systems_take(host: str) -> None:
    """Short, as one number, octal, hex, with a final dot, mapped into IPv6."""
    assert on_loopback(f"http://{host}:8080")
    assert "loopback" in objection(f"http://{host}:8080", FAR)


@pytest.mark.parametrize("host", ["0", "0x0", "0.0", "0.0.0.0.", "[::]", "[::ffff:0.0.0.0]", "224.1"])
def test_an_address_of_nobody_is_seen_in_every_spelling(host: str) -> None:
    """Connected to, most of them would be the own machine."""
    assert "no single machine" in objection(f"http://{host}:8080", FAR)


@pytest.mark.parametrize("host", ["10.1", "167772162", "1.2.3.4.5", "127.300.1", "4294967296", "09.1", "127.0x"])
def test_other_numbers_are_not_taken_for_loopback(host: str) -> None:
    """Addresses of other machines, and names that only look like an address."""
    assert not on_loopback(f"http://{host}:8080")


@pytest.mark.parametrize(
    ("told", "by"),
    [("http://10.0.0.2:8080/", FAR), (NEAR, NEAR), (FAR, NEAR), ("https://10.0.0.2", FAR), ("https://n2", TLS)],
)
def test_ordinary_addresses_are_taken(told: str, by: str) -> None:
    """Nothing speaks against them."""
    assert objection(told, by) == ""


@pytest.mark.parametrize(
    ("told", "by", "why"),
    [
        (NEAR, FAR, "loopback"),
        ("http://localhost:8080", TLS.replace("https", "http"), "loopback"),
        ("http://10.0.0.2", TLS, "without TLS"),
        ("http://0.0.0.0:8080", NEAR, "no single machine"),
        ("http://224.0.0.1:8080", FAR, "no single machine"),
        ("http://user:secret@10.0.0.2", FAR, "neither a user"),
        ("http://ho st:1", FAR, "spaces"),
        ("nonsense", FAR, "not the URL"),
        ("http://h/" + "x" * 2000, FAR, "characters"),
    ],
)
def test_addresses_that_lead_nowhere_or_astray_are_refused(told: str, by: str, why: str) -> None:
    """A node that does not know its own address captures nobody, and none leads out of TLS."""
    assert why in objection(told, by)
