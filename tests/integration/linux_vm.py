"""Debian's kernel in a VM of QEMU, in the emulated host, and a program in it that takes split locks."""

import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from lab.image import Cpio
from lab.job import SKIPPED
from tests.integration.observing import Protocol, Recorder
from tests.integration.qemu import Qemu, Watch, polled
from tests.integration.vmms import described

KERNEL = Path("/tmp/vmlinuz")
PROGRAM = Path("/tmp/linux_guest")
# As linux_guest.c has them.
_MARK = bytes(byte ^ 0x80 for byte in (b"split locks are counted here" * 3)[:64])
_AT, _LOOPS = 192, 126

_MACHINE = "microvm,isa-serial=on,rtc=on"
_MEGABYTES = 128
_COMMAND_LINE = " ".join(["console=ttyS0 quiet panic=-1 reboot=t nokaslr 8250.nr_uarts=1", *SKIPPED])
_BOOTS_S = 120
_SECONDS = 3


class LinuxVm(Qemu):
    """A VM with the kernel of this machine.

    files: of its initramfs, path: content; `init` is its first process.
    """

    def __init__(self, name: str, files: Mapping[str, bytes], *options: str) -> None:
        super().__init__(name, _MACHINE, _MEGABYTES, "-kernel", str(KERNEL), "-no-reboot", *options)
        archive = Cpio()
        archive.device("dev/console", 5, 1)
        for path, content in files.items():
            archive.file(path, content, 0o755)
        (self.folder / "initrd").write_bytes(archive.finish())
        self._console = self.folder / "console"
        self.command += ["-initrd", str(self.folder / "initrd"), "-append", _COMMAND_LINE]
        self.command += ["-serial", f"file:{self._console}"]

    def console(self) -> str:
        """What it has written so far."""
        return self._console.read_text(errors="replace") if self._console.exists() else ""

    def until(self, there: Callable[[], bool]) -> None:
        """Waits for that; TimeoutError with the end of the console."""
        deadline = time.monotonic() + _BOOTS_S
        while not there():
            if time.monotonic() > deadline:
                raise TimeoutError(self.console()[-2000:])
            time.sleep(0.5)


class _Counting(LinuxVm):
    """Its only process takes split locks; its loops are in a page of it."""

    def __init__(self, name: str) -> None:
        super().__init__(name, {"init": PROGRAM.read_bytes()})
        self._page = -1

    def loops(self) -> list[int]:
        """See Qemu.loops; -1: the program does not run yet."""
        if self._page < 0:
            found = self.memory.find(_MARK)
            if found < 0:
                return [-1]
            self._page = found - _AT
        return [struct.unpack_from("<I", self.memory, self._page + _LOOPS)[0]]


def run(folder: Path) -> Protocol:
    """The VM boots, takes split locks, and then its monitor is polled; each of the two for some seconds."""
    begun = time.monotonic()
    recorder = Recorder(folder / "linux.sld")
    with recorder, _Counting("debian") as vm:
        vm.until(lambda: vm.loops()[0] >= 0)
        booted = time.monotonic()
        vm.until(lambda: vm.loops()[0] >= 1)
        first = time.monotonic()
        with Watch(vm) as undisturbed:
            time.sleep(_SECONDS)
        with Watch(vm) as disturbed, polled(vm, "info registers", 0) as polls:
            time.sleep(_SECONDS)
        polls["end_ns"] = time.monotonic_ns()
        time.sleep(0.5)
    return recorder.protocol | {
        "boot_s": booted - begun,
        "first_loops_s": first - booted,
        "undisturbed": described(vm, undisturbed),
        "polled": described(vm, disturbed) | polls,
    }
