"""Wire structs and their readers: spec 1.1."""

import json
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artemis.model import (
    Instance,
    LookupRequest,
    LookupResponse,
    MalformedBody,
    NodeStatusRequest,
    NodeStatusResponse,
    RegistryRequest,
    RegistryResponse,
    Service,
    ServiceNodeStatus,
    ServiceRequest,
    ServiceResponse,
    ServicesRequest,
    ServicesResponse,
    decode,
    decode_msgpack,
    encode,
    encode_canonical,
    encode_msgpack,
)
from artemis.model.instances import instance_text
from artemis.model.services import ServiceGroup
from artemis.model.tolerant import _reader

STRUCTS = [
    Instance,
    LookupRequest,
    LookupResponse,
    NodeStatusRequest,
    NodeStatusResponse,
    RegistryRequest,
    RegistryResponse,
    ServiceRequest,
    ServiceResponse,
    ServicesRequest,
    ServicesResponse,
]

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
INSTANCES = st.builds(
    Instance,
    group_id=st.none() | TEXT,
    health_check_url=st.none() | TEXT,
    instance_id=st.none() | TEXT,
    ip=st.none() | TEXT,
    machine_name=st.none() | TEXT,
    metadata=st.none() | st.dictionaries(TEXT, st.none() | TEXT, max_size=4),
    port=st.integers(-(2**31), 2**31 - 1),
    protocol=st.none() | TEXT,
    region_id=st.none() | TEXT,
    service_id=st.none() | TEXT,
    status=st.none() | TEXT,
    url=st.none() | TEXT,
    zone_id=st.none() | TEXT,
)
REQUESTS = st.builds(RegistryRequest, instances=st.none() | st.lists(st.none() | INSTANCES, max_size=3))
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["instances", "INSTANCES", "port", "metadata", "ip", "serviceId", "x", "responseStatus"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def one_instance(body: str) -> Instance:
    request = decode(RegistryRequest, b'{"instances":[%b]}' % body.encode())
    assert request is not None
    assert request.instances is not None
    (instance,) = request.instances
    assert instance is not None
    return instance


def test_output_is_alphabetical_with_nulls():
    """An instance is written with all its properties in alphabetical order, nulls included."""
    written = json.loads(encode(Instance(service_id="a", port=1)))
    assert sorted(Instance.__struct_encode_fields__) == list(written)
    assert written["url"] is None


@pytest.mark.parametrize("struct", [*STRUCTS, Service, ServiceNodeStatus, ServiceGroup])
def test_every_struct_declares_alphabetical_names(struct: type[msgspec.Struct]):
    """Every wire struct declares its fields in the order of their JSON names."""
    assert sorted(struct.__struct_encode_fields__) == list(struct.__struct_encode_fields__)


def test_names_in_any_case_and_unknown_names():
    """Property names are found in any letter case and unknown ones are ignored, whatever they hold."""
    instance = one_instance('{"SERVICEID":"a","InstanceId":"b","weird":[{"x":[1,null]}],"uRL":"u"}')
    assert Instance(service_id="a", instance_id="b", url="u") == instance


@pytest.mark.parametrize(
    ("written", "port"),
    [
        ('"81"', 81),
        ('" 81 "', 81),
        ('"+81"', 81),
        ("81.9", 81),
        ("8.1e1", 81),
        ("-0", 0),
        ("null", 0),
        ('""', 0),
        ('"null"', 0),
        ("2147483647", 2**31 - 1),
    ],
)
def test_numbers_are_read_as_jackson_reads_them(written: str, port: int):
    """Numeric text, fractions and nulls become integers."""
    assert port == one_instance(f'{{"port":{written}}}').port


@pytest.mark.parametrize(
    "written",
    [
        "true",
        "{}",
        "[1]",
        '"1.5"',
        '"x"',
        '"1_0"',
        "2147483648",
        '"-2147483649"',
        "1e400",
        "1e10",
        '"' + "9" * 70 + '"',
    ],
)
def test_what_is_no_integer_is_refused_with_its_place(written: str):
    """A port that Jackson would refuse too is malformed, and the message names the place."""
    with pytest.raises(MalformedBody, match=r"\$\.instances\[1\]\.port: expected an integer"):
        decode(RegistryRequest, b'{"instances":[null,{"PORT":%b}]}' % written.encode())


@pytest.mark.parametrize(
    ("written", "text"), [("1.50", "1.50"), ("81", "81"), ("true", "true"), ("false", "false"), ('"a\tb"', "a\tb")]
)
def test_scalars_become_text_and_control_characters_pass(written: str, text: str):
    """Numbers keep their spelling when text is wanted, booleans their word, and raw control characters are accepted."""
    assert text == one_instance(f'{{"ip":{written}}}').ip


@pytest.mark.parametrize("written", ["[]", "{}"])
def test_structures_are_no_text(written: str):
    """An array or object where text belongs is malformed."""
    with pytest.raises(MalformedBody, match=r"\$\.instances\[0\]\.metadata\['k'\]: expected text"):
        one_instance(f'{{"metadata":{{"k":{written}}}}}')


def test_metadata_keeps_names_and_nulls():
    """Names inside a map keep their case, numbers become text and nulls stay."""
    assert {"Key": "1", "key": None} == one_instance('{"metadata":{"Key":1,"key":null},"X":1}').metadata


def test_the_last_of_repeated_names_counts():
    """Among repeated names, also in different case, the last one counts, and null resets."""
    assert "c" == one_instance('{"ip":"a","IP":"b","ip":"c","x":1}').ip
    assert 0 == one_instance('{"port":1,"PORT":null}').port


@pytest.mark.parametrize(
    ("written", "flag"),
    [("true", True), ('"TRUE"', True), ("1", True), ("0", False), ('"false"', False), ('""', None), ("null", None)],
)
def test_booleans(written: str, flag: bool | None):
    """Words and integers become booleans; a blank or null flag stays null."""
    status = decode(ServiceNodeStatus, b'{"x":1,"canServiceRegistry":%b}' % written.encode())
    assert ServiceNodeStatus(can_service_registry=flag) == status


@pytest.mark.parametrize("written", ['"yes"', "[]", "1e400"])
def test_what_is_no_boolean_is_refused(written: str):
    """Other values for a flag are malformed."""
    with pytest.raises(MalformedBody, match="expected a boolean"):
        decode(ServiceNodeStatus, b'{"canServiceRegistry":%b}' % written.encode())


def test_nullable_number_stays_null():
    """A number that may be null is not turned into 0."""
    assert ServiceGroup() == decode(ServiceGroup, b'{"weight":"","x":1}')


def test_null_body_is_none():
    """The literal null is no request."""
    assert decode(RegistryRequest, b" null ") is None
    assert decode_msgpack(RegistryRequest, b"\xc0") is None


def test_trailing_text_is_refused_unless_asked_for():
    """Text after the value is malformed, except where the caller knows that the original ignores it."""
    body = b'{"instances":[]} garbage'
    with pytest.raises(MalformedBody, match="character 17"):
        decode(RegistryRequest, body)
    assert RegistryRequest(instances=[]) == decode(RegistryRequest, body, ignore_trailing=True)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32-le"])
def test_other_unicode_encodings_are_recognised(encoding: str):
    """A byte order mark, UTF-16 and UTF-32 are understood as Jackson does."""
    assert RegistryRequest(instances=[]) == decode(RegistryRequest, '{"instances":[]}'.encode(encoding))


def test_lone_surrogates_become_replacement_characters():
    """Half of a surrogate pair is replaced, so that the answer can be written; a whole pair is one character."""
    instance = one_instance(r'{"ip":"\ud800x","url":"\ud83d\ude00","X":1}')
    assert ("\ufffdx", "\U0001f600") == (instance.ip, instance.url)
    encode(instance)


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"{", "not JSON"),
        (b"garbage", "not JSON"),
        (b'{"x":NaN}', "NaN is not a JSON number"),
        (b'{"x":-Infinity}', "not a JSON number"),
        (b'{"ip":"\xff"}', "not text"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"x":' * 100_000, "nested too deeply"),
        (b"[]", r"\$: expected an object, got an array"),
        (b"3", r"\$: expected an object, got the number 3"),
        (b'"x"', r"\$: expected an object, got the text 'x'"),
        (b"true", r"\$: expected an object, got a boolean"),
        (b'{"instances":{}}', r"\$\.instances: expected an array, got an object"),
        (b'{"instances":""}', r"\$\.instances: expected an array"),
        (b'{"instances":[[]]}', r"\$\.instances\[0\]: expected an object"),
    ],
)
def test_what_cannot_be_read_is_malformed(body: bytes, match: str):
    """What Jackson refuses too raises MalformedBody and says where and why."""
    with pytest.raises(MalformedBody, match=match):
        decode(RegistryRequest, body)


