"""Which files are of one boot: by boot_id, by the recording that they belong to, by the time of the boot."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sldtrace.recording.identity import identify, peek
from sldtrace.recording.reader import open_recording
from tests.analyzers.synthetic import facts, loop, write

SECOND = 10**9
FACTS: dict[str, Any] = {
    "host": {"name": "web01", "boot_id": "a"},
    "kernel": {"release": "6.12"},
    "clock": {"monotonic_ns": 100 * SECOND, "realtime_ns": 5000 * SECOND},
    "segment": {"number": 2, "recording": "r"},
}
ONE = identify(7, FACTS)


def test_what_the_facts_say() -> None:
    assert (ONE.host, ONE.boot, ONE.kernel, ONE.run, ONE.number) == ("web01", "a", "6.12", "r", 2)
    assert (ONE.start_ns, ONE.wall_ns, ONE.simulated) == (100 * SECOND, 5000 * SECOND, "")


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"host": [], "kernel": 3, "clock": None, "segment": "x", "simulated": 0},
        {"host": {"name": 3}, "segment": {"number": True, "recording": "r"}},
        {"segment": {"number": 1, "recording": ["r"]}, "clock": {"monotonic_ns": -1, "realtime_ns": 1 << 70}},
    ],
)
def test_facts_may_hold_anything(odd: dict[str, Any]) -> None:
    found = identify(7, odd)
    assert (found.host, found.boot, found.kernel, found.number) == ("", "", "", None)
    assert (found.start_ns, found.wall_ns) == (None, None)
    assert found.boot_key != replace(found, run="another").boot_key


@pytest.mark.parametrize(
    ("segment", "run", "number"),
    [
        ({"recording": "r", "number": 0}, "r", 0),
        ({"recording": "r", "number": (1 << 62) - 1}, "r", (1 << 62) - 1),
        ({"recording": "r", "number": 1 << 62}, "0000000000000007-100000000000", None),
        ({"recording": "r"}, "0000000000000007-100000000000", None),
        ({"number": 2}, "0000000000000007-100000000000", None),
    ],
)
def test_a_file_is_one_of_several_if_it_has_a_number(segment: Any, run: str, number: int | None) -> None:
    found = identify(7, FACTS | {"segment": segment})
    assert (found.run, found.number) == (run, number)


def test_simulations_differ_by_their_options() -> None:
    found = identify(7, FACTS | {"simulated": {"b": 1, "a": Path("x")}})
    assert found.simulated == '{"a": "x", "b": 1}'


def test_the_boot_id_decides() -> None:
    assert ONE.boot_key == replace(ONE, run="s", number=None, wall_ns=1, kernel="kexec").boot_key
    changes: list[dict[str, Any]] = [{"boot": "b"}, {"host": "web02"}, {"boot": "", "run": "s"}]
    for change in changes:
        assert ONE.boot_key != replace(ONE, **change).boot_key, change


def test_without_a_boot_id_the_files_of_one_recording_are_of_one_boot() -> None:
    """Not those of the same host at the same time: clocks of hosts that boot may stand still, or be wrong."""
    old = replace(ONE, boot="")
    assert old.boot_key == replace(old, number=3, start_ns=900 * SECOND, wall_ns=1).boot_key
    assert old.boot_key != replace(old, run="s").boot_key


def test_the_beginning_of_a_file_is_enough(tmp_path: Path) -> None:
    path = write(tmp_path / "a.sld", loop(2000), opening=facts(host={"name": "web01", "boot_id": "a"}))
    data = path.read_bytes()
    with open_recording(path) as recording:
        assert peek(io.BytesIO(data)) == recording.identity
        assert recording.identity.boot == "a"
    assert peek(io.BytesIO(data[: 1 << 16])) == recording.identity


@pytest.mark.parametrize("data", [b"", b"x" * 500])
def test_no_identity_of_what_is_no_recording(data: bytes) -> None:
    assert peek(io.BytesIO(data)) is None


def test_a_beginning_that_is_damaged_has_no_identity(tmp_path: Path) -> None:
    data = write(tmp_path / "a.sld", loop(3)).read_bytes()
    assert peek(io.BytesIO(data)) is not None
    for at in (20, 70, 100, 300):
        assert peek(io.BytesIO(data[:at] + bytes([data[at] ^ 0x5A]) + data[at + 1 :])) is None, at
    assert peek(io.BytesIO(data[:300])) is None
