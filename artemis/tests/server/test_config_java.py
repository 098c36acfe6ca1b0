"""Java's properties files, read and converted: format, value rules, every key of the table (spec 10)."""

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artemis.server.config import ConfigError, ServeConfig, checked, load_config
from artemis.server.java_config import COUNTERPARTS, NO_COUNTERPARTS, Counterpart, NoCounterpart, Number, row_of
from artemis.server.java_import import Conversion, convert, toml
from artemis.server.java_properties import PropertiesError, read_properties

DEFAULTS = {name: field.get_default(call_default_factory=True) for name, field in ServeConfig.model_fields.items()}
TTL = "artemis.service.registry.instance.lease-manager.lease.ttl"

SHIPPED = b"""
artemis.service.cluster.node.status.force-up=true
artemis.service.registry.allow-from-other-zone=true
artemis.service.discovery.allow-from-other-zone=true
artemis.service.registry.instance.lease-manager.clean-task.init-delay=50
artemis.service.registry.instance.lease-manager.clean-task.run-interval=100
artemis.service.registry.instance.lease-manager.lease.ttl=20000
artemis.service.registry.instance.lease-manager.lease-update-safe-checker.time-window=12000
artemis.service.registry.instance.lease-manager.thread-pool-size=8
artemis.service.registry.legacy-instance.lease-manager.clean-task.init-delay=50
artemis.service.registry.legacy-instance.lease-manager.clean-task.run-interval=1000
artemis.service.registry.legacy-instance.lease-manager.lease.ttl=90000
artemis.service.registry.legacy-instance.lease-manager.lease-update-safe-checker.time-window=60000
artemis.service.registry.replicaton.client.socket-timeout=200
artemis.service.status.rate-limiter.rate-limit-map=get-leases:10
artemis.trace.enabled=true
"""


SHUT = {"allow_registry_from_other_zone": False, "allow_discovery_from_other_zone": False}


def converted(text: str, ip: str = "", deployment: dict[str, str] | None = None) -> Conversion:
    """Convert the text of a file."""
    return convert(read_properties(text.encode()), DEFAULTS, ip, deployment)


def outcome(text: str) -> tuple[str, object]:
    """What became of the only line of a file, and of its option."""
    conversion = converted(text)
    (note,) = conversion.notes
    return note.outcome, conversion.options.get(note.option)


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        (b"a=1\nb:2\nc 3\n", {"a": "1", "b": "2", "c": "3"}),
        (b"  a \t=  1  \r\n! note\r# note\r\nb", {"a": "1  ", "b": ""}),
        (b"a = one, \\\n    two,\\\r\n\tthree\nb=1\\\\\nc=2", {"a": "one, two,three", "b": "1\\", "c": "2"}),
        (b"a\\ b\\:c\\=d = e=f:g", {"a b:c=d": "e=f:g"}),
        (b"a=\\u0041\\t\\z\nb=\\u00e9", {"a": "A\tz", "b": "é"}),
        ("a=é".encode(), {"a": "é"}),
        ("a=é".encode("iso-8859-1"), {"a": "é"}),
        (b"\xef\xbb\xbfa=1", {"a": "1"}),
        (b"a=1\na=2", {"a": "2"}),
        (b"a=x\\\n# no comment here", {"a": "x# no comment here"}),
        (b"a=1\\", {"a": "1"}),
        (b"", {}),
        (b"= v\n : w", {"": "w"}),
    ],
)
def test_the_format_is_that_of_java(text, entries):
    """Separators, blanks, comments, continuation lines, escapes, both encodings."""
    assert entries == read_properties(text)


def test_a_bad_escape_is_named_with_its_line():
    r"""`\u` needs four digits."""
    with pytest.raises(PropertiesError, match="line 2"):
        read_properties(b"a=1\nb=\\u12g4")


def test_the_shipped_file_is_a_working_configuration(tmp_path: Path):
    """Every line is accounted for, and a node takes what comes out of it."""
    conversion = convert(read_properties(SHIPPED), DEFAULTS)
    assert len(read_properties(SHIPPED)) == len(conversion.notes)
    assert {"converted", "no counterpart"} == {note.outcome for note in conversion.notes}
    file = tmp_path / "artemis.toml"
    file.write_text(toml(conversion.options, conversion.notes))
    taken = load_config(file, {})
    assert (20.0, 90.0) == (taken.lease_ttl, taken.legacy_lease_ttl)
    assert taken.allow_registry_from_other_zone
    assert {"status.get-leases": 10} == taken.rate_limit_map
    assert set(conversion.options) == set(taken.given)


