"""Recordings that keep to a limit: what is discarded, what is written again, and the account."""

import os
import random
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sldtrace.errors import SldtraceError
from sldtrace.recording import compacting, schema, sparse
from sldtrace.recording.format import pack_file_header
from sldtrace.recording.reader import Recording, open_recording
from sldtrace.recording.retention import MIN_BYTES, RetentionOptions
from sldtrace.recording.writer import Writer
from tests.fuzz import mutations

from . import samples

SECOND = 10**9
LIMIT = MIN_BYTES


class Clock:
    """A clock that moves only when it is set."""

    def __init__(self) -> None:
        self.now = 1000 * SECOND

    def __call__(self) -> int:
        return self.now


def disk(path: Path) -> int:
    return path.stat().st_blocks * 512


def traps(count: int, seed: int, at_ns: int = 0) -> np.ndarray:
    records = samples.noise("trap", count, seed).copy()
    records["start_ns"] = at_ns + np.arange(count)
    return records


def lost(count: int, cpu: int = 1) -> np.ndarray:
    records = samples.plain("lost", 1, 5)
    records["count"], records["cpu"], records["kind"], records["cause"] = count, cpu, 1, 1
    return records


def names(*tids: int, comm: bytes = b"vcpu") -> np.ndarray:
    records = samples.plain("task", len(tids), 5)
    records["tid"], records["comm"] = tids, comm
    return records


def fill(out: Writer, parts: int, count: int = 1000) -> np.ndarray:
    """Appends and flushes `parts` times `count` traps (112 kB each time); all of them."""
    every = [traps(count, part, part * count) for part in range(parts)]
    for records in every:
        out.append("trap", records)
        out.flush()
    return np.concatenate(every)


def check_kept(recording: Recording, every: np.ndarray, closed: bool = True, runs: bool = True) -> int:
    """Asserts that exactly the end of `every` is there and the rest is accounted for; how many are there.

    closed: it has an end; runs: if not, its recorder still has it.
    """
    kept = recording.records("trap")
    assert recording.discarded is not None
    assert recording.discarded.records["trap"] + len(kept) == len(every)
    assert kept.tobytes() == every[len(every) - len(kept) :].tobytes()
    assert recording.discarded.last_ns == int(every["start_ns"][len(every) - len(kept) - 1])
    assert recording.discarded.first_ns == int(every["start_ns"][0])
    open_ended = "the recorder still runs:" if runs else "the recording has no end"
    assert [line[:24] for line in recording.warnings] == ([] if closed else [open_ended])
    return len(kept)


@pytest.mark.parametrize("closed", [True, False])
def test_a_limit_in_bytes_bounds_the_disk_and_accounts_for_the_rest(tmp_path: Path, closed: bool) -> None:
    path = tmp_path / "a.sld"
    out = Writer(path, samples.FACTS, compress=False, retention=RetentionOptions(bytes=LIMIT))
    out.append("task", names(7, 8))
    out.append("lost", lost(11))
    out.facts_update({"processes": {"7": {"comm": "first"}}})
    every = []
    for part in range(200):  # 22 MB
        every.append(traps(1000, part, part * 1000))
        out.append("trap", every[-1])
        out.flush()
        assert out.size <= LIMIT
        assert disk(path) <= LIMIT + 16384
    out.append("lost", lost(5))
    out.facts_update({"processes": {"9": {"comm": "second"}}})
    if closed:
        out.close(samples.CLOSING)
        assert out.warning is None
        assert path.stat().st_size <= LIMIT  # no hole any more
        assert [each.name for each in tmp_path.iterdir()] == ["a.sld"]
        assert path.stat().st_mode & 0o777 == 0o600
    with open_recording(path) as recording:
        kept = check_kept(recording, np.concatenate(every), closed)
        assert kept * 112 >= LIMIT * 0.8  # the facts are repeated in it, here without compression
        assert sorted(recording.records("task")["tid"]) == [7, 8]
        assert [(loss.kind, loss.cpu, loss.count) for loss in recording.losses] == [("trap", 1, 16)]
        merged = recording.facts["processes"] | recording.updates[-1]["processes"]
        assert merged == {"7": {"comm": "first"}, "9": {"comm": "second"}}
        assert recording.facts["kernel"] == samples.FACTS["kernel"]


def test_a_limit_in_time_keeps_at_least_that_and_little_more(tmp_path: Path) -> None:
    clock = Clock()
    out = Writer(
        tmp_path / "a.sld", {}, compress=False, retention=RetentionOptions(time_ns=60 * SECOND), clock=clock
    )
    every = []
    for second in range(600):
        clock.now += SECOND
        every.append(traps(1000, second, clock.now))
        out.append("trap", every[-1])
        out.flush()
    out.close({})
    with open_recording(tmp_path / "a.sld") as recording:
        kept = check_kept(recording, np.concatenate(every))
        assert 60_000 <= kept <= 63_000
        assert recording.discarded is not None
        assert recording.discarded.limit_ns == 60 * SECOND


