"""How a machine is followed, with a script in place of the emulator."""

import io
import struct
from pathlib import Path
from typing import Any

import pytest

from lab import bochs, machine
from lab.artefacts import Lab
from lab.failures import LabError, LabTimeout
from lab.job import Job
from lab.kernel import DEFAULT
from lab.kernel_files import KernelFiles
from lab.progress import Progress
from lab.rootfs import DEFAULT as ROOT

QUIET = Progress(quiet=True)
TICKS = f"echo ticks: $(({{seconds}} * {bochs.INSTRUCTIONS_PER_SECOND}))"
RESULT = "printf 'sldtrace-lab 1\\nstatus 3\\nend\\n' | dd of=result.img conv=notrunc 2>/dev/null"
HANG = "while :; do sleep 0.05; done"


def run(tmp_path: Path, script: str, progress: Progress = QUIET, **fields: Any) -> machine.Result:
    """A machine whose emulator is this script; it runs in the machine's work folder."""
    engine, root, files = (tmp_path / name for name in ("emulator", "root", "kernel"))
    for folder in (engine, root, files, tmp_path / "tree"):
        folder.mkdir()
    (engine / "bochs").write_text(f"#!/bin/sh\n{script}\n")
    (engine / "bochs").chmod(0o755)
    image = bytearray(1024)
    image[0x1F1] = 1
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x206, 0x202)
    (files / "vmlinuz").write_bytes(image)
    (files / "busybox").touch()
    kernel = KernelFiles(DEFAULT, "1.0-fake", "", files, ())
    job = Job(["true"], tree=tmp_path / "tree", **fields)
    return machine.run(job, progress, lab=Lab(engine, {ROOT: root}, {DEFAULT: kernel}))


@pytest.mark.usefixtures("own_cache")
def test_an_emulator_that_executes_nothing_is_ended(tmp_path: Path) -> None:
    with pytest.raises(LabTimeout, match=r"booting: the emulator executed nothing.*--stalled") as caught:
        run(tmp_path, HANG, stalled=0.5)
    assert caught.value.hint is not None
    assert (Path(caught.value.hint.removeprefix("see ")) / "console.log").is_file()


@pytest.mark.usefixtures("own_cache")
def test_a_machine_that_only_idles_is_ended_by_its_own_time(tmp_path: Path) -> None:
    """Ticks of more than 32 bits: idle time is skipped."""
    script = "\n".join(
        [
            "echo 'lab: command starts at 6.00' >> console.log",
            "second=0",
            f"while second=$((second + 100)); do {TICKS.format(seconds='second')}; sleep 0.02; done",
        ]
    )
    with pytest.raises(LabTimeout, match=r"running the command: .* 5000 s of its own time; --machine-time"):
        run(tmp_path, script, machine_time=5000)


class Terminal(io.StringIO):
    """Makes the file of a text when the text is written, so that the emulator can wait for it."""

    def __init__(self, files: dict[str, Path]) -> None:
        super().__init__()
        self._files = files

    def write(self, text: str) -> int:
        for expected, path in self._files.items():
            if expected in text:
                path.touch()
        return super().write(text)


@pytest.mark.usefixtures("own_cache")
def test_what_the_machine_does_is_shown(tmp_path: Path) -> None:
    """The emulator goes on only when the line has come."""
    booting, running = tmp_path / "booting", tmp_path / "running"
    terminal = Terminal(
        {
            "] booting, machine time 12.0 s of about 20 s": booting,
            "] running the command, machine time 13.0 s of about 20 s": running,
        }
    )
    script = "\n".join(
        [
            TICKS.format(seconds=12),
            f"until [ -e {booting} ]; do sleep 0.02; done",
            "echo 'lab: command starts at 6.00' >> console.log",
            "printf first > output.log",
            TICKS.format(seconds=13),
            f"until [ -e {running} ]; do sleep 0.02; done",
            RESULT,
        ]
    )
    result = run(tmp_path, script, Progress(terminal, terminal=True), expected=20)
    assert (result.status, result.output) == (3, b"first")


@pytest.mark.usefixtures("own_cache")
def test_an_emulator_that_ends_without_a_result_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"status 7\) before the command did"):
        run(tmp_path, "exit 7")
