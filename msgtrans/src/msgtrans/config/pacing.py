"""How to write to peers that cannot take a stream as it comes (specification 2.1, 8.1).

Not here: the writing (`paced`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import msgspec
from msgspec.structs import replace

from msgtrans.config.checks import positive, whole
from msgtrans.errors import ConfigurationError
from msgtrans.field_types import check_types
from msgtrans.packet import HEADER_SIZE

if TYPE_CHECKING:
    from msgtrans.config.session import SessionConfig


class Pacing(msgspec.Struct, frozen=True, kw_only=True):
    """One write per packet, with a pause between two, for peers that read one packet at a time.

    The Rust crate 1.0.0 to 1.0.3 needs it over TCP: of what one of its reads delivers it takes the first packet, and it
    reads 8192 bytes at a time. No pause is a guarantee there; waiting for each answer is.
    max_packet_size: bytes of a packet, header included; larger ones raise LocalProtocolError; default 8192.
    min_gap: seconds between two packets; default 0.002. settle: seconds between connecting and the first; default 0.1.
    """

    max_packet_size: int = 8192
    min_gap: float = 0.002
    settle: float = 0.1

    def __post_init__(self) -> None:
        """Refuse values that cannot work with ConfigurationError."""
        check_types(self)
        whole(self, "max_packet_size", least=HEADER_SIZE + 1)
        positive(self, "min_gap")
        if not 0 <= self.settle < 3600:
            raise ConfigurationError("settle", f"is {self.settle!r}; use seconds, 0 for none")

    def replace(self, **changes: object) -> Self:
        """A copy with other values, validated again."""
        return replace(self, **changes)

    def session_config(self, base: SessionConfig) -> SessionConfig:
        """`base`, with this pacing, and packets no larger than such peers can read.

        Without batches: one that waits for its time would keep commands waiting behind all of it.
        """
        codec = base.codec
        payload = min(codec.max_payload_size, self.max_packet_size - HEADER_SIZE)
        packet = min(codec.max_packet_size or self.max_packet_size, self.max_packet_size)
        return base.replace(
            codec=codec.replace(max_payload_size=payload, max_packet_size=packet),
            optimizations=base.optimizations.replace(batching=False),
            pacing=self,
        )