def test_an_idle_host_writes_nothing(tmp_path: Path) -> None:
    clock = Clock()
    out = Writer(
        tmp_path / "a.sld", {}, compress=False, retention=RetentionOptions(time_ns=SECOND), clock=clock
    )
    fill(out, 5)
    clock.now += 10 * SECOND
    out.flush()  # lets the traps go
    size = (tmp_path / "a.sld").stat().st_size
    for _ in range(1000):
        clock.now += SECOND
        out.flush()
    assert (tmp_path / "a.sld").stat().st_size == size
    out.close({})
    with open_recording(tmp_path / "a.sld") as recording:
        assert recording.discarded is not None
        assert recording.discarded.records == {"trap": 5000}
        assert recording.warnings == []


def test_below_the_limit_nothing_is_discarded(tmp_path: Path) -> None:
    out = Writer(
        tmp_path / "a.sld", {}, compress=False, retention=RetentionOptions(bytes=LIMIT, time_ns=SECOND * 3600)
    )
    every = fill(out, 30)
    out.close({})
    with open_recording(tmp_path / "a.sld") as recording:
        assert recording.discarded is None
        assert recording.records("trap").tobytes() == every.tobytes()


def test_names_survive_however_often_what_names_them_is_discarded(tmp_path: Path) -> None:
    out = Writer(tmp_path / "a.sld", {}, compress=False, retention=RetentionOptions(bytes=LIMIT))
    out.append("task", names(*range(100), comm=b"old"))
    fill(out, 60)
    out.append("task", names(5, comm=b"new"))
    fill(out, 300)
    out.close({})
    with open_recording(tmp_path / "a.sld") as recording:
        tasks = {int(task["tid"]): bytes(task["comm"]) for task in recording.records("task")}
        assert tasks == {tid: b"new" if tid == 5 else b"old" for tid in range(100)}
        assert recording.discarded is not None
        assert set(recording.discarded.records) == {"trap"}


def test_the_level_of_detail_is_known_however_long_ago_it_was_set(tmp_path: Path) -> None:
    out = Writer(tmp_path / "a.sld", {}, compress=False, retention=RetentionOptions(bytes=LIMIT))
    for level in (0, 1, 2):
        detail = samples.plain("detail", 1, 5 + level)
        detail["level"] = level
        out.append("detail", detail)
    fill(out, 300)
    out.close({})
    with open_recording(tmp_path / "a.sld") as recording:
        assert list(recording.records("detail")["level"]) == [2]
        assert recording.discarded is not None
        assert recording.discarded.records["detail"] == 2
        assert recording.warnings == []


def test_threads_beyond_the_bound_are_counted_when_they_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sldtrace.recording.tasks.MAX_THREADS", 10)
    out = Writer(tmp_path / "a.sld", {}, compress=False, retention=RetentionOptions(bytes=LIMIT))
    out.append("task", names(*range(25)))
    fill(out, 100)
    out.close({})
    with open_recording(tmp_path / "a.sld") as recording:
        assert sorted(set(recording.records("task")["tid"])) == list(range(15, 25))
        assert recording.discarded is not None
        assert recording.discarded.records["task"] == 15


@pytest.mark.parametrize("step", ["names", "account", "punch"])
def test_a_kill_between_the_steps_of_letting_go_loses_and_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "a.sld"
    out = Writer(path, samples.FACTS, compress=False, retention=RetentionOptions(bytes=LIMIT))
    out.append("task", names(7))
    out.append("lost", lost(11))
    out.flush()

    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    if step == "punch":
        monkeypatch.setattr(sparse, "punch", killed)
    elif step == "account":
        monkeypatch.setattr(Writer, "_repeat", killed)
    else:
        real = Writer._write_chunk

        def without_names(self: Writer, record: object, records: np.ndarray) -> None:
            if record is schema.current().records["task"] and out.size > 1 << 20:
                raise Killed
            real(self, record, records)  # type: ignore[arg-type]

        monkeypatch.setattr(Writer, "_write_chunk", without_names)
    every = []

    def write_on() -> None:
        for part in range(60):
            every.append(traps(1000, part, part * 1000))
            out.append("trap", every[-1])
            out.flush()

    with pytest.raises(Killed):
        write_on()
    whole = np.concatenate(every[:-1])  # the last is on its way when room is made for it
    with open_recording(path) as recording:
        kept = recording.records("trap")
        gone = recording.discarded.records["trap"] if recording.discarded else 0
        assert (gone > 0) == (step == "punch")
        assert gone + len(kept) == len(whole)
        assert kept.tobytes() == whole[gone:].tobytes()
        assert [(loss.kind, loss.count) for loss in recording.losses] == [("trap", 11)]
        assert set(recording.records("task")["tid"]) == {7}
        # The writer is not killed here: it still has the lock.
        assert [line[:24] for line in recording.warnings] == ["the recorder still runs:"]


