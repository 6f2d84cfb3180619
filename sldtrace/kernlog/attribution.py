"""Whose instruction took the lock: the guest's, the VMM's own, or a program's; how sure that is, and why."""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from sldtrace.host.vms.threads import vcpu_of
from sldtrace.host.vms.vmms import VMMS

GUEST, EITHER, VMM, PROGRAM = "guest", "guest or VMM", "VMM", "program"
"""Whose instruction: a guest's; that or the VMM's; the VMM's own on the host; that of another program."""
CERTAIN, PROBABLE, POSSIBLE = "certain", "probable", "possible"

FATAL_KINDS = ("split-lock-fatal", "split-lock-bogus")
"""Printed by handle_guest_split_lock alone, with SIGBUS (arch/x86/kernel/cpu/bus_lock.c)."""

_KERNEL_HALF = 1 << 63  # from here on no program of the host has an address
_LOWEST = 0x10000  # vm.mmap_min_addr: below it no program of the host has an address
_PIE = range(0x550000000000, 0x570000000000)  # ELF_ET_DYN_BASE, with randomization
_LIBRARIES = range(0x700000000000, 0x800000000000)  # below TASK_SIZE: mmap_base
_COMM = 15
# VMware's monitor handles its guests' #AC itself; a line is about a thread's own code.
_VMWARE = re.compile(
    r"(?:main|vmx)-(?:svga|mks|dda|vthread-?\d*|vcpu-\d+|mmpoll)|vmware-vmx|mksSandbox|vmware"
)
_TCG = re.compile(r"CPU \d+/TCG|ALL CPUs/TCG")


@dataclass(frozen=True)
class Attribution:
    """who: GUEST, EITHER, VMM or PROGRAM; certainty: CERTAIN, PROBABLE, POSSIBLE; reason: in a few words.

    vmm: the name of the VMM that the thread belongs to by its name, empty if it is not known.
    """

    who: str
    certainty: str
    reason: str
    vmm: str = ""


def attribute(kind: str, comm: str, origin: str, addresses: list[int], in_guest: bool = False) -> Attribution:
    """Whose instructions the lines of a thread are about.

    kind, comm, origin: as in message.Trap; addresses: of the lines; in_guest: the kernel that wrote the log
    runs in a VM itself.
    """
    vmm = vmm_of(comm)
    own = VMM if vmm else PROGRAM
    if origin == "guest":
        return Attribution(GUEST, CERTAIN, "the kernel says so: (guest)", vmm)
    if origin == "user":
        return Attribution(own, CERTAIN, "the kernel says so: (user)", vmm)
    if kind in FATAL_KINDS:
        return Attribution(GUEST, CERTAIN, "only KVM's handler prints this line", vmm)
    if kind.startswith("bus-lock"):
        return Attribution(own, CERTAIN, "#DB is raised by the thread's own code", vmm)
    if any(address >= _KERNEL_HALF for address in addresses):
        return Attribution(GUEST, CERTAIN, "no program has an address in the kernel's half", vmm)
    if in_guest:
        return Attribution(own, PROBABLE, "the log is that of a guest's kernel", vmm)
    if _TCG.fullmatch(comm):
        return Attribution(VMM, CERTAIN, "QEMU without KVM (TCG): its own code runs the guest", vmm)
    if vmm == "vmware":
        return Attribution(VMM, PROBABLE, "a thread of VMware's program, which is not KVM", vmm)
    if vmm:
        return _of_vmm(vmm, vcpu_of(comm) is not None, addresses)
    if any(address < _LOWEST for address in addresses):
        return Attribution(GUEST, PROBABLE, "no program has an address below 64 KiB (vm.mmap_min_addr)")
    return Attribution(PROGRAM, PROBABLE, "no name of a VMM or of a vCPU thread")


def _of_vmm(vmm: str, is_vcpu: bool, addresses: list[int]) -> Attribution:
    named = "a vCPU thread by its name" if is_vcpu else f"a thread of {vmm} by its name"
    if not addresses:
        return Attribution(EITHER, POSSIBLE, f"{named}; the address is not known", vmm)
    if any(address < _LOWEST for address in addresses):
        return Attribution(GUEST, CERTAIN, f"{named}; no program has an address below 64 KiB", vmm)
    if all(address in _PIE or address in _LIBRARIES for address in addresses):
        reason = f"{named}; at such an address is a guest's program, or the VMM's own code"
        return Attribution(EITHER, POSSIBLE, reason, vmm)
    return Attribution(GUEST, PROBABLE, f"{named}; not where the VMM's own code is", vmm)


def vmm_of(comm: str) -> str:
    """The name of the VMM that a thread of this name belongs to; empty if it is none that is known."""
    if _TCG.fullmatch(comm):
        return "qemu"
    if _VMWARE.fullmatch(comm):
        return "vmware"
    for vmm in VMMS:
        if any(fnmatchcase(comm, program[:_COMM]) for program in vmm.programs):
            return vmm.name
        patterns = (re.escape(name).replace(r"\{vcpu\}", "[0-9]+") for name in vmm.threads)
        if any(re.fullmatch(pattern, comm) for pattern in patterns):
            return vmm.name
    return ""


def place(address: int, of_guest: bool) -> str:
    """What lies at an address: a kernel, a program, firmware; of_guest: in a guest."""
    where = "in the guest" if of_guest else ""
    if address >= 0xFFFFFFFF80000000:
        what = "the Linux kernel"
    elif 0xFFFFF80000000000 <= address < 0xFFFFF90000000000:
        what = "the Windows kernel or a driver"
    elif address >= _KERNEL_HALF:
        what = "a kernel"
    elif address < _LOWEST:
        what = "real mode or firmware" if of_guest else "the first 64 KiB"
    elif address < 1 << 32:
        what = "32-bit code" if of_guest else "a program below 4 GiB"
    else:
        what = "a program"
    return f"{what} {where}".strip()
