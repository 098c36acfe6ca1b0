"""Describing an instance: what is checked, what is derived."""

import msgspec
import pytest

from artemis.client.names import check_text
from artemis.client.registration.instances import completed
from artemis.model import Instance


def test_missing_parts_are_derived() -> None:
    """Region and zone from the client, name and url from the address."""
    whole = completed(Instance(service_id="s", ip="10.0.0.7", port=80), region_id="r", zone_id="z")
    assert whole == Instance(
        region_id="r",
        zone_id="z",
        service_id="s",
        ip="10.0.0.7",
        port=80,
        instance_id="10.0.0.7:80",
        url="http://10.0.0.7:80",
        status="up",
    )


def test_what_is_given_stays() -> None:
    """Deriving never overwrites, and the caller's object is not touched."""
    given = Instance(region_id="R", zone_id="Z", service_id="S", instance_id="i", url="http://x", status="starting")
    copy = msgspec.structs.replace(given)
    assert completed(given, region_id="other", zone_id="other") == given == copy


def test_the_protocol_and_ipv6_show_in_the_url() -> None:
    """The derived url is one that a caller can use."""
    whole = completed(Instance(service_id="s", ip="::1", port=443, protocol="https"), region_id="r", zone_id="z")
    assert whole.url == "https://[::1]:443"


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        (Instance(ip="h", port=1), "service_id"),
        (Instance(service_id=" ", ip="h", port=1), "service_id"),
        (Instance(service_id="s", url="http://h"), "instance_id"),
        (Instance(service_id="s", instance_id="i", ip="h"), "url"),
    ],
)
def test_what_cannot_be_derived_is_named(given: Instance, missing: str) -> None:
    """The error names the field."""
    with pytest.raises(ValueError, match=f"needs an? {missing}"):
        completed(given, region_id="r", zone_id="z")


def test_a_place_is_needed() -> None:
    """Without a region of its own or of the client there is no key."""
    with pytest.raises(ValueError, match=r"region_id and a zone_id: ArtemisClient\(region_id=.*--region and --zone"):
        completed(Instance(service_id="s", ip="h", port=1), region_id=None, zone_id="z")


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"port": "3"}, "port must be a whole number, not '3'"),
        ({"port": True}, "port must be a whole number, not True"),
        ({"port": None}, "port must be a whole number, not None"),
        ({"service_id": 7}, "service_id must be text or None, not 7"),
        ({"url": b"http://x"}, "url must be text or None"),
        ({"metadata": ["a"]}, "metadata must be a dict or None"),
        ({"metadata": {"version": 2}}, "metadata must map text to text, not 'version' to 2"),
        ({"metadata": {2: "version"}}, "metadata must map text to text, not 2 to 'version'"),
    ],
)
def test_a_field_of_a_wrong_type_is_named(fields: dict[str, object], complaint: str) -> None:
    """At once and by name, before anything is sent."""
    described: dict[str, object] = {"service_id": "s", "ip": "127.0.0.1", "port": 1, **fields}
    with pytest.raises(TypeError, match=complaint):
        completed(Instance(**described), region_id="r", zone_id="z")  # type: ignore[arg-type]


@pytest.mark.parametrize("port", [-1, 65536, 70000])
def test_a_port_that_cannot_be_is_an_error(port: int) -> None:
    """0 means unknown; 65535 is the last one."""
    with pytest.raises(ValueError, match=f"port must be from 0 .* to 65535, not {port}"):
        completed(Instance(service_id="s", ip="127.0.0.1", port=port), region_id="r", zone_id="z")


def test_metadata_may_have_empty_places() -> None:
    """A key without a value is allowed on the wire."""
    given = Instance(service_id="s", ip="127.0.0.1", port=65535, metadata={"a": "1", "b": None})
    assert completed(given, region_id="r", zone_id="z").metadata == {"a": "1", "b": None}


def test_a_name_is_text_that_is_not_blank() -> None:
    """The error names the argument; space around the text does not count."""
    assert check_text("service_id", " orders ") == "orders"
    with pytest.raises(TypeError, match="service_id must be text, not None"):
        check_text("service_id", None)
    with pytest.raises(ValueError, match="service_id must not be blank"):
        check_text("service_id", " ")


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"url": "http://x/\ud800"}, "an instance's url holds '.ud800'"),
        ({"service_id": "\udce9"}, "an instance's service_id holds"),
        ({"metadata": {"a": "\ud800"}}, r"an instance's metadata\['a'\] holds"),
        ({"metadata": {"\ud800": "a"}}, "a key of an instance's metadata holds"),
        ({"instance_id": "i" * 1025}, "an instance's instance_id must be at most 1024 characters long, not 1025"),
        ({"group_id": "g" * 1025}, "an instance's group_id must be at most 1024"),
        ({"service_id": "s" * 1025}, "an instance's service_id must be at most 1024"),
    ],
)
def test_what_no_message_can_carry_is_an_error(fields: dict[str, object], complaint: str) -> None:
    """Text that UTF-8 cannot encode and ids that no node takes are named before anything is sent."""
    described: dict[str, object] = {"service_id": "s", "ip": "127.0.0.1", "port": 1, **fields}
    with pytest.raises(ValueError, match=complaint):
        completed(Instance(**described), region_id="r", zone_id="z")  # type: ignore[arg-type]


def test_long_text_that_is_no_id_is_allowed() -> None:
    """Only ids have a bound of their own."""
    given = Instance(service_id="s" * 1024, instance_id="i", url="http://x/" + "u" * 2000)
    assert completed(given, region_id="r", zone_id="z").url == given.url


def test_a_name_can_be_sent() -> None:
    """Half of a surrogate pair cannot, nor can what no node takes."""
    with pytest.raises(ValueError, match=r"service_id holds '.ud800', half of a character"):
        check_text("service_id", "o\ud800")
    with pytest.raises(ValueError, match="service_id must be at most 1024 characters long, not 1025"):
        check_text("service_id", "s" * 1025)
    assert check_text("service_id", " " + "ü" * 1024) == "ü" * 1024