def test_damage_after_the_hole_is_still_named(tmp_path: Path) -> None:
    path = tmp_path / "a.sld"
    out = Writer(path, {}, compress=False, retention=RetentionOptions(bytes=LIMIT))
    every = fill(out, 100)
    with path.open("r+b") as file:
        file.seek(-50_000, os.SEEK_END)
        file.write(b"\0" * 100)
    with open_recording(path) as recording:
        assert recording.discarded is not None
        assert recording.discarded.records["trap"] + recording.counts["trap"] == len(every) - 1000
        assert any("are damaged" in line for line in recording.warnings)
        assert len(recording.warnings) == 2


def test_holes_are_not_crawled_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.sld"
    sample = samples.make(path)
    first, second = sample.extents[0], sample.extents[1]
    far = 1 << 40
    with path.open("wb") as file:
        file.write(sample.data[: first.end])
        file.seek(far)
        file.write(sample.data[second.start :])
    asked = 0
    real = os.preadv

    def counting(file: int, buffers: list[memoryview], offset: int) -> int:
        nonlocal asked
        asked += len(buffers[0])
        return real(file, buffers, offset)

    monkeypatch.setattr(os, "preadv", counting)
    with open_recording(path) as recording:
        assert recording.records("trap").tobytes() == sample.surviving("trap", list(sample.extents))
        assert "do not belong to the recording; nothing is missing there" in recording.warnings[0]
    assert asked < 64 << 20


def test_a_hole_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.sld"
    sample = samples.make(path)
    os.truncate(path, 1 << 40)
    with open_recording(path) as recording:
        assert recording.records("trap").tobytes() == sample.surviving("trap", list(sample.extents))
        assert recording.closed


def test_a_dense_copy_reads_the_same(tmp_path: Path) -> None:
    out = Writer(tmp_path / "a.sld", {}, compress=False, retention=RetentionOptions(bytes=LIMIT))
    every = fill(out, 100)
    (tmp_path / "copy.sld").write_bytes((tmp_path / "a.sld").read_bytes())
    assert disk(tmp_path / "copy.sld") > 2 * disk(tmp_path / "a.sld")
    with open_recording(tmp_path / "copy.sld") as recording:
        check_kept(recording, every, closed=False, runs=False)


def test_no_room_for_the_rewriting_leaves_the_sparse_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Writer(tmp_path / "a.sld", {}, compress=False, retention=RetentionOptions(bytes=LIMIT))
    every = fill(out, 100)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compacting, "_copy", full)
    out.close({})
    assert out.warning is not None
    assert "a.sld keeps a hole where chunks were discarded: No space left on device; copy it" in out.warning
    assert [each.name for each in tmp_path.iterdir()] == ["a.sld"]
    with open_recording(tmp_path / "a.sld") as recording:
        check_kept(recording, every)


