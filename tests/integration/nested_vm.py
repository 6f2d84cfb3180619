"""A VM in a VM: Debian's kernel in QEMU runs examples/vmm/loop.c, whose guest takes split locks."""

import time
from pathlib import Path

from tests.integration.linux_vm import KERNEL, LinuxVm
from tests.integration.observing import Protocol, Recorder
from tests.integration.qemu import polled

BUSYBOX = Path("/run/lab/busybox")
LOOP = Path("/tmp/loop")
MODULES = ("irqbypass", "kvm", "kvm-intel")
# QEMU gives its VMs VMX when the model has it; with -cpu host the kernel does not start in the lab.
_CPU = ("-cpu", "Nehalem,+vmx")

_INIT = b"""#!/busybox sh
/busybox mount -t devtmpfs dev /dev
for module in /modules/*; do /busybox insmod $module; done
while /loop naive 0.5 || true; do :; done
"""
_SECONDS = 3


def _files() -> dict[str, bytes]:
    """The initramfs of the outer VM. The names of the modules begin with their order."""
    modules = sorted(Path(f"{KERNEL}.modules").iterdir())
    return {
        "init": _INIT,
        "busybox": BUSYBOX.read_bytes(),
        "loop": LOOP.read_bytes(),
        **{f"modules/{each.name}": each.read_bytes() for each in modules if each.stem[3:] in MODULES},
    }


def run(folder: Path) -> Protocol:
    """The inner guest runs on its own, then the outer VM's monitor is polled, then again on its own.

    The outer VM prints each half second of its time how many loops its guest did; these lines are the truth.
    """
    recorder = Recorder(folder / "nested.sld")
    with recorder, LinuxVm("outer", _files(), *_CPU) as vm:
        vm.until(lambda: vm.console().count(" loops in ") >= 3)
        before = vm.console()
        with polled(vm, "info registers", 0) as polls:
            time.sleep(_SECONDS)
        polls["end_ns"] = time.monotonic_ns()
        during = vm.console()[len(before) :]
        time.sleep(_SECONDS)
        after = vm.console()[len(before) + len(during) :]
    printed = {"before": before, "during": during, "after": after}
    return recorder.protocol | polls | {"tids": vm.tids, "pid": vm.pid, "printed": printed}
