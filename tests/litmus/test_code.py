"""The machine code is what its text says, and executes one lock at each call."""

import subprocess
from pathlib import Path

import pytest

from sldtrace.errors import SldtraceError
from sldtrace.litmus import code


def test_the_image_is_what_the_text_assembles_to(tmp_path: Path) -> None:
    (tmp_path / "code.s").write_text(code.CODE)
    source, compiled, image = (str(tmp_path / name) for name in ("code.s", "code.o", "code.bin"))
    subprocess.run(["as", "--64", "-o", compiled, source], check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", compiled, image], check=True)
    assert (tmp_path / "code.bin").read_bytes() == code.IMAGE


def test_each_call_executes_one_lock_of_its_operand() -> None:
    lock = code.Lock()
    for _ in range(3):
        before, after = lock.execute(False)
        assert after > before
    lock.execute(True)
    assert (lock.executed(False), lock.executed(True)) == (3, 1)


def test_the_operands_are_in_one_line_and_in_two() -> None:
    assert code._ALIGNED % code.LINE == 0
    assert code._SPLIT % code.LINE + 4 > code.LINE
    assert code._SPLIT // code.LINE == code._ALIGNED // code.LINE


def test_another_architecture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(SldtraceError, match="x86"):
        code.Lock()


def test_memory_that_is_refused_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("mmap.mmap", refuse)
    with pytest.raises(SldtraceError, match="no memory for the test: Permission denied"):
        code.Lock()
