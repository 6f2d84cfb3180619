"""Which vCPU a thread runs, by the name that its VMM gave it."""

import re

# The names that VMMs give; the kernel keeps 15 bytes. A VirtualBox VM with one vCPU has no number.
_NAMES = re.compile(
    r"CPU ([0-9]+)/KVM"  # QEMU, with -name debug-threads=on: accel/kvm/kvm-accel-ops.c
    r"|fc_vcpu ?([0-9]+)"  # Firecracker: src/vmm/src/vstate/vcpu.rs
    r"|vcpu([0-9]+)"  # cloud-hypervisor: vmm/src/cpu.rs
    r"|crosvm_vcpu([0-9]+)"  # crosvm: src/crosvm/sys/linux/vcpu.rs
    r"|kvm-vcpu-?([0-9]+)"  # kvmtool: builtin-run.c
    r"|EMT(?:-([0-9]+))?"  # VirtualBox: src/VBox/VMM/VMMR3/VM.cpp
)


def vcpu_of(comm: str) -> int | None:
    """The index of the vCPU, from a thread's name (comm); None if the name tells none.

    A name is a hint: whoever runs a thread names it, and without debug-threads=on QEMU names none.
    """
    match = _NAMES.fullmatch(comm)
    if match is None:
        return None
    return int(match[match.lastindex]) if match.lastindex else 0
