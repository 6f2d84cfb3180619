"""Runs one machine: starts the emulator, streams the command's output, returns its status and files."""

import contextlib
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lab import artefacts, bochs, cache, hosttools, image, job
from lab.artefacts import Lab
from lab.failures import LabError, LabTimeout
from lab.job import Job
from lab.kernel_files import KernelFiles
from lab.limits import Watchdog
from lab.progress import Progress

_HERE = Path(__file__).resolve().parent
_POLL = 0.05
_LOGS_KEPT = 40
# Seconds in which a kernel that panics may still write to its console.
_PANIC_OUTPUT = 0.5
# After one of these on the console the command does not end. init.sh and second.sh write "lab: error:".
_FATAL = re.compile(r"(Kernel panic - not syncing.*)|lab: error: (.*)")


@dataclass(frozen=True)
class Timings:
    """Seconds. Wall clock from the start of the emulator; machine_* in the machine's own time."""

    boot: float
    total: float
    machine_boot: float
    machine_command: float


@dataclass(frozen=True)
class Result:
    """The result of a job.

    status: exit status of the command. output: its standard output and error, as bytes. console: the
    kernel's console. files: {path as asked for: path on this host}. missing: paths that were not
    there. logs: the folder with console.log, output.log, bochs.log, emulator.log and bochsrc.
    """

    status: int
    output: bytes
    console: str
    files: dict[str, Path]
    missing: tuple[str, ...]
    timings: Timings
    logs: Path


def run(
    what: Job,
    progress: Progress | None = None,
    sink: Callable[[bytes], None] | None = None,
    lab: Lab | None = None,
) -> Result:
    """Boots a machine, runs the job's command in it and returns when the machine is off.

    `sink` gets the command's output (standard output and error in one) as it is written. `lab`: what
    artefacts.ensure returned, when several machines are run. Machines can run at the same time.

    Raises LabError when the lab cannot be built, the kernel panics or the emulator ends early, and
    LabTimeout when one of the job's limits is reached; the message names the folder of the logs. Ends no
    process but the emulator that it started.
    """
    progress = progress or Progress()
    lab = lab or artefacts.ensure([what.kernel], progress, roots=[what.root])
    kernel = lab.kernels[what.kernel]
    work = Path(tempfile.mkdtemp(prefix="sldtrace-lab-"))
    logs = _logs_folder(what)
    try:
        _prepare(what, lab, kernel, work)
        progress.stage(f"booting {kernel.release}, {what.cpus} CPU{'s' if what.cpus > 1 else ''}")
        with _emulator(lab, work) as process:
            return _Watch(what, process, work, logs, progress, sink).result()
    except OSError as error:
        raise LabError(f"the machine cannot be run: {error.strerror}: {error.filename}") from error
    finally:
        _keep_logs(work, logs)
        shutil.rmtree(work, ignore_errors=True)


def initramfs(what: Job, kernel: KernelFiles) -> bytes:
    """The machine's initramfs: busybox, the modules, the first process, and the job."""
    archive = image.Cpio()
    archive.device("dev/console", 5, 1)
    archive.file("bin/busybox", kernel.busybox.read_bytes(), 0o755)
    archive.file("init", (_HERE / "init.sh").read_bytes(), 0o755)
    archive.file("modules/order", "".join(f"{name}\n" for name in kernel.modules).encode())
    for name in kernel.modules:
        archive.file(f"modules/{name}.ko", (kernel.folder / f"{name}.ko").read_bytes())
    for name in ("second.sh", "lab.service"):
        archive.file(f"job/{name}", (_HERE / name).read_bytes())
    job.pack(what, archive)
    if what.put_kernel is not None:
        archive.file(f"job/put{what.put_kernel}", kernel.vmlinuz.read_bytes())
        for number, name in enumerate(kernel.modules):
            module = (kernel.folder / f"{name}.ko").read_bytes()
            archive.file(f"job/put{what.put_kernel}.modules/{number:02}-{name}.ko", module)
    return archive.finish()


def _prepare(what: Job, lab: Lab, kernel: KernelFiles, work: Path) -> None:
    halves = image.BzImage.split(kernel.vmlinuz.read_bytes())
    initrd = initramfs(what, kernel)
    (work / "initrd.bin").write_bytes(initrd)
    (work / "low.bin").write_bytes(halves.low(what.command_line, bochs.INITRD_ADDRESS, len(initrd)))
    (work / "high.bin").write_bytes(halves.kernel)
    image.blank_disk(work / "result.img", job.HEADER_SIZE + job.RESULT_DISK)
    for name in ("console.log", "output.log"):
        (work / name).touch()
    bochs.write(
        bochs.Settings(
            lab.emulator, Path("high.bin"), lab.roots[what.root] / "root.img", what.cpus, what.memory
        ),
        work,
    )


# The emulated memory and the cache of decoded instructions in huge pages, where the host has them: a tenth
# less CPU time (Documentation/admin-guide/mm/transhuge.rst; glibc manual, "Memory Allocation Tunables").
_HUGE_PAGES = ("env", "GLIBC_TUNABLES=glibc.malloc.hugetlb=1")


