"""What the end of a QUIC connection is told to mean."""

from __future__ import annotations

import pytest

from msgtrans.adapters.quic.endings import connect_failed, verdict
from msgtrans.adapters.words import LONGEST, printable


@pytest.mark.parametrize("code", [0x2, 0xA, 0x128, 0x12A, 5])
@pytest.mark.parametrize("frame_type", [None, 0])
def test_words_of_a_peer_are_shown_printable_and_short(code: int, frame_type: int | None) -> None:
    """A peer can neither steer a terminal, nor forge lines of a log, nor fill it."""
    words = "\x1b[2J\r\nERROR forged\u202e" + "x" * 1000
    for error in (verdict(code, frame_type, words), connect_failed("quic://h:1", code, frame_type, words)):
        assert str(error).isprintable()
        assert "ERROR forged" in str(error)
        assert len(str(error)) < LONGEST + 200


def test_ordinary_words_stay_as_they_are() -> None:
    """Letters of any language are printable; what is too long ends with an ellipsis."""
    assert "voll, später 再试" == printable("voll, später 再试")
    assert "x" * (LONGEST - 1) + "…" == printable("x" * (LONGEST + 1))
