"""The writer where it must refuse, and where the disk, the file or the permission goes away."""

import contextlib
import os
import resource
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from sldtrace.errors import SldtraceError
from sldtrace.recording import pending, target
from sldtrace.recording.reader import open_recording
from sldtrace.recording.writer import Writer

from . import samples


def refused(path: Path, force: bool = False) -> str:
    with pytest.raises(SldtraceError) as caught:
        Writer(path, {}, force)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@contextlib.contextmanager
def file_limit(size: int) -> Iterator[None]:
    """Files end at `size` bytes, as on a full disk: the write that crosses it is partial, the next EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_the_file_is_private(tmp_path: Path) -> None:
    with Writer(tmp_path / "a.sld", {}):
        assert stat.S_IMODE((tmp_path / "a.sld").stat().st_mode) == 0o600


def test_an_existing_file_is_kept_without_force(tmp_path: Path) -> None:
    path = tmp_path / "a.sld"
    path.write_text("precious")
    assert refused(path) == f"{path} exists; use --force to overwrite it"
    assert path.read_text() == "precious"


def test_force_replaces_the_name_and_not_what_else_has_the_file(tmp_path: Path) -> None:
    path, link = tmp_path / "a.sld", tmp_path / "linked"
    path.write_text("precious")
    os.link(path, link)
    Writer(path, samples.FACTS, force=True).close({})
    assert link.read_text() == "precious"
    with open_recording(path) as recording:
        assert recording.facts == samples.FACTS
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.sld", "linked"]


@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_file_is_never_replaced(tmp_path: Path, force: bool) -> None:
    (tmp_path / "target").write_text("precious")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    assert "is a directory" in refused(tmp_path, force)
    assert "is a symbolic link" in refused(tmp_path / "link", force)
    assert "is a symbolic link" in refused(tmp_path / "dangling", force)
    assert "is not a regular file" in refused(tmp_path / "pipe", force)
    assert "is not a regular file" in refused(Path("/dev/null"), force)
    assert (tmp_path / "target").read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_that_is_missing_or_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "No such file or directory" in refused(tmp_path / "none" / "a.sld")
    assert "Not a directory" in refused(tmp_path / "file" / "a.sld")
    assert "File name too long" in refused(tmp_path / ("x" * 300))
    assert "null" in refused(tmp_path / "a\0b")
    assert "a\\nb" in refused(tmp_path / "none" / "a\nb")


def test_a_folder_without_permission(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from sldtrace.recording.writer import Writer\n"
        "from sldtrace.errors import SldtraceError\n"
        "from sldtrace.recording import schema\n"
        "schema.current()\n"  # the checkout may lie where only root may read
        "os.setgroups([]) if os.getuid() == 0 else None\n"
        "os.setuid(65534) if os.getuid() == 0 else None\n"
        "try: Writer(sys.argv[1], {})\n"
        "except SldtraceError as error: print(error)\n"
    )
    (tmp_path / "closed").mkdir(mode=0o500)
    run = samples.python(code, "a.sld", cwd=tmp_path / "closed")
    assert run.stdout == "cannot create a.sld: Permission denied; write the recording somewhere else\n"


def test_no_room_for_the_first_chunk_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.sld"
    path.write_text("precious")
    with file_limit(100):
        assert "File too large" in refused(tmp_path / "b.sld")
        assert "File too large" in refused(path, force=True)
    assert path.read_text() == "precious"
    assert [each.name for each in tmp_path.iterdir()] == ["a.sld"]


def test_a_full_disk_costs_only_what_did_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.sld"
    out = Writer(path, samples.FACTS, compress=False)
    first = samples.noise("trap", 10, 1)
    out.append("trap", first)
    out.flush()
    whole = out.size
    with file_limit(whole + 500):
        out.append("trap", samples.noise("trap", 20, 2))
        with pytest.raises(SldtraceError, match=r"cannot write .*a\.sld: File too large") as caught:
            out.flush()
        assert "\n" not in str(caught.value)
        assert path.stat().st_size == whole
        with pytest.raises(SldtraceError, match="File too large"):
            out.append("trap", samples.noise("trap", 5, 3))
    # Room again: the closing facts go in, and say what is missing.
    out.close({"reason": "disk full"})
    with open_recording(path) as recording:
        assert recording.records("trap").tobytes() == samples.in_order(first)
        assert recording.closing == {"reason": "disk full"}
        assert len(recording.warnings) == 1
        assert recording.warnings[0].startswith("25 trap records not written by the recorder: cannot write ")


def test_a_disk_that_stays_full_leaves_a_readable_file(tmp_path: Path) -> None:
    path = tmp_path / "a.sld"
    out = Writer(path, samples.FACTS, compress=False)
    with file_limit(out.size + 1500):
        out.append("trap", samples.noise("trap", 10, 1))
        out.flush()
        out.append("trap", samples.noise("trap", 10, 2))
        with pytest.raises(SldtraceError, match="File too large"):
            out.close({"reason": "SIGINT"})
        out.close({})
    with open_recording(path) as recording:
        assert recording.counts["trap"] == 10
        assert [warning[:24] for warning in recording.warnings] == ["the recording has no end"]


def test_a_recording_whose_recorder_runs_is_not_called_killed(tmp_path: Path) -> None:
    path = tmp_path / "running.sld"
    out = Writer(path, {}, recording_id=1)
    out.append("trap", samples.noise("trap", 3, 1))
    out.flush()
    with open_recording(path) as recording:
        assert recording.counts["trap"] == 3
        assert recording.warnings == ["the recorder still runs: this is what it has recorded so far"]
        assert not recording.damaged
    out.close({})
    with open_recording(path) as recording:
        assert recording.warnings == []


def test_a_large_append_on_a_full_disk_counts_every_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending, "CHUNK_BYTES", 1120)
    out = Writer(tmp_path / "a.sld", {}, compress=False)
    with file_limit(out.size + 2 * (64 + 1120) + 100):
        with pytest.raises(SldtraceError, match="File too large"):
            out.append("trap", samples.noise("trap", 75))
        assert out.written["trap"] == 20
    out.close({})
    with open_recording(tmp_path / "a.sld") as recording:
        assert recording.counts["trap"] == 20
        assert recording.warnings[0].startswith("55 trap records not written")


def test_a_deleted_file_is_noticed_at_the_next_flush(tmp_path: Path) -> None:
    out = Writer(tmp_path / "a.sld", {})
    out.flush()
    (tmp_path / "a.sld").unlink()
    with pytest.raises(SldtraceError, match=r"a\.sld was deleted during the recording"):
        out.flush()
    out.close({})


def test_an_interrupted_write_is_cut_off_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.sld"
    out = Writer(path, {})
    whole = out.size
    real = os.writev

    def interrupted(file: int, buffers: list[bytes]) -> int:
        real(file, [bytes(buffers[0])[:10]])
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "writev", interrupted)
    out.append("task", samples.plain("task", 1, 5))
    with pytest.raises(KeyboardInterrupt):
        out.flush()
    assert path.stat().st_size == whole
    monkeypatch.setattr(os, "writev", real)
    out.close({})
    with open_recording(path) as recording:
        assert recording.closed


def test_partial_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.writev
    monkeypatch.setattr(os, "writev", lambda file, buffers: real(file, [b"".join(buffers)[:37]]))
    sample = samples.make(tmp_path / "a.sld")
    monkeypatch.undo()
    assert sample.data == samples.make(tmp_path / "b.sld").data


def test_nothing_is_taken_after_close(tmp_path: Path) -> None:
    out = Writer(tmp_path / "a.sld", {})
    out.close({})
    with pytest.raises(ValueError, match="is closed"):
        out.append("task", samples.plain("task", 1, 1))
    out.close({})


def test_a_killed_recorder_leaves_what_it_flushed(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, numpy as np\n"
        "from sldtrace.recording import schema\n"
        "from sldtrace.recording.writer import Writer\n"
        "out = Writer(sys.argv[1], {'a': 1})\n"
        "out.append('task', np.zeros(7, schema.current().records['task'].dtype))\n"
        "out.flush()\n"
        "out.append('task', np.zeros(5, schema.current().records['task'].dtype))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run = samples.python(code, tmp_path / "a.sld")
    assert run.returncode == -signal.SIGKILL
    with open_recording(tmp_path / "a.sld") as recording:
        assert recording.counts["task"] == 7
        assert recording.facts == {"a": 1}
        assert not recording.closed


def test_a_file_that_appears_at_the_last_moment_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, "check", lambda path, force: None)
    (tmp_path / "a.sld").write_text("precious")
    (tmp_path / "link").symlink_to("a.sld")
    assert "exists; use --force" in refused(tmp_path / "a.sld")
    assert "exists; use --force" in refused(tmp_path / "link")
    assert (tmp_path / "a.sld").read_text() == "precious"


def test_an_update_comes_after_what_was_appended_before_it(tmp_path: Path) -> None:
    out = Writer(tmp_path / "a.sld", {})
    out.append("task", samples.plain("task", 1, 5))
    out.facts_update({"detail": "lowered"})
    with open_recording(tmp_path / "a.sld") as recording:
        assert recording.counts["task"] == 1
        assert recording.updates == [{"detail": "lowered"}]
    out.close({})


def test_an_error_that_only_the_disk_reports_is_raised_at_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(file: int) -> None:
        raise OSError(5, "Input/output error")

    out = Writer(tmp_path / "a.sld", {})
    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(SldtraceError, match=r"cannot write .*a\.sld: Input/output error"):
        out.close({})
