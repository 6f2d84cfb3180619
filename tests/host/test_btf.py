"""Names and offsets from BTF that is made here, whole and damaged, and from the running kernel's own."""

import ctypes
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sldtrace.host import btf

INT, STRUCT, TYPEDEF = 1, 4, 8  # include/uapi/linux/btf.h
MEMBERS = ("pid", "tgid", "cpu")


class Made:
    """BTF as pahole writes it: a header, the types, and strings of which each is there once."""

    def __init__(self) -> None:
        self.types = b""
        self.strings = b"\0"

    def text(self, name: str) -> int:
        if not name:
            return 0
        if f"\0{name}\0".encode() not in self.strings:
            self.strings += f"{name}\0".encode()
        return self.strings.index(f"\0{name}\0".encode()) + 1

    def add(self, name: str, kind: int, size: int, rest: bytes = b"", count: int = 0, flag: int = 0) -> None:
        self.types += struct.pack("<III", self.text(name), flag << 31 | kind << 24 | count, size) + rest

    def structure(self, name: str, members: dict[str, int], size: int = 9000, flag: int = 0) -> None:
        """members: their offsets in bits."""
        rest = b"".join(struct.pack("<III", self.text(each), 1, bits) for each, bits in members.items())
        self.add(name, STRUCT, size, rest, len(members), flag)

    def bytes(self) -> bytes:
        head = struct.pack("<HBBI", 0xEB9F, 1, 0, 24)
        head += struct.pack("<IIII", 0, len(self.types), len(self.types), len(self.strings))
        return head + self.types + self.strings

    def write(self, folder: Path) -> Path:
        (folder / "vmlinux").write_bytes(self.bytes())
        return folder / "vmlinux"


@pytest.fixture
def made() -> Made:
    """Types before and after, and one whose name ends like a member's."""
    made = Made()
    made.add("int", INT, 4, bytes(4))
    made.structure("task", {"thread_pid": 0, "pid": 32})
    return made


def task(made: Made, **members: int) -> None:
    made.structure("task_struct", {"flags": 0, **members, "": 8000})
    made.add("pid_t", TYPEDEF, 1)


@pytest.mark.parametrize("flag", [0, 1])
def test_offsets_are_in_bytes(made: Made, tmp_path: Path, flag: int) -> None:
    made.structure("task_struct", {"state": 64, "pid": 10112, "tgid": 10144}, flag=flag)
    found = btf.offsets("task_struct", MEMBERS, made.write(tmp_path))
    assert found == {"pid": 1264, "tgid": 1268}


def test_what_is_not_in_the_structure_itself_is_left_out(made: Made, tmp_path: Path) -> None:
    """In a nameless structure of its own it is another type's member."""
    made.structure("", {"pid": 0, "tgid": 32}, 8)
    task(made, cpu=160)
    assert btf.offsets("task_struct", MEMBERS, made.write(tmp_path)) == {"cpu": 20}


def test_a_bit_field_is_left_out(made: Made, tmp_path: Path) -> None:
    made.structure("task_struct", {"pid": 32, "tgid": 1 << 24 | 64}, flag=1)
    assert btf.offsets("task_struct", MEMBERS, made.write(tmp_path)) == {"pid": 4}


@pytest.mark.parametrize(("second", "found"), [(32, {"pid": 4}), (64, {})])
def test_two_definitions_must_agree(made: Made, tmp_path: Path, second: int, found: dict[str, int]) -> None:
    task(made, pid=32)
    task(made, pid=second)
    assert btf.offsets("task_struct", MEMBERS, made.write(tmp_path)) == found


def test_a_number_that_looks_like_the_name_is_not_the_structure(made: Made, tmp_path: Path) -> None:
    task(made, pid=32, tgid=64)
    made.structure("other", {"flags": made.text("task_struct")})
    made.add("task_struct", TYPEDEF, 3)
    assert btf.offsets("task_struct", MEMBERS, made.write(tmp_path)) == {"pid": 4, "tgid": 8}


def test_no_such_structure_or_file(made: Made, tmp_path: Path) -> None:
    assert btf.offsets("task_struct", MEMBERS, made.write(tmp_path)) == {}
    assert btf.offsets("task_struct", MEMBERS, tmp_path / "none") == {}


@given(st.integers(0, 400), st.integers(0, 255))
def test_damaged_btf_raises_nothing(where: int, byte: int) -> None:
    made = Made()
    task(made, pid=32, tgid=64)
    data = bytearray(made.bytes())
    for damaged in (bytes(data[:where]), bytes(data[:where]) + bytes([byte]) + bytes(data[where + 1 :])):
        found = btf.offsets("task_struct", MEMBERS, Memory(damaged))  # type: ignore[arg-type]
        assert set(found) <= set(MEMBERS)


class Memory:
    """A file of these bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read_bytes(self) -> bytes:
        return self._data


def test_names_are_whole_strings(tmp_path: Path) -> None:
    path = tmp_path / "vmlinux"
    path.write_bytes(b"\x9f\xeb\x01\0split_lock_warn_more\0my_split_lock_warn\0msleep_interruptible\0")
    assert btf.names(["split_lock_warn", "msleep_interruptible"], path) == {"msleep_interruptible"}
    assert btf.exists(path)


def test_no_btf(tmp_path: Path) -> None:
    assert btf.names(["msleep_interruptible"], tmp_path / "none") == set()
    assert not btf.exists(tmp_path / "none")


@pytest.mark.skipif(not btf.exists(), reason="this kernel has no BTF")
def test_the_running_kernels_own() -> None:
    """Structures that user space knows as well: two of the kernel's interface, by ctypes."""

    class Timespec(ctypes.Structure):
        _fields_ = (("tv_sec", ctypes.c_int64), ("tv_nsec", ctypes.c_int64))

    assert btf.offsets("__kernel_timespec", ("tv_sec", "tv_nsec")) == {
        name: getattr(Timespec, name).offset for name in ("tv_sec", "tv_nsec")
    }
    assert btf.offsets("pollfd", ("fd", "events", "revents")) == {"fd": 0, "events": 4, "revents": 6}
    task = btf.offsets("task_struct", ("pid", "tgid", "comm"))
    assert task["tgid"] == task["pid"] + 4
