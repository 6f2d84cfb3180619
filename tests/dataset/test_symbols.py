"""Names of a guest's functions: from text as the kernel and nm write it, and from ELF files."""

import shutil
import subprocess
from pathlib import Path

import pytest

from sldtrace.dataset import symbols
from sldtrace.errors import SldtraceError

MAP = """\
0000000000000000 A fixed_percpu_data
ffffffff81000000 T _text
ffffffff81000040 t set_bit
ffffffff81000060 D some_data
ffffffff81000080 W weak
ffffffffc0001000 t probe\t[virtio_net]
not a line
"""


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (0xFFFFFFFF81000000, "_text"),
        (0xFFFFFFFF81000052, "set_bit+0x12"),
        (0xFFFFFFFF81000070, "set_bit+0x30"),
        (0xFFFFFFFF81000080, "weak"),
        (0xFFFFFFFFC0001001, "probe+0x1"),
        (0xFFFFFFFF80FFFFFF, None),
        (0xFFFFFFFFFFFFFFFF, None),
    ],
)
def test_system_map_and_kallsyms(tmp_path: Path, address: int, name: str | None) -> None:
    (tmp_path / "System.map").write_text(MAP)
    assert symbols.read(tmp_path / "System.map").name(address) == name


def test_names_are_safe_to_print(tmp_path: Path) -> None:
    (tmp_path / "map").write_text("00001000 T a\x1b[31m\n")
    assert symbols.read(tmp_path / "map").name(0x1000) == "a\\x1b[31m"


@pytest.mark.parametrize(
    "content",
    [b"", b"0000000000000000 T hidden\n", b"\x7fELF", b"\x7fELF\2\1" + b"\xff" * 90, b"\0\xff" * 99],
)
def test_a_file_without_functions_is_refused(tmp_path: Path, content: bytes) -> None:
    """kallsyms that was not read as root has zeros for addresses."""
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(SldtraceError):
        symbols.read(tmp_path / "file")
    with pytest.raises(SldtraceError):
        symbols.read(tmp_path / "missing")


@pytest.mark.skipif(shutil.which("gcc") is None or shutil.which("nm") is None, reason="needs gcc and nm")
def test_an_elf_file_has_the_names_that_nm_finds(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text(
        "int set_bit(int a) { return a | 1; }\nint main(void) { return set_bit(2); }\n"
    )
    subprocess.run(["gcc", "-O0", "-o", tmp_path / "a", tmp_path / "a.c"], check=True)
    listed = subprocess.run(["nm", tmp_path / "a"], capture_output=True, text=True, check=True).stdout
    (line,) = [each.split() for each in listed.splitlines() if each.endswith(" set_bit")]
    found = symbols.read(tmp_path / "a")
    assert found.name(int(line[0], 16)) == "set_bit"
    assert found.name(int(line[0], 16) + 4) == "set_bit+0x4"
