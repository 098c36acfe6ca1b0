"""Addresses of nodes: one spelling for all, compared whole."""

import pytest

from artemis.cluster.addresses import BadAddress, host_on_loopback, peer_url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://10.0.0.1:8080", "http://10.0.0.1:8080"),
        (" HTTP://Registry.Example.COM.:8080/ ", "http://registry.example.com:8080"),
        ("http://10.0.0.1/artemis-service/", "http://10.0.0.1:80/artemis-service"),
        ("https://registry", "https://registry:443"),
        ("http://[2001:DB8:0::1]:8080", "http://[2001:db8::1]:8080"),
    ],
)
def test_an_address_has_one_spelling(text: str, expected: str) -> None:
    """Letter case, a last dot, a last slash, the scheme's own port and zeros make no other node."""
    assert expected == str(peer_url(text))
    assert peer_url(expected) == peer_url(text)


@pytest.mark.parametrize(
    "text",
    ["", "10.0.0.1:8080", "ftp://a:1", "http://:8080", "http://a:0", "http://a:65536", "http://a:b", "http://u@a:1",
     "http://a:1/?q=1", "http://a:1/#f", "http://[::1", "http://a b:1", "http://a\x7f:1", "http://" + "a" * 2_000],
)  # fmt: skip
def test_what_is_no_address_of_a_node_is_refused_in_words(text: str) -> None:
    """The complaint shows what was given."""
    with pytest.raises(BadAddress, match=r".+"):
        peer_url(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://10.0.0.1:8080", "http://110.0.0.1:8080"),
        ("http://10.0.0.1:80", "http://10.0.0.11:80"),
        ("http://10.0.0.1:8080", "http://10.0.0.1:80"),
    ],
)
def test_nodes_whose_addresses_contain_each_other_are_different(one: str, other: str) -> None:
    """The original looked for parts of the text, and took some peers for itself (defect 12)."""
    assert peer_url(one).place != peer_url(other).place


def test_one_port_is_one_node_whatever_the_scheme_and_the_path() -> None:
    """A node has everything on one port."""
    assert peer_url("http://a:8080/x").place == peer_url("https://A:8080/").place


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("A.Localhost.", True),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("localhost.example.com", False),
    ],
)
def test_loopback_is_recognised_as_it_is_written(host: str, expected: bool) -> None:
    """No name is looked up."""
    assert expected == host_on_loopback(host)
