"""Limits and policies of packets (specification 1.3, 1.5, 1.7). Not here: reading and writing them (`codec`)."""

from __future__ import annotations

from typing import Final, Literal, Self

import msgspec
from msgspec.structs import replace

from msgtrans.errors import ConfigurationError
from msgtrans.field_types import check_types
from msgtrans.packet import HEADER_SIZE

MIB: Final = 1 << 20


class CodecOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and policies of the codec, the same for every transport (specification 1.3, 1.5, 1.7).

    max_payload_size: bytes of payload, as sent and before compression; default 16 MiB.
    max_ext_header_size: bytes of ext header; default and most 65 535.
    max_packet_size: bytes of a whole packet that is sent, header and ext header included; default None, what the other
        two add up to. Peers with a small buffer need it.
    max_inflated_size: bytes a compressed payload may become on receive; default 16 MiB.
    frame_policy: "strict" (default) refuses unknown packet types and compression codes and trailing bytes;
        "lenient" reads them as the Rust crate 1.0.0 does: as one-way, as uncompressed, ignored.
    on_bad_compression: "error" (default) refuses a payload that does not inflate; "raw" hands it over unchanged
        and counts it, for peers that mark payloads as compressed without compressing them.
    compress: payloads are compressed when a call asks for it; default on. Off: they travel plain whatever calls ask.
    refused_flags: bits of `Flag` that the peer must not see; sending with one raises LocalProtocolError; default 0.
    """

    max_payload_size: int = 16 * MIB
    max_ext_header_size: int = 0xFFFF
    max_packet_size: int | None = None
    max_inflated_size: int = 16 * MIB
    frame_policy: Literal["strict", "lenient"] = "strict"
    on_bad_compression: Literal["error", "raw"] = "error"
    compress: bool = True
    refused_flags: int = 0

    def __post_init__(self) -> None:
        """Refuse values outside the protocol's ranges with ConfigurationError."""
        check_types(self)
        if not 0 < self.max_payload_size <= 0xFFFF_FFFF:
            raise ConfigurationError("max_payload_size", "must be 1 to 2**32 - 1 bytes")
        if not 0 <= self.max_ext_header_size <= 0xFFFF:
            raise ConfigurationError("max_ext_header_size", "must be 0 to 65535 bytes")
        if self.max_packet_size is not None and self.max_packet_size < HEADER_SIZE + self.max_payload_size:
            raise ConfigurationError(
                "max_packet_size", f"must be at least {HEADER_SIZE} bytes more than max_payload_size; lower that too"
            )
        if self.max_inflated_size <= 0:
            raise ConfigurationError("max_inflated_size", "must be positive; there is no unlimited inflating")
        if not 0 <= self.refused_flags <= 0xFFFF:
            raise ConfigurationError("refused_flags", f"is {self.refused_flags!r}; use a mask of 16 bits")

    def replace(self, **changes: object) -> Self:
        """A copy with other values, validated again."""
        return replace(self, **changes)


DEFAULT_OPTIONS: Final = CodecOptions()
