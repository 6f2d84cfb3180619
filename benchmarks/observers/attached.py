"""One observer in the machine: started, attached and at rest before a guest is measured; ended by SIGINT."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from benchmarks.observers.table import Observer

_PROBES = ("anon_inode:[perf_event]", "anon_inode:bpf_link", "anon_inode:bpf-raw-tracepoint")
_PROC = Path("/proc")
# At rest: for this long it used no more than a twentieth of the CPU. What compiles or attaches uses all of
# it; what waits for events may still wake up some twenty times a second.
_REST_S = 2.0
_BUSY = 0.05


class ObserverError(Exception):
    """The observer ended by itself, or did not attach in time; the text is one line."""


class Attached:
    """Within `with` the observer is attached and at rest. Raises ObserverError where it cannot be.

    patience: machine seconds; the tools compile for tens of them here.
    """

    def __init__(self, observer: Observer, patience: float = 180.0) -> None:
        self._observer, self._patience = observer, patience
        self.folder = Path(tempfile.mkdtemp(prefix="observer-"))
        self._said = self.folder / "said"

    def __enter__(self) -> "Attached":
        words = [word.replace("FOLDER", str(self.folder)) for word in self._observer.command]
        try:
            with self._said.open("wb") as sink:
                self._process = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=sink,
                    cwd=self.folder,
                    start_new_session=True,
                    env={**os.environ, "PYTHONPATH": os.getcwd()},
                )
        except OSError as error:
            raise ObserverError(f"{words[0]}: {error.strerror}") from None
        try:
            self._wait(time.monotonic() + self._patience)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is None:
                os.killpg(self._process.pid, number)
                try:
                    self._process.wait(self._patience)
                except subprocess.TimeoutExpired:
                    continue

    def said(self) -> str:
        """What it printed, to standard output and to standard error."""
        return self._said.read_text("utf-8", "backslashreplace")

    def written(self) -> int:
        """Bytes of its file; 0 when it writes none."""
        if not self._observer.writes:
            return 0
        return sum(path.stat().st_size for path in self.folder.glob(self._observer.writes + "*"))

    def discard(self) -> None:
        """Takes its folder away."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait(self, deadline: float) -> None:
        used, since = cpu_seconds(self._process.pid), time.monotonic()
        while True:
            time.sleep(_REST_S / 5)
            if self._process.poll() is not None:
                lines = self.said().strip().splitlines() or ["it said nothing"]
                raise ObserverError(f"ended with status {self._process.returncode}: {lines[-1]}")
            now, spent = time.monotonic(), cpu_seconds(self._process.pid)
            if not self._attached() or spent - used > _BUSY * _REST_S:
                used, since = spent, now
            elif now - since >= _REST_S:
                return
            if now > deadline:
                raise ObserverError(f"not attached and at rest after {self._patience:g} s")

    def _attached(self) -> bool:
        ready = self._observer.ready
        if ready.said and ready.said not in self.said():
            return False
        if ready.file and not Path(ready.file).read_text().startswith("1"):
            return False
        return probes(self._process.pid) >= ready.probes


def session(leader: int) -> list[Path]:
    """The folders in /proc of the processes in the session that `leader` began."""
    found = []
    for folder in _PROC.iterdir():
        if folder.name.isdigit() and (fields := _stat(folder)) and int(fields[3]) == leader:
            found.append(folder)
    return found


def cpu_seconds(leader: int) -> float:
    """CPU time of all processes of the session, of their ended children too."""
    ticks = os.sysconf("SC_CLK_TCK")
    used = 0
    for folder in session(leader):
        if fields := _stat(folder):
            used += sum(int(field) for field in fields[11:15])
    return used / ticks


def probes(leader: int) -> int:
    """Perf events and BPF links that the processes of the session hold open."""
    count = 0
    for folder in session(leader):
        try:
            names = [os.readlink(entry) for entry in (folder / "fd").iterdir()]
        except OSError:
            continue
        count += sum(name in _PROBES for name in names)
    return count


# proc_pid_stat(5) from the third field on (state): the name before it may hold anything.
def _stat(folder: Path) -> list[str] | None:
    try:
        return (folder / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return None
