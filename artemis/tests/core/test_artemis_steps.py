"""Large requests read in steps give what they give in one piece (spec 1.1)."""

from collections.abc import Callable, Generator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artemis.model import (
    DiscoveryConfig,
    Instance,
    LookupRequest,
    MalformedBody,
    NodeStatusRequest,
    RegistryRequest,
    decode,
    decode_msgpack,
    decode_steps,
    encode,
    encode_msgpack,
)
from artemis.model.steps import MAX_ELEMENTS, MAX_TOLERANT_BYTES

Steps = Generator[None, None, msgspec.Struct | None]


def run(steps: Steps) -> tuple[msgspec.Struct | None, int]:
    """Return the result of the steps and how often they paused."""
    pauses = 0
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value, pauses
        pauses += 1


@pytest.mark.parametrize("msgpack", [False, True])
def test_ten_thousand_instances_pause_every_size(make_instance: Callable[..., Instance], msgpack: bool):
    """A request of 10 000 instances pauses after each 500 of them and is complete."""
    request = RegistryRequest(instances=[make_instance(str(number)) for number in range(10_000)])
    body = (encode_msgpack if msgpack else encode)(request)
    assert (request, 20) == run(decode_steps(RegistryRequest, body, size=500, msgpack=msgpack))


@pytest.mark.parametrize("msgpack", [False, True])
def test_each_element_is_read_with_tolerance(msgpack: bool):
    """An element with unknown names or nulls is read as ever, also in a body that is large as a whole."""
    elements = [None, {"IP": "a", "unknown": ["x" * 40]}, {"port": None}] * 6_000
    body = (encode_msgpack if msgpack else msgspec.json.encode)({"instances": elements})
    assert len(body) > MAX_TOLERANT_BYTES
    request, _ = run(decode_steps(RegistryRequest, body, msgpack=msgpack))
    assert RegistryRequest(instances=[None, Instance(ip="a"), Instance()] * 6_000) == request


def test_other_fields_are_kept():
    """Fields beside the list come through, and requests without a list are read too."""
    request = LookupRequest(discovery_configs=[DiscoveryConfig(service_id="a")], region_id="r", zone_id="z")
    assert (request, 0) == run(decode_steps(LookupRequest, encode(request)))
    assert (LookupRequest(region_id="r"), 0) == run(decode_steps(LookupRequest, b'{"regionId":"r"}'))
    assert (NodeStatusRequest(), 0) == run(decode_steps(NodeStatusRequest, b"{}"))


def test_small_bodies_are_read_with_tolerance():
    """A small body whose outline is not exact is read by the tolerant reader; null is None."""
    assert (RegistryRequest(instances=[None]), 0) == run(decode_steps(RegistryRequest, b'{"INSTANCES":[null],"x":1}'))
    assert (None, 0) == run(decode_steps(RegistryRequest, b"null"))


def test_large_bodies_must_be_exact_in_their_outline():
    """A large body with another spelling outside its elements is refused instead of holding up everyone."""
    body = b'{"INSTANCES":[%b]}' % b",".join([b"null" + b" " * 100] * 3000)
    with pytest.raises(MalformedBody, match=r"\$: more than 262144 bytes must be exact"):
        run(decode_steps(RegistryRequest, body))


@pytest.mark.parametrize("msgpack", [False, True])
def test_large_elements_must_be_exact(msgpack: bool):
    """An element that is large by itself is read strictly or refused with its place."""
    pack = encode_msgpack if msgpack else msgspec.json.encode
    text = "x" * MAX_TOLERANT_BYTES
    exact = pack({"instances": [None, {"url": text}]})
    request = RegistryRequest(instances=[None, Instance(url=text)])
    assert request == run(decode_steps(RegistryRequest, exact, msgpack=msgpack))[0]
    loose = pack({"instances": [None, {"URL": text}]})
    with pytest.raises(MalformedBody, match=r"\$\.instances\[1\]: more than 262144 bytes must be exact"):
        run(decode_steps(RegistryRequest, loose, msgpack=msgpack))


@pytest.mark.parametrize("count", [MAX_ELEMENTS, MAX_ELEMENTS + 1, 500_000])
@pytest.mark.parametrize("msgpack", [False, True])
@pytest.mark.parametrize("name", ["instances", "INSTANCES"])
def test_elements_are_counted(msgpack: bool, count: int, name: str):
    """A request may have 20 000 elements; more are refused, however small they are and however the list is spelt."""
    body = (encode_msgpack if msgpack else msgspec.json.encode)({name: [None] * count})
    if count > MAX_ELEMENTS:
        with pytest.raises(MalformedBody):
            run(decode_steps(RegistryRequest, body, msgpack=msgpack))
    else:
        assert RegistryRequest(instances=[None] * count) == run(decode_steps(RegistryRequest, body, msgpack=msgpack))[0]


@pytest.mark.parametrize("loose", [False, True])
def test_large_elements_pause_by_their_bytes(loose: bool):
    """Few but large elements pause too; those that need the tolerant reader count more, as they cost more."""
    element = {"URL" if loose else "url": "x" * 20_000}
    _, pauses = run(decode_steps(RegistryRequest, msgspec.json.encode({"instances": [element] * 100})))
    assert (100 if loose else 7) == pauses


def test_a_bad_element_is_named():
    """The place of a mismatch is that in the whole request."""
    with pytest.raises(MalformedBody, match=r"^\$\.instances\[1\]\.port: expected an integer"):
        run(decode_steps(RegistryRequest, b'{"instances":[{},{"port":"x"}]}'))
    with pytest.raises(MalformedBody, match=r"^\$\.instances\[0\]: expected an object, got an array"):
        run(decode_steps(RegistryRequest, b'{"instances":[[]]}'))


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["instances", "port", "ip", "IP", "metadata", "x"]), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_steps_agree_with_one_piece(value: object):
    """Whatever the body, both ways give the same result or are both refused."""
    for msgpack in (False, True):
        try:
            body = (encode_msgpack if msgpack else msgspec.json.encode)(value)
        except (OverflowError, UnicodeEncodeError):
            continue
        try:
            expected = (decode_msgpack if msgpack else decode)(RegistryRequest, body)
        except MalformedBody:
            with pytest.raises(MalformedBody):
                run(decode_steps(RegistryRequest, body, msgpack=msgpack))
        else:
            assert expected == run(decode_steps(RegistryRequest, body, msgpack=msgpack))[0]
