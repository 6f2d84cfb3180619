"""What the machine boots from: archives that cpio reads back, bzImage halves, the ROM, disks."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import image
from lab.failures import LabError


@pytest.mark.skipif(shutil.which("cpio") is None, reason="needs cpio")
def test_cpio_reads_the_archive_back(tmp_path: Path) -> None:
    archive = image.Cpio()
    archive.file("a/b/data", bytes(range(256)) * 3, 0o755)
    archive.file("a/empty", b"")
    archive.link("a/link", "b/data")
    subprocess.run(["cpio", "-i", "--quiet"], input=archive.finish(), cwd=tmp_path, check=True)
    assert (tmp_path / "a/b/data").read_bytes() == bytes(range(256)) * 3
    assert (tmp_path / "a/b/data").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "a/empty").read_bytes() == b""
    assert (tmp_path / "a/link").readlink() == Path("b/data")


def test_a_folder_stands_in_the_archive_once_and_before_its_files() -> None:
    archive = image.Cpio()
    archive.file("x/y/one", b"1")
    archive.file("x/y/two", b"2")
    assert names(archive.finish()) == ["x", "x/y", "x/y/one", "x/y/two", "TRAILER!!!"]


@given(st.dictionaries(st.text("abc", min_size=1, max_size=5), st.binary(max_size=50)))
def test_every_header_is_aligned_and_names_what_was_put_in(files: dict[str, bytes]) -> None:
    archive = image.Cpio()
    for name, data in files.items():
        archive.file(name, data)
    out = archive.finish()
    assert len(out) % 512 == 0
    assert names(out) == [*files, "TRAILER!!!"]


def test_the_setup_code_gets_the_loaders_fields() -> None:
    halves = image.BzImage.split(bz_image(setup_sectors=3, kernel=b"K" * 1000))
    assert halves.kernel == b"K" * 1000
    low = halves.low("quiet x=1", 0x10000000, 12345)
    assert struct.unpack_from("<II", low, 0x218) == (0x10000000, 12345)
    pointer = struct.unpack_from("<I", low, 0x228)[0] - image.SETUP_ADDRESS
    assert low[pointer:] == b"quiet x=1\0"
    assert low[0x211] & 0x80
    # The heap must end below the command line.
    assert struct.unpack_from("<H", low, 0x224)[0] + 0x200 <= pointer


def test_a_setup_of_zero_sectors_means_four() -> None:
    halves = image.BzImage.split(bz_image(setup_sectors=0, kernel=b"K"))
    assert len(halves.setup) == 5 * 512


@pytest.mark.parametrize("broken", [b"", b"\x7fELF" * 400, bytes(4096)])
def test_what_is_no_bzimage_is_refused(broken: bytes) -> None:
    with pytest.raises(LabError, match="is not a bzImage"):
        image.BzImage.split(broken)


def test_a_command_line_that_the_kernel_would_cut_is_refused() -> None:
    halves = image.BzImage.split(bz_image(setup_sectors=3, kernel=b"K"))
    halves.low("x" * 2047, 0, 0)
    with pytest.raises(LabError, match="2047"):
        halves.low("x" * 2048, 0, 0)


@given(st.binary(max_size=image.ROM_SIZE - 1))
def test_the_bytes_of_the_rom_sum_to_zero(code: bytes) -> None:
    rom = image.option_rom(code)
    assert len(rom) == image.ROM_SIZE
    assert sum(rom) % 256 == 0
    assert rom.startswith(code)


def test_a_rom_without_room_for_its_checksum_is_refused() -> None:
    with pytest.raises(LabError, match="511"):
        image.option_rom(b"x" * image.ROM_SIZE)


@given(st.integers(1, 1 << 40))
def test_disks_have_whole_cylinders_and_no_more_than_one_to_spare(size: int) -> None:
    rounded = image.whole_cylinders(size)
    assert rounded % 516096 == 0
    assert 0 <= rounded - size < 516096


def test_a_blank_disk_takes_no_room(tmp_path: Path) -> None:
    image.blank_disk(tmp_path / "disk", 100 << 20)
    found = (tmp_path / "disk").stat()
    assert found.st_size == image.whole_cylinders(100 << 20)
    assert found.st_blocks * 512 < 1 << 20


def bz_image(setup_sectors: int, kernel: bytes) -> bytes:
    setup = bytearray(((setup_sectors or 4) + 1) * 512)
    setup[0x1F1] = setup_sectors
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", setup, 0x206, 0x20F)
    return bytes(setup) + kernel


def names(archive: bytes) -> list[str]:
    """The names in a newc archive, read by its headers alone."""
    found: list[str] = []
    at = 0
    while not found or found[-1] != "TRAILER!!!":
        assert at % 4 == 0
        assert archive[at : at + 6] == b"070701"
        size, length = (int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in (6, 11))
        found.append(archive[at + 110 : at + 109 + length].decode())
        at += -(-(110 + length) // 4) * 4
        at += -(-size // 4) * 4
    return found
