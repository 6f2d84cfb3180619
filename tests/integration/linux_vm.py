"""Debian's kernel in a VM of QEMU, in the emulated host, and a program in it that takes split locks."""

import struct
import time
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

_MEGABYTES = 128
_COMMAND_LINE = " ".join(["console=ttyS0 quiet panic=-1 reboot=t nokaslr 8250.nr_uarts=1", *SKIPPED])
_BOOTS_S = 120
_SECONDS = 3


class Linux(Qemu):
    """The VM; its loops are in a page of its program."""

    def __init__(self, name: str, machine: str) -> None:
        super().__init__(name, machine, _MEGABYTES, "-kernel", str(KERNEL), "-no-reboot")
        archive = Cpio()
        archive.device("dev/console", 5, 1)
        archive.file("init", PROGRAM.read_bytes(), 0o755)
        (self.folder / "initrd").write_bytes(archive.finish())
        self._console = self.folder / "console"
        self.command += ["-initrd", str(self.folder / "initrd"), "-append", _COMMAND_LINE]
        self.command += ["-serial", f"file:{self._console}"]
        self._page = -1

    def loops(self) -> list[int]:
        """See Qemu.loops; -1: the program does not run yet."""
        if self._page < 0:
            found = self.memory.find(_MARK)
            if found < 0:
                return [-1]
            self._page = found - _AT
        return [struct.unpack_from("<I", self.memory, self._page + _LOOPS)[0]]

    def until(self, loops: int) -> None:
        """Waits until the program has done this number of loops."""
        deadline = time.monotonic() + _BOOTS_S
        while self.loops()[0] < loops:
            if time.monotonic() > deadline:
                raise TimeoutError(self._console.read_text(errors="replace")[-2000:])
            time.sleep(0.5)


def run(folder: Path) -> Protocol:
    """The VM boots, takes split locks, and then its monitor is polled; each of the two for some seconds."""
    begun = time.monotonic()
    recorder = Recorder(folder / "linux.sld")
    with recorder, Linux("debian", "microvm,isa-serial=on,rtc=on") as vm:
        vm.until(0)
        booted = time.monotonic()
        vm.until(1)
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
