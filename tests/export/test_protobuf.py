"""Messages: what is written is what the decoder of Perfetto's own classes reads."""

import numpy as np
import pytest

from sldtrace.export.protobuf import FIXED64, Message, Slot, Template, data, number, varint


@pytest.mark.parametrize(
    ("value", "raw"),
    [(0, b"\0"), (1, b"\1"), (127, b"\x7f"), (128, b"\x80\1"), (300, b"\xac\2"), (-1, b"\xff" * 9 + b"\1")],
)
def test_varints(value: int, raw: bytes) -> None:
    assert varint(value) == raw


def test_fields() -> None:
    assert number(1, 150) == b"\x08\x96\x01"
    assert data(2, "testing") == b"\x12\x07testing"
    assert data(3, number(1, 150)) == b"\x1a\x03\x08\x96\x01"


def test_a_template_is_filled_for_each_message() -> None:
    inner = Message(2, [Slot("b", 1, 3), b"\x10\x05"])
    template = Template(Message(1, [Slot("a", 1, 10), inner, Slot("c", 3, 8, FIXED64)]))
    big = (1 << 64) - 1
    filled = template.fill(
        2, {"a": np.array([1, big], np.uint64), "b": np.array([300, 0]), "c": np.array([7, big], np.uint64)}
    )
    assert filled.shape == (2, template.size)
    one, two = (row.tobytes() for row in filled)
    assert one[:2] == bytes([0x0A, template.size - 2])
    assert one[2:13] == b"\x08\x81" + b"\x80" * 8 + b"\0"
    assert one[13:21] == b"\x12\x06\x08\xac\x82\0\x10\x05"
    assert one[21:] == b"\x19\x07" + b"\0" * 7
    assert two[2:13] == b"\x08" + b"\xff" * 9 + b"\x01"
    assert two[-8:] == b"\xff" * 8