def test_on_a_file_system_where_each_file_has_a_name_no_copy_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def without_tmpfile(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(95, "Operation not supported")
        return real(path, flags, mode)

    def full(*_: object) -> None:
        assert len(list(tmp_path.iterdir())) == 2
        raise OSError(28, "No space left on device")

    out = Writer(tmp_path / "a.sld", {}, compress=False, retention=RetentionOptions(bytes=LIMIT))
    fill(out, 100)
    monkeypatch.setattr(os, "open", without_tmpfile)
    monkeypatch.setattr(compacting, "_copy", full)
    out.close({})
    assert out.warning is not None
    assert [each.name for each in tmp_path.iterdir()] == ["a.sld"]


def test_a_kill_during_the_rewriting_leaves_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is in the folder while the copy is written is what a killed recorder leaves there.

    The copy is on the disk before it gets the name.
    """
    there: list[list[str]] = []
    synced: list[tuple[bool, bool]] = []  # a file or a folder; does the name have the recording still?
    real = os.fsync

    def watched(file: int) -> None:
        there.append([each.name for each in tmp_path.iterdir()])
        is_file = stat.S_ISREG(os.fstat(file).st_mode)
        synced.append((is_file, (tmp_path / "a.sld").stat().st_ino == recorded))
        real(file)

    out = Writer(tmp_path / "a.sld", samples.FACTS, compress=False, retention=RetentionOptions(bytes=LIMIT))
    recorded = (tmp_path / "a.sld").stat().st_ino
    fill(out, 100)
    monkeypatch.setattr(os, "fsync", watched)
    out.close(samples.CLOSING)
    assert out.warning is None
    assert there == [["a.sld"]] * 3  # of the recording, the copy, and the folder
    assert synced == [(True, True), (True, True), (False, False)]
    assert (tmp_path / "a.sld").stat().st_mode & 0o777 == 0o600


def test_the_rewriting_does_not_replace_what_is_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "a.sld"
    out = Writer(path, {}, compress=False, retention=RetentionOptions(bytes=LIMIT))
    fill(out, 100)
    path.rename(tmp_path / "moved.sld")
    path.write_text("precious")
    out.close({})
    assert "another file has taken its name" in str(out.warning)
    assert path.read_text() == "precious"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.sld", "moved.sld"]


def test_a_file_system_without_holes_is_refused_before_anything_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(sparse, "punch", cannot)
    with pytest.raises(SldtraceError, match="cannot give back parts of a file, which --keep needs") as caught:
        Writer(tmp_path / "a.sld", {}, retention=RetentionOptions(bytes=LIMIT))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    Writer(tmp_path / "a.sld", {}).close({})  # without a limit it needs no holes


def test_the_facts_that_are_repeated_stay_bounded(tmp_path: Path) -> None:
    out = Writer(
        tmp_path / "a.sld", {"kernel": {"release": "6.12"}}, retention=RetentionOptions(bytes=LIMIT * 16)
    )
    for start in range(0, 20_000, 1000):
        described = {str(tgid): {"cgroup": f"{tgid:0300}"} for tgid in range(start, start + 1000)}
        out.facts_update({"processes": described})
    out._repeat()
    out.close({})
    with open_recording(tmp_path / "a.sld") as recording:
        end = recording._end or {}
        assert len(recording.updates) == 20
        assert end["facts"]["kernel"] == {"release": "6.12"}
        assert 100 < len(end["facts"]["processes"]) <= 4096
        assert list(end["facts"]["processes"])[-1] == "19999"


def test_what_is_discarded_is_known_also_to_who_finds_only_the_end(tmp_path: Path) -> None:
    out = Writer(tmp_path / "a.sld", samples.FACTS, compress=False, retention=RetentionOptions(bytes=LIMIT))
    every = fill(out, 100)
    out.close(samples.CLOSING)
    data = (tmp_path / "a.sld").read_bytes()
    (tmp_path / "cut.sld").write_bytes(data[len(data) // 2 :])
    with open_recording(tmp_path / "cut.sld") as recording:
        assert recording.discarded is not None
        assert recording.facts == samples.FACTS
        missing = len(every) - recording.discarded.records["trap"] - recording.counts["trap"]
        assert missing > 0
        assert any(line.startswith(f"{missing} of ") for line in recording.warnings)


@pytest.mark.parametrize(("below", "believed"), [(0, False), (1, True), (2, False)])
def test_an_account_is_about_chunks_before_its_own(below: int, believed: bool, tmp_path: Path) -> None:
    """The end chunk has the number 1 here: the account can be of chunk 0, not of the end itself."""
    out = Writer(tmp_path / "a.sld", samples.FACTS)
    out.close({})
    parts = mutations.parts((tmp_path / "a.sld").read_bytes())
    assert [part.header.sequence for part in parts] == [0, 1]
    parts[1].content["discarded"] = {"below": below, "records": {"trap": 5}}
    rng = random.Random(0)
    path = tmp_path / "b.sld"
    path.write_bytes(pack_file_header() + b"".join(part.pack(rng) for part in parts))
    with open_recording(path) as recording:
        assert (recording.discarded is not None) == believed


def test_a_crash_while_it_keeps_to_a_limit(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np\n"
        "from sldtrace.recording import schema\n"
        "from sldtrace.recording.retention import RetentionOptions\n"
        "from sldtrace.recording.writer import Writer\n"
        "out = Writer(sys.argv[1], {'a': 1}, compress=False, retention=RetentionOptions(bytes=4 << 20))\n"
        "n = 0\n"
        "while True:\n"
        "    traps = np.zeros(1000, schema.current().records['trap'].dtype)\n"
        "    traps['start_ns'] = n + np.arange(1000)\n"
        "    out.append('trap', traps)\n"
        "    out.flush()\n"
        "    n += 1000\n"
        "    print(n, flush=True)\n"
    )
    path = tmp_path / "a.sld"
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        lines = [int(process.stdout.readline()) for _ in range(200)]
        process.send_signal(signal.SIGKILL)
        lines += [int(line) for line in process.stdout.read().split()]
    with open_recording(path) as recording:
        assert recording.discarded is not None
        discarded = recording.discarded.records["trap"]
        times = recording.records("trap")["start_ns"]
        assert discarded + len(times) >= lines[-1]
        assert np.array_equal(times, np.arange(discarded, discarded + len(times)))
    assert disk(path) <= (4 << 20) + 16384
