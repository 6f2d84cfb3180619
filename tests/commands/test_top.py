"""`sldtrace top`: its options, what it refuses, and how it is put together; the table is in tests/top."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sldtrace.capture import recorder
from sldtrace.capture.bpf.filters import Filters
from sldtrace.capture.live.detector import LAG_NS, Detector
from sldtrace.capture.recorder import Live, RecordOptions, Status
from sldtrace.commands import top as module
from sldtrace.errors import SldtraceError, UsageError
from sldtrace.host import access, split_lock
from sldtrace.host.split_lock import SplitLock
from sldtrace.model import penalty
from tests.analyzers.synthetic import loop, write

SECOND = 1_000_000_000


class FakeRecorder:
    """Notes how it is made; shows three looks, and ends before the next one if a signal asks for it."""

    made: list[tuple[RecordOptions, int]]

    def __init__(
        self,
        options: RecordOptions,
        on_message: Callable[[str], None],
        on_status: Callable[[Status], None],
        on_live: Callable[[Live, int], None],
        lag_ns: int,
    ) -> None:
        self.made.append((options, lag_ns))
        self._on_live = on_live

    def run(self) -> Status:
        live = Live(Detector(penalty.for_kernel("6.12", 4_000_000), {}), lambda tgid: {}, Status())
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            for look in range(3):
                self._on_live(live, look * SECOND)
                if signal.sigtimedwait({signal.SIGINT}, 0):
                    return Status(ended_by="SIGINT")
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        return Status(ended_by="SIGTERM")


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeRecorder]:
    """A host where recording works, and a recorder that does not."""
    monkeypatch.setattr(recorder, "Recorder", FakeRecorder)
    monkeypatch.setattr(FakeRecorder, "made", [], raising=False)
    monkeypatch.setattr(access, "require", lambda: None)
    monkeypatch.setattr(split_lock, "read", lambda: SplitLock("warn", True, False, 1))
    return FakeRecorder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(module.top, [str(argument) for argument in arguments])


def test_without_a_file_it_follows_this_host(fake: type[FakeRecorder], tmp_path: Path) -> None:
    done = run("--vm", "web*", "-o", tmp_path / "kept.sld")
    assert done.exit_code == 0, done.output
    ((options, lag_ns),) = fake.made
    assert (options.path, options.filters) == (tmp_path / "kept.sld", Filters(vm="web*"))
    assert lag_ns == LAG_NS
    assert "mode warn, mitigate 1" in done.stdout


def test_no_file_is_kept_if_none_is_named(fake: type[FakeRecorder]) -> None:
    run()
    assert fake.made[0][0].path is None


@pytest.mark.parametrize("count", [1, 2])
def test_it_ends_after_so_many_looks(count: int) -> None:
    done = run("--json", "-n", count)
    assert len(done.stdout.splitlines()) == count


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--speed", "10"], "--speed is for a recording"),
        (["-o", "kept.sld", "{file}"], "-o is for this host"),
        (["--speed", "0", "{file}"], "--speed '0' is not a factor"),
        (["--speed", "inf", "{file}"], "--speed 'inf' is not a factor"),
        (["--speed", "fast", "{file}"], "--speed 'fast' is not a factor"),
    ],
)
def test_what_is_refused(arguments: list[str], words: str, tmp_path: Path) -> None:
    file = write(tmp_path / "a.sld", loop(200))
    done = run(*(each.format(file=file) for each in arguments))
    assert isinstance(done.exception, UsageError)
    assert words in done.exception.message


def test_a_recording_needs_no_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Any:
        raise SldtraceError("not root")

    monkeypatch.setattr(access, "require", refuse)
    file = write(tmp_path / "a.sld", loop(200))
    assert run("--speed", "max", file).exit_code == 0
    assert isinstance(run().exception, SldtraceError)
