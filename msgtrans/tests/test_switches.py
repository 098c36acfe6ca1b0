"""Each short way of a session can be turned off, and nothing that a peer or user can see changes.

Tests of conformance, sessions and requests, run again with each switch of `Optimizations` off, and with all of them.
What each switch does is in `test_commands`; what it brings, in `benchmarks/msgtrans_switches.py`.
"""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from carriers import TCP, WS, Carrier
from hypothesis import given
from hypothesis import strategies as st
from test_codec import packets
from test_conformance import (  # noqa: F401 - run here too
    test_06_cut_at_every_offset,
    test_19_a_disconnect_fails_all_at_once,
    test_19_late_answers_are_dropped,
    test_22_an_abort_is_seen_as_an_end,
    test_22_closed_comes_once_and_last,
    test_23_a_burst_each_way_keeps_the_session,
    test_24_ids_wrap,
)
from test_sessions import (  # noqa: F401 - as above
    test_compressed_both_ways,
    test_graceful_close_delivers_everything_queued,
    test_handlers_see_every_field,
    test_one_way_messages_keep_their_order,
)

from msgtrans import Optimizations, Packet, PacketDecoder, SessionConfig, TransportClient, TransportServer, encode

OFF = {field.name: Optimizations(**{field.name: False}) for field in msgspec.structs.fields(Optimizations)}
OFF["all"] = Optimizations(batching=False, buffer_pool=False, coalescing=False, recognition=False)
CASES = [(TCP, name) for name in OFF] + [(WS, "recognition"), (WS, "all")]


class SwitchedCarrier(Carrier):
    """A carrier whose servers and clients have optimizations turned off."""

    def __init__(self, name: str, optimizations: Optimizations) -> None:
        super().__init__(name, None)
        self.optimizations = optimizations

    def server(self, session: SessionConfig | None = None, **options: object) -> TransportServer:
        return super().server((session or SessionConfig()).replace(optimizations=self.optimizations), **options)

    def client(
        self, server: TransportServer, session: SessionConfig | None = None, **options: object
    ) -> TransportClient:
        return super().client(server, (session or SessionConfig()).replace(optimizations=self.optimizations), **options)


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-without-{case[1]}")
def carrier(request: pytest.FixtureRequest) -> Carrier:
    """The transport of `server`, `client` and `connect_raw`, with something turned off."""
    name, off = request.param
    return SwitchedCarrier(name, OFF[off])


async def test_the_switches_reach_the_sessions(
    carrier: SwitchedCarrier, server: TransportServer, client: TransportClient
) -> None:
    """What the config says holds for the sessions of both sides."""
    await client.request(b"")
    (session,) = server.sessions.values()
    assert [carrier.optimizations] * 2 == [session.config.optimizations, client.session.config.optimizations]


@given(st.lists(packets, max_size=6), st.lists(st.integers(0, 3000), max_size=6), st.binary(max_size=30))
def test_decoders_without_recognition(made: list[Packet], cuts: list[int], garbage: bytes) -> None:
    """A decoder gives the same packets and the same error with and without recognition, however the stream is cut."""
    stream = b"".join(map(encode, made)) + garbage
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    plain, careful = PacketDecoder(), PacketDecoder(recognition=False)
    for start, stop in pairwise(edges):
        assert plain.feed(stream[start:stop]) == careful.feed(stream[start:stop])
    assert (repr(plain.error), plain.partial, plain.kept) == (repr(careful.error), careful.partial, careful.kept)