@pytest.mark.parametrize(
    ("line", "became"),
    [
        (f"{TTL}=30000", ("converted", 30.0)),
        (f"{TTL}=30500", ("converted", 30.5)),
        (f"{TTL}=9999", ("clamped", 10.0)),
        (f"{TTL}=-5", ("clamped", 10.0)),
        (f"{TTL}=604800001", ("clamped", 604_800.0)),
        (f"{TTL}=0", ("unset", None)),
        (f"{TTL}=  ", ("unset", None)),
        (f"{TTL}=soon", ("default", None)),
        ("artemis.service.registry.allow-from-other-zone=TRUE", ("converted", True)),
        ("artemis.service.registry.allow-from-other-zone=yes", ("converted", False)),
        ("artemis.service.registry.allow-from-other-zone=", ("unset", False)),
        ("artemis.service.websocket.session.ttl=1", ("clamped", 300.0)),
        ("artemis.service.registry.rate-limiter.default-rate-limit=5", ("clamped", 1000)),
        ("artemis.service.registry.rate-limiter.enabled=false", ("converted", 0)),
        ("artemis.service.service-discovery.ws-ip.black-list=10.0.0.1, ::1", ("converted", ["10.0.0.1", "::1"])),
        ("region.id= SHA ", ("converted", "SHA")),
        ("app.path=/artemis-service/", ("converted", "/artemis-service")),
        ("artemis.service.cluster.node.status.force-down.10.0.0.1=true", ("no counterpart", None)),
        ("artemis.service.registry.replication.client.socket-timeout=200", ("no counterpart", None)),
        ("artemis.service.registry.replication.batching.task-acceptor.max-buffer-size=9", ("no counterpart", None)),
        (
            "artemis.management.data.cache-refresher.dynamic-scheduled-thread.init-delay=1",
            ("no counterpart", None),
        ),
        ("artemis.client.soa.registry.http-client.retry-times=5", ("no counterpart", None)),
        ("artemis.service.registry.instance.lease-manager.lease.tll=5", ("unknown", None)),
        (f"{TTL}.10.0.0.1=30000", ("other host", None)),
        ("artemis.no-such-key.10.0.0.1=30000", ("unknown", None)),
    ],
)
def test_values_follow_the_rules_of_the_original(line, became):
    """Blank and 0 are no value, numbers are moved into their range, only `true` is true (spec 10.1)."""
    assert became == outcome(line)


def test_the_line_of_the_host_beats_the_general_one():
    """Where the address matches, in either order; elsewhere it is named and left out."""
    for text in (f"{TTL}=30000\n{TTL}.10.0.0.7=40000\n", f"{TTL}.10.0.0.7=40000\n{TTL}=30000\n"):
        assert 40.0 == converted(text, ip="10.0.0.7").options["lease_ttl"]
        assert 30.0 == converted(text, ip="10.0.0.8").options["lease_ttl"]
        assert ["converted", "other host"] == sorted(note.outcome for note in converted(text).notes)


def test_a_blacklist_that_is_switched_off_is_left_out():
    """Its switch is a key of its own."""
    key = "artemis.service.service-heartbeat.ws-ip.black-list"
    assert SHUT == converted(f"{key}=10.0.0.1\n{key}.enabled=false").options
    kept = converted(f"{key}.enabled=true\n{key}=10.0.0.1,nobody")
    assert SHUT | {"ws_blacklist_heartbeat": ["10.0.0.1"]} == kept.options
    assert any("nobody" in note.why for note in kept.notes)


def test_a_limiter_that_is_switched_off_limits_nothing():
    """Neither its default nor its map holds, in whatever order they stand."""
    limiter = "artemis.service.status.rate-limiter"
    lines = [f"{limiter}.enabled=false", f"{limiter}.default-rate-limit=50", f"{limiter}.rate-limit-map=get-leases:9"]
    for order in (lines, lines[::-1]):
        assert SHUT | {"rate_limit_status": 0} == converted("\n".join(order)).options


def test_limits_of_operations_join_and_keep_their_ranges():
    """Several limiters make one option; names that are none and numbers out of range are told."""
    conversion = converted(
        "artemis.service.status.rate-limiter.rate-limit-map=get-leases:99999,nonsense:5,get-config:x\n"
        "artemis.service.cluster.rate-limiter.rate-limit-map=up-registry-nodes:500"
    )
    assert {"status.get-leases": 10_000, "cluster.up-registry-nodes": 500} == conversion.options["rate_limit_map"]
    assert "nonsense:5 is left out" in conversion.notes[0].why
    assert "get-leases is 10000" in conversion.notes[0].why


def test_a_deployment_listens_and_announces_itself_as_a_container_does():
    """On all addresses; with the host's address also under it, path included."""
    deployment = {"region.id": "SHA", "zone.id": "z", "app.port": "9090", "app.path": "registry", "app.id": "1"}
    assert (
        SHUT
        | {
            "host": "0.0.0.0",
            "region": "SHA",
            "zone": "z",
            "port": 9090,
            "path_prefix": "/registry",
            "self_url": "http://10.0.0.7:9090/registry",
        }
        == converted("", "10.0.0.7", deployment).options
    )
    assert "self_url" not in converted("", "", deployment).options


