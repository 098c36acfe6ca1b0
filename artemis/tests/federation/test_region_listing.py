"""Reading what nodes of another region answer: whatever it is, it is of use or is said to be of none."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artemis.federation.listing import BadAnswer, counted, listed, looked_up, place_of, read_instances, read_service

GOOD = b'{"responseStatus":{"status":"success","errorCode":"success","message":""},"services":['
SERVICE = (
    b'{"serviceId":"Orders","instances":[{"instanceId":"a","serviceId":"orders","regionId":"eu","url":"u"},7],'
    b'"logicInstances":[],"routeRules":[{"routeId":"r","groups":null,"strategy":null}],"metadata":null,"more":1}'
)


def test_a_listing_is_read_service_by_service() -> None:
    """An instance that cannot be read is none, and takes nobody with it."""
    (raw,) = listed(GOOD + SERVICE + b'],"version":1}')
    service = read_service(raw)
    assert service is not None
    assert (service.service, len(service.beside.route_rules)) == ("orders", 1)
    assert [each and each.instance_id for each in read_instances(service)] == ["a", None]


def test_a_service_without_an_id_is_none() -> None:
    """There is nobody to show it to."""
    assert [read_service(raw) for raw in listed(GOOD + b'null,{},{"serviceId":" "}]}')] == [None, None, None]


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "cannot be read"),
        (b"<html>", "cannot be read"),
        (b"[]", "cannot be read"),
        (b"{}", "no responseStatus"),
        (b'{"responseStatus":{"status":"success"}}', "is missing"),
        (b'{"responseStatus":{"status":"success"},"services":{}}', "cannot be read"),
        (
            b'{"responseStatus":{"status":"fail","errorCode":"service-unavailable","message":"it is starting"}}',
            "it refuses: service-unavailable: it is starting",
        ),
    ],
)
def test_nonsense_is_said_to_be_that(raw: bytes, why: str) -> None:
    """And names what is wrong."""
    with pytest.raises(BadAnswer, match=why):
        listed(raw)


@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.text(max_size=3) | st.integers(), st.lists).map(msgspec.json.encode)
)
def test_no_bytes_do_harm(raw: bytes) -> None:
    """Each reader answers or says that it is nonsense."""
    for read in (listed, place_of, counted, lambda some: looked_up(some, "a")):
        with pytest.raises(BadAnswer):
            read(raw)


def test_a_status_names_the_region() -> None:
    """Of the node, or of its zone as Java nodes say it."""
    assert place_of(b'{"nodeStatus":{"node":{"regionId":"eu","zoneId":"z1"},"status":"up"}}') == ("eu", "z1")
    assert place_of(b'{"nodeStatus":{"node":{"zone":{"regionId":"us","zoneId":"z2"}}}}') == ("us", "z2")
    for nameless in (b'{"nodeStatus":{"status":"up"}}', b'{"nodeStatus":{"node":{"zone":null}}}'):
        with pytest.raises(BadAnswer, match="names no region"):
            place_of(nameless)


def test_a_page_of_services_is_read_as_counts() -> None:
    """With how many there are on all pages."""
    page = GOOD + b'{"serviceId":"Orders","instanceCount":3},null],"total":7,"page":1,"pageSize":2}'
    assert counted(page) == (7, [("orders", 3)])


def test_a_lookup_shows_the_service_that_was_asked_for() -> None:
    """In any letter case; another one is no answer."""
    shown = GOOD + SERVICE.replace(b",7]", b"]") + b"]}"
    assert looked_up(shown, "orders").service_id == "Orders"
    with pytest.raises(BadAnswer, match="does not show the service 'prices'"):
        looked_up(shown, "prices")
