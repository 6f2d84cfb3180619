"""The images beside the sources are what the assembler makes of them, and their headers tell the truth."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sldtrace import resources
from sldtrace.vmm import guests, memory

pytestmark = pytest.mark.skipif(
    not all(shutil.which(tool) for tool in ("as", "ld", "objcopy", "nm")), reason="binutils are not installed"
)

NAMES = guests.names()
ASSEMBLER = Path(__file__).parents[2] / "guests" / "assemble.py"
# The machine code of each guest's instruction under test.
INSTRUCTIONS = {
    "split-bts": "f0480fab3e",  # lock bts %rdi,(%rsi), as in Linux's set_bit()
    "aligned-bts": "f0480fab3e",
    "split-xadd": "f0480fc106",
    "split-cmpxchg": "f0480fb13e",
    "split-xchg": "8706",  # xchg %eax,(%rsi): no lock prefix
    "rare-split": "f0480fab3e",
    "report-split": "f0480fab3e",
    "own-ac": "f0480fab3e",
    "cpuid-loop": "0fa2",
    "io-loop": "e75d",  # out %eax,$0x5d
}


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources without their images, assembled anew."""
    folder = tmp_path_factory.mktemp("guests")
    for path in resources.guests().iterdir():
        if path.suffix in (".S", ".inc", ".py"):
            shutil.copy(path, folder)
    subprocess.run([sys.executable, folder / ASSEMBLER.name], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_image_is_what_the_source_assembles_to(name: str, copies: Path) -> None:
    assert (resources.guests() / f"{name}.bin").read_bytes() == (copies / f"{name}.bin").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_header_agrees_with_the_symbol_table(name: str, tmp_path: Path) -> None:
    source = resources.guests() / f"{name}.S"
    elf = tmp_path / "guest.o"
    subprocess.run(["as", "--64", f"-I{source.parent}", "-o", elf, source], check=True)
    table = subprocess.run(["nm", elf], check=True, capture_output=True, text=True).stdout
    symbols = {line.split()[2]: int(line.split()[0], 16) for line in table.splitlines()}
    guest = guests.load(name)
    assert guest.start == memory.CODE + symbols["start"]
    assert guest.locked == memory.CODE + symbols["locked"]
    assert guest.operand == memory.OPERAND + symbols["operand"]
    assert guest.width == symbols["width"]
    assert guest.every == symbols["every"]
    assert guest.privileged == bool(symbols["privileged"])


def test_all_guests_have_an_image_and_are_looked_at() -> None:
    assert set(NAMES) == set(INSTRUCTIONS)


@pytest.mark.parametrize("name", NAMES)
def test_the_instruction_under_test_is_the_one_that_the_name_says(name: str) -> None:
    guest = guests.load(name)
    assert guest.image[guest.locked - memory.CODE :].startswith(bytes.fromhex(INSTRUCTIONS[name]))


def test_check_finds_an_image_that_is_out_of_date(copies: Path) -> None:
    image = copies / "split-bts.bin"
    command = [sys.executable, str(copies / ASSEMBLER.name), "--check"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    good = image.read_bytes()
    image.write_bytes(good + b"\x90")
    try:
        stale = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        image.write_bytes(good)
    assert stale.returncode == 1
    assert "split-bts.bin: out of date" in stale.stdout


def test_a_source_that_does_not_assemble_is_one_line_and_a_failure(copies: Path) -> None:
    broken = copies / "broken.S"
    broken.write_text('\t.include "abi.inc"\n\tnonsense\n')
    try:
        result = subprocess.run(
            [sys.executable, str(copies / ASSEMBLER.name), "--check"],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        broken.unlink()
    assert result.returncode == 1
    assert "broken.S: as failed" in result.stderr
    assert "Traceback" not in result.stderr
