"""StrEnum is the same as enum.StrEnum of newer Pythons, where it is used."""

import json

from sldtrace.strenum import StrEnum


class Colour(StrEnum):
    RED = "red"


def test_a_member_is_its_value() -> None:
    assert isinstance(Colour.RED, str)
    assert Colour("red") is Colour.RED
    assert (str(Colour.RED), f"{Colour.RED:>4}", json.dumps(Colour.RED)) == ("red", " red", '"red"')