@pytest.mark.parametrize("text", ["--5", "5" * 5_000, "+-5", "1_000", "5.0", "", "0"])
def test_a_limit_that_is_no_number_is_left_out(text):
    """Whatever it looks like; the same text is the default where one number stands alone."""
    key = "artemis.service.registry.rate-limiter"
    conversion = converted(f"{key}.rate-limit-map=register:{text}\n{key}.default-rate-limit={text}")
    assert "is left out" in conversion.notes[0].why
    assert "rate_limit_registry" not in conversion.options


@settings(deadline=None, max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from([row.key for row in COUNTERPARTS] + [f"{TTL}.10.0.0.7", "no.such"]),
        st.one_of(
            st.text(max_size=20),
            st.integers().map(str),
            st.sampled_from(
                ["true", "false", "register:--5,heartbeat:9", "a\x7fb", "a\x00b", "\ud800", "10.0.0.1,::1"]
            ),
        ),
    )
)
def test_a_node_takes_whatever_is_converted(entries):
    """Or the conversion is refused; there is no file that a node refuses."""
    conversion = convert(entries, DEFAULTS, "10.0.0.7")
    try:
        expected = checked(conversion.options, {})
    except ConfigError:
        return
    text = toml(conversion.options, conversion.notes, conversion.differences)
    assert expected == checked({name.replace("-", "_"): value for name, value in tomllib.loads(text).items()}, {})


def test_half_a_character_is_none():
    """Two escapes make one, one alone makes none."""
    assert {"a": "\U0001f600", "b": "\ufffd"} == read_properties(b"a=\\ud83d\\ude00\nb=\\ud800")


def test_what_was_shut_there_stays_shut():
    """Where our default is more open than the original's, the file has the original's."""
    conversion = converted("")
    assert {"allow_registry_from_other_zone": False, "allow_discovery_from_other_zone": False} == conversion.options
    text = toml(conversion.options, conversion.notes, conversion.differences)
    key = "artemis.service.registry.allow-from-other-zone"
    assert f"allow-registry-from-other-zone = false  # the original's without {key}\n" in text
    assert True is converted(f"{key}=true").options["allow_registry_from_other_zone"]


def test_defaults_that_differ_are_named():
    """What the file leaves open may mean something else here; what it says does not."""
    named = {difference.option: (difference.ours, difference.theirs) for difference in converted("").differences}
    assert ("true", "false") == named["allow_registry_from_other_zone"]
    assert ("2000000", "100000") == named["rate_limit_registry"]
    assert ("90", "20") == named["legacy_lease_ttl"]
    assert "lease_ttl" not in named
    assert "allow_registry_from_other_zone" not in {
        difference.option for difference in converted("artemis.service.registry.allow-from-other-zone=true").differences
    }


def example(row: NoCounterpart) -> str:
    """A key that the row means."""
    parts = {
        "<L>": "artemis.service.registry.legacy-instance",
        "<D>": "artemis.service.registry.replication.non-batching",
        "<ip>": "10.0.0.1",
        "<id>": "soa",
        "<rest>": "anything.at-all",
        "<thread>": "dynamic-scheduled-thread.run-interval",
        "<http>": "client.connect-timeout",
    }
    return re.sub(r"<\w+>", lambda found: parts[found.group()], row.key)


def test_every_row_of_the_table_is_reached():
    """No key stands behind another one that hides it, and every option exists."""
    assert [] == [row.key for row in COUNTERPARTS if row_of(row.key) != row or row.option not in DEFAULTS]
    found = {row.key: row_of(example(row)) for row in NO_COUNTERPARTS}
    assert [] == [row.key for row in NO_COUNTERPARTS if not isinstance(found[row.key], NoCounterpart)]
    whys = {row.key: row.why for row in NO_COUNTERPARTS}
    assert [] == [key for key, row in found.items() if isinstance(row, NoCounterpart) and row.why != whys[key]]


@pytest.mark.parametrize("row", [row for row in COUNTERPARTS if isinstance(row.kind, Number)], ids=lambda row: row.key)
def test_our_ranges_hold_theirs(row: Counterpart):
    """What the original takes, in its own unit, our option takes: both ends of the range and the default."""
    assert isinstance(row.kind, Number)
    for number in (row.kind.low, row.kind.default, row.kind.high):
        if number == 0:
            continue
        options = converted(f"{row.key}={number}").options
        assert [row.option] == [name for name in options if name not in SHUT]
        if row.option in {"lease_ttl", "legacy_lease_ttl"}:
            options = {"lease_ttl": options[row.option], "legacy_lease_ttl": options[row.option]}
        assert options[row.option] == getattr(ServeConfig(**options), row.option)
