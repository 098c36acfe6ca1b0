"""What counts as an offer of QUIC, and what does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artemis.client.links.offers import MOST_SERVICES, offered_port, port_of
from artemis.client.links.operations import Position, position

OURS = 'msgtrans%2F1=":4433"'


@pytest.mark.parametrize(
    ("fields", "port"),
    [
        ([OURS], 4433),
        ([f"{OURS}; ma=3600; persist=1"], 4433),
        ([f'h3=":443"; ma=86400, {OURS}'], 4433),
        (['h3=":443"', OURS], 4433),
        ([f'{OURS}, msgtrans%2F1=":1"'], 4433),
        ([f'  {OURS} ;\tx="a, b" ,h2=":1"'], 4433),
        ([], None),
        ([""], None),
        (["clear"], None),
        (['h3=":4433"'], None),
        (['msgtrans/1=":4433"'], None),
        (['msgtrans%2f1=":4433"'], None),
        (['MSGTRANS%2F1=":4433"'], None),
        (["msgtrans%2F1=:4433"], None),
        (['msgtrans%2F1="4433"'], None),
        (['msgtrans%2F1="other.example:4433"'], None),
        (['msgtrans%2F1="other.example:1", ' + OURS], 4433),
        (['msgtrans%2F1=":0"'], None),
        (['msgtrans%2F1=":04433"'], None),
        (['msgtrans%2F1=":+4433"'], None),
        (['msgtrans%2F1=": 4433"'], None),
        (['msgtrans%2F1=":65536"'], None),
        (['msgtrans%2F1=":44\u0663\u0663"'], None),
        (['msgtrans%2F1=":\\4433"'], None),
        ([f"{OURS} and more"], None),
        ([f"{OURS}; ma"], None),
        ([f"{OURS}, \u00e4"], None),
        ([OURS, "x" * MOST_SERVICES], None),
    ],
)
def test_an_alternative_service_is_an_offer_only_if_it_is_well_formed_and_of_the_same_host(
    fields: list[str], port: int | None
) -> None:
    """In the form of RFC 7838, with the name of the protocol as that asks for it."""
    assert port == offered_port(fields)


@given(st.lists(st.text(alphabet='msgtrans%2F1="":;, \\\t0123456789cleah', max_size=200), max_size=4))
def test_whatever_comes_as_alternative_services_is_a_port_or_none(fields: list[str]) -> None:
    """It never raises."""
    port = offered_port(fields)
    assert port is None or 1 <= port <= 65535


@pytest.mark.parametrize(
    ("text", "port"),
    [(b"1", 1), (b"65535", 65535), (b"65536", None), (b"0", None), (b"", None), (b"-1", None), (b"1" * 99, None)],
)
def test_a_port_is_from_1_to_65535(text: bytes, port: int | None) -> None:
    """Without anything before or after it."""
    assert port == port_of(text)


def test_an_option_of_the_ext_header_is_an_offer_too() -> None:
    """Beside the others, in any order."""
    assert Position("c", 0.5, 2, 4433) == position(b"format=json;cursor=c;quic=4433;age=500;missing=2")
    assert Position() == position(b"quic=4433x")
    assert Position() == position(b"quic=")
