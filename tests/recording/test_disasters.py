"""A process that writes a recording, killed at any moment, with a full disk, without its file."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import sldtrace
from sldtrace.errors import SldtraceError
from sldtrace.recording import rotation
from sldtrace.recording.reader import Recording, open_recording
from sldtrace.recording.writer import Writer

# Writes traps numbered 0, 1, 2, ... (start_ns) in batches of any size, in one of three ways; says after each
# flush how many must be in the file by then. Its last line says how it ended.
WRITER = """
import random, sys, numpy as np
from sldtrace.errors import SldtraceError
from sldtrace.recording import schema
from sldtrace.recording.retention import RetentionOptions
from sldtrace.recording.rotation import RotationOptions, Rotation
from sldtrace.recording.writer import Writer
path, how, seed, most = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
rng = np.random.default_rng(seed)
try:
    if how == "rotate":
        out = Rotation(path, {"a": 1}, RotationOptions(bytes=200_000), dict, compress=bool(seed % 2))
    else:
        keep = RetentionOptions(bytes=4 << 20) if how == "keep" else None
        out = Writer(path, {"a": 1}, compress=bool(seed % 2), retention=keep)
    done = 0
    while done < most:
        count = int(rng.integers(1, 3000))
        traps = np.zeros(count, schema.current().records["trap"].dtype)
        traps["start_ns"] = done + np.arange(count)
        traps["rip"] = rng.integers(0, 1 << 48, count)
        out.append("trap", traps)
        done += count
        out.flush()
        print(done, flush=True)
    out.close({"ended_by": "test"})
    print("closed", flush=True)
except SldtraceError as error:
    print(error, flush=True)
    out.close({"ended_by": "error"})
"""


def start(path: Path, how: str, seed: int = 0, most: int = 10**9) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), how, str(seed), str(most)]
    environment = {**os.environ, "PYTHONPATH": str(Path(sldtrace.__file__).parents[1])}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def flushed(lines: list[str]) -> int:
    return max((int(line) for line in lines if line.strip().isdigit()), default=0)


def times(recording: Recording) -> np.ndarray:
    return recording.records("trap")["start_ns"]


def opening_size(folder: Path) -> int:
    """Bytes of a recording that has its opening facts, uncompressed, and nothing else yet."""
    path = folder / "opening.sld"
    writer = Writer(path, {"a": 1}, compress=False)
    writer.flush()
    size = path.stat().st_size
    writer.close({})
    path.unlink()
    return size


def only_begun(path: Path, opening: int) -> bool:
    """Was the recorder killed before the opening facts of the file were whole? Nothing can be in it then."""
    if path.stat().st_size >= opening:
        return False
    try:
        open_recording(path).close()
    except SldtraceError as error:
        return "is empty" in error.message or "no chunk is left" in error.message
    return False


@pytest.mark.parametrize("how", ["plain", "keep", "rotate"])
def test_killed_at_random_moments_nothing_that_was_flushed_is_lost(tmp_path: Path, how: str) -> None:
    random.seed(1)
    opening = opening_size(tmp_path)
    for seed in range(17):  # three times 17: 51 kills, each after so many batches and a moment
        path = tmp_path / f"{how}{seed}.sld"
        with start(path, how, seed) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(random.randint(1, 60))]
            time.sleep(random.uniform(0, 0.005))
            process.kill()
            lines += process.stdout.readlines()
        files = list(rotation.segments(path).values()) if how == "rotate" else [path]
        gone, seen = 0, []
        if len(files) > 1 and only_begun(files[-1], opening):
            files.pop()
        for file in files:
            with open_recording(file) as recording:
                assert recording.facts["a"] == 1
                damage = [line for line in recording.warnings if not line.startswith("the recording has no")]
                assert [line for line in damage if not line.startswith("the file ends inside")] == []
                seen.append(times(recording))
                gone += recording.discarded.records["trap"] if recording.discarded else 0
        every = np.concatenate(seen)
        assert np.array_equal(every, np.arange(gone, gone + len(every)))
        assert gone + len(every) >= flushed(lines) > 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a tmpfs; test_writer has the same with RLIMIT_FSIZE")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("how", ["plain", "rotate"])
def test_a_full_disk_costs_what_did_not_fit_and_is_said(small_disk: Path, how: str) -> None:
    path = small_disk / "a.sld"
    with start(path, how, most=200_000) as process:
        assert process.stdout is not None
        lines = process.stdout.readlines()
    # The next file is there before the last one has its end.
    names = [path] if how == "plain" else sorted(rotation.segments(path).values())[-2:]
    assert lines[-1] in [
        f"cannot write {name}: No space left on device; what was recorded before is readable\n"
        for name in names
    ]
    files = [path] if how == "plain" else list(rotation.segments(path).values())
    every = []
    for file in files:
        with open_recording(file) as recording:
            every.append(times(recording))
            left = recording.warnings
    found = np.concatenate(every)
    assert np.array_equal(found, np.arange(len(found)))
    assert len(found) >= flushed(lines) > 0
    assert len(left) == 1
    assert "not written by the recorder: cannot write" in left[0] or "has no end" in left[0]


def test_keeping_to_a_limit_a_small_disk_is_enough(small_disk: Path) -> None:
    """Forty times what fits; only the rewriting at the end, which needs as much again, does without."""
    path = small_disk / "a.sld"
    with start(path, "keep", most=2_000_000) as process:
        assert process.stdout is not None
        lines = process.stdout.readlines()
    assert lines[-1] == "closed\n"
    with open_recording(path) as recording:
        assert recording.closed
        assert recording.warnings == []
        assert recording.discarded is not None
        gone = recording.discarded.records["trap"]
        assert np.array_equal(times(recording), np.arange(gone, flushed(lines)))
    assert [each.name for each in small_disk.iterdir()] == ["a.sld"]
    assert path.stat().st_blocks * 512 <= 4 << 20


def test_a_read_only_target_is_one_line_before_anything_is_recorded(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for how in ("plain", "keep", "rotate"):
        with start(small_disk / "a.sld", how) as process:
            assert process.stdout is not None
            lines = process.stdout.readlines()
        assert len(lines) == 1
        assert "Read-only file system" in lines[0]


def test_a_target_that_is_deleted_is_reported_within_a_flush(tmp_path: Path) -> None:
    path = tmp_path / "a.sld"
    with start(path, "plain") as process:
        assert process.stdout is not None
        process.stdout.readline()
        path.unlink()
        lines = process.stdout.readlines()
    assert lines[-1] == f"{path} was deleted during the recording; it is lost: record again\n"
