"""The guest of real VMMs: what firmware.py knows of the image is what firmware.S makes."""

import subprocess
from pathlib import Path

import pytest

from guests.assemble import assemble
from tests.integration import firmware
from tests.integration.firmware import Counters, Settings


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("firmware") / "firmware"
    assemble(firmware.SOURCE, built)
    return built


def symbols(image: Path) -> dict[str, int]:
    """The addresses of the labels."""
    listed = subprocess.run(["nm", image.with_suffix(".elf")], capture_output=True, text=True, check=True)
    lines = (line.split() for line in listed.stdout.splitlines())
    return {name: int(address, 16) for address, _, name in lines}


def test_the_settings_are_where_the_source_has_them(image: Path) -> None:
    before, at = image.read_bytes(), symbols(image)
    written = Settings(offset=60, pit_hz=1000, every=70_000, vcpus=2).written(before)

    def number(name: str, size: int) -> int:
        return int.from_bytes(written[at[name] : at[name] + size], "little")

    assert number("offset", 2) == 60
    assert number("pit", 2) == 1193
    assert number("every", 4) == 70_000
    assert number("others", 2) == 1
    assert (written[: at["offset"]], written[at["begin"] :]) == (
        before[: at["offset"]],
        before[at["begin"] :],
    )


def test_the_image_fits_below_one_megabyte_and_starts_at_its_reset_vector(image: Path) -> None:
    built, at = image.read_bytes(), symbols(image)
    assert len(built) == 0x10000
    assert built[0xFFF0:0xFFF5] == b"\xea" + at["begin"].to_bytes(2, "little") + b"\x00\xf0"
    assert Settings().written(built)[at["pit"] : at["pit"] + 2] == b"\0\0"


def test_the_counters_are_where_the_source_has_them(image: Path) -> None:
    at, memory = symbols(image), bytearray(0x3000)
    for vcpu, loops in enumerate((5, 9)):
        begin = at["data"] + 0x100 * vcpu
        memory[begin : begin + 2] = loops.to_bytes(2, "little")
        memory[begin + at["ticks"]] = 3
        memory[begin + at["starts"]] = 1
    assert firmware.counters(bytes(memory), 0) == Counters(5, 3, 1)
    assert firmware.counters(bytes(memory), 1) == Counters(9, 3, 1)