@contextlib.contextmanager
def _emulator(lab: Lab, work: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (work / "emulator.log").open("wb") as log:
        process = hosttools.start(
            [*_HUGE_PAGES, lab.emulator / "bochs", "-q", "-f", "bochsrc"],
            cwd=work,
            stdout=log.fileno(),
            stderr=log.fileno(),
        )
    try:
        yield process
    finally:
        hosttools.end(process, patience=1.0)


class _Watch:
    """Follows one machine from power-on to power-off."""

    def __init__(
        self,
        what: Job,
        process: subprocess.Popen[bytes],
        work: Path,
        logs: Path,
        progress: Progress,
        sink: Callable[[bytes], None] | None,
    ) -> None:
        self._job, self._process, self._work, self._logs = what, process, work, logs
        self._progress, self._sink = progress, sink
        self._start = time.monotonic()
        self._console = bytearray()
        self._output = bytearray()
        self._ticks = _Ticks()
        self._watchdog = Watchdog(what.limits, self._start)
        self._boot: float | None = None
        self._stage = "booting"

    def result(self) -> Result:
        with (
            (self._work / "console.log").open("rb") as console,
            (self._work / "output.log").open("rb") as output,
            (self._work / "emulator.log").open("rb") as emulator,
        ):
            while True:
                ended = self._process.poll() is not None
                self._ticks.feed(emulator.read())
                self._forward(output.read())
                if news := console.read():
                    self._console += news
                    self._update_stage()
                    self._check_console()
                if ended:
                    break
                self._check_limits()
                self._progress.live(self._state())
                time.sleep(_POLL)
        self._progress.clear()
        return self._gather()

    def _check_limits(self) -> None:
        written = len(self._console) + len(self._output)
        reached = self._watchdog.reached(time.monotonic(), self._ticks.seconds, written)
        if reached:
            raise LabTimeout(f"{self._stage}: {reached}", f"see {self._logs}")

    def _state(self) -> str:
        expected = "" if self._job.expected is None else f" of about {self._job.expected:g} s"
        return f"{self._stage}, machine time {self._ticks.seconds:.1f} s{expected}"

    def _forward(self, data: bytes) -> None:
        if data:
            self._output += data
            if self._sink:
                self._progress.clear()
                self._sink(data)

    def _update_stage(self) -> None:
        if self._boot is None and b"lab: command starts at " in self._console:
            self._boot = time.monotonic() - self._start
            self._stage = "running the command"
            self._progress.stage(f"command starts ({self._boot:.1f} s after power-on)")
        elif self._stage.startswith("running") and b"lab: command ended at " in self._console:
            self._stage = "fetching the files"

    def _check_console(self) -> None:
        found = _FATAL.search(self._text())
        if found:
            time.sleep(_PANIC_OUTPUT)
            raise LabError(f"the machine failed: {(found[1] or found[2]).strip()}", f"see {self._logs}")

    def _text(self) -> str:
        return self._console.decode("utf-8", "replace").replace("\r\n", "\n")

    def _gather(self) -> Result:
        disk = self._work / "result.img"
        header = job.read_header(disk)
        if header is None:
            raise LabError(
                f"the emulator ended (status {self._process.returncode}) before the command did",
                f"see {self._logs}",
            )
        files = job.extract_files(disk, header, self._job.out) if self._job.out else {}
        text = self._text()
        begin, finish = (_uptime(text, word) for word in ("starts", "ended"))
        timings = Timings(self._boot or 0.0, time.monotonic() - self._start, begin, finish - begin)
        return Result(header.status, bytes(self._output), text, files, header.missing, timings, self._logs)


def _uptime(console: str, word: str) -> float:
    found = re.search(rf"lab: command {word} at ([\d.]+)", console)
    return float(found.group(1)) if found else 0.0


class _Ticks:
    """The machine's own time, from the lines that the emulator prints each second of this host."""

    def __init__(self) -> None:
        self._rest = b""
        self.seconds = 0.0

    def feed(self, written: bytes) -> None:
        """Takes what the emulator has written since the last call."""
        *lines, self._rest = (self._rest + written).split(b"\n")
        for line in lines:
            if found := re.fullmatch(rb"ticks: (\d+)", line):
                self.seconds = int(found[1]) / bochs.INSTRUCTIONS_PER_SECOND


def _logs_folder(what: Job) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    parent = cache.folder() / "logs"
    parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{stamp}-{what.kernel}-", dir=parent))


def _keep_logs(work: Path, logs: Path) -> None:
    logs.mkdir(parents=True, exist_ok=True)
    for name in ("console.log", "output.log", "bochs.log", "emulator.log", "bochsrc"):
        if (work / name).is_file():
            shutil.copyfile(work / name, logs / name)
    old = sorted((p for p in logs.parent.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime)
    for folder in old[:-_LOGS_KEPT]:
        shutil.rmtree(folder, ignore_errors=True)