def test_numbers_of_any_length_pass_where_nobody_reads_them():
    """A number with thousands of digits under an unknown name does no harm."""
    assert NodeStatusRequest() == decode(NodeStatusRequest, b'{"x":%b}' % (b"9" * 10_000))


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (b"", "not MessagePack"),
        (b"\xc1", "not MessagePack"),
        (b"\xdd\xff\xff\xff\xff", "not MessagePack"),
        (b"\x81\xa9instances\xa1\xff", "not MessagePack"),
        (b"\x91" * 200_000, "nested too deeply"),
        (b"\x81\xa9instances\x01", r"\$\.instances: expected an array, got the number 1"),
        (encode_msgpack({"instances": [{"ip": b"raw"}]}), r"\$\.instances\[0\]\.ip: expected text, got binary data"),
        (b"\x81\xa9instances\xd6\xff\x00\x00\x00\x00", r"expected an array, got a datetime"),
    ],
)
def test_what_cannot_be_read_as_msgpack_is_malformed(body: bytes, match: str):
    """MessagePack that is broken or of the wrong kinds raises MalformedBody."""
    with pytest.raises(MalformedBody, match=match):
        decode_msgpack(RegistryRequest, body)


def test_msgpack_is_as_tolerant_as_json():
    """MessagePack is read with the same tolerance: letter case, unknown and non-text names, numbers for text."""
    body = encode_msgpack({"INSTANCES": [{"Port": "81", "ip": 1.5, 7: 1, "zoneId": True, "x": {}, "METADATA": {1: 2}}]})
    expected = Instance(port=81, ip="1.5", zone_id="true", metadata={"1": "2"})
    assert Instance(port=80) == decode_msgpack(Instance, encode_msgpack({"PORT": 80.9}))
    assert Instance(port=80) == decode_msgpack(Instance, encode_msgpack({"PORT": 80}))
    assert RegistryRequest(instances=[expected]) == decode_msgpack(RegistryRequest, body)


def test_ten_thousand_instances():
    """A request of 10 000 instances is read whole, by both readers."""
    request = RegistryRequest(instances=[Instance(instance_id=str(number)) for number in range(10_000)])
    body = encode(request)
    assert request == decode(RegistryRequest, body)
    assert request == decode(RegistryRequest, body.replace(b'"instances"', b'"INSTANCES"'))


def test_a_null_status_reads_as_an_unstated_one():
    """A response without a status still has one, with nothing in it."""
    response = decode(RegistryResponse, b'{"responseStatus":null}')
    assert response is not None
    assert (None, False) == (response.response_status.status, response.response_status.ok)


def test_instance_text(make_instance: Callable[..., Instance]):
    """The text form is in lower case, has the group only when it is not blank, and survives missing parts."""
    assert "r1/z1/demo.orders/10.0.0.1" == instance_text(make_instance(group_id="  ", service_id="Demo.Orders"))
    assert "r1/z1/demo.orders/g/10.0.0.1" == instance_text(make_instance(group_id="G"))
    assert "///" == instance_text(Instance())


def test_canonical_form_does_not_depend_on_the_order_of_metadata():
    """Equal content has equal canonical bytes."""
    assert encode_canonical(Instance(metadata={"a": "1", "b": "2"})) == encode_canonical(
        Instance(metadata={"b": "2", "a": "1"})
    )


def test_a_type_the_wire_does_not_have_is_an_error_of_the_programmer():
    """A wire struct with an unsupported field type is refused when its reader is built."""
    with pytest.raises(TypeError, match="the wire has no type"):
        _reader(float)


@given(REQUESTS)
def test_round_trip(request_: RegistryRequest):
    """What is written is read back equal, as JSON and as MessagePack, from any kind of buffer."""
    assert request_ == decode(RegistryRequest, encode(request_))
    assert request_ == decode(RegistryRequest, memoryview(encode(request_)))
    assert request_ == decode_msgpack(RegistryRequest, encode_msgpack(request_))


@given(REQUESTS)
def test_the_tolerant_reader_agrees_with_the_strict_one(request_: RegistryRequest):
    """The tolerant reader reads well-formed requests as the strict one does."""
    body = encode(request_).replace(b'{"instances"', b'{"unknown":0,"instances"', 1)
    assert request_ == decode(RegistryRequest, body)


@given(JSON_VALUES, st.sampled_from(STRUCTS))
def test_any_json_is_read_or_malformed_and_can_be_written(value: object, struct: type[msgspec.Struct]):
    """Any JSON gives a struct that can be written, None or MalformedBody, in both formats."""
    for read, body in ((decode, json.dumps(value).encode()), (decode_msgpack, _packed(value))):
        try:
            result = read(struct, body)
        except MalformedBody:
            continue
        if result is not None:
            assert result == decode(struct, encode(result))
            assert result == decode_msgpack(struct, encode_msgpack(result))


@given(st.binary(max_size=64), st.sampled_from(STRUCTS))
def test_any_bytes_are_read_or_malformed(body: bytes, struct: type[msgspec.Struct]):
    """Any bytes give a struct, None or MalformedBody."""
    for read in (decode, decode_msgpack):
        try:
            result = read(struct, body)
        except MalformedBody:
            continue
        assert result is None or isinstance(result, struct)


def _packed(value: object) -> bytes:
    """Return the value as MessagePack; numbers and text that it cannot hold make it broken."""
    try:
        return encode_msgpack(value)
    except (OverflowError, UnicodeEncodeError):
        return b"\xc1"


def test_an_instance_cannot_be_changed_and_has_a_place_in_sets():
    """The client hands out what it keeps; equal ones have equal hashes, with metadata too."""
    one = Instance(region_id="r", service_id="s", instance_id="i", metadata={"a": "b"})
    with pytest.raises(AttributeError, match="immutable"):
        one.url = "http://x"
    again = msgspec.structs.replace(one, metadata={"a": "b"})
    other = msgspec.structs.replace(one, url="http://x")
    assert {one, other} == {one, again, other}
    assert hash(one) == hash(again)
    assert one != other


def test_an_instance_shows_what_it_was_given():
    """In logs and at prompts, without the fields that say nothing."""
    assert "Instance(port=9000, service_id='orders')" == repr(Instance(service_id="orders", port=9000))
