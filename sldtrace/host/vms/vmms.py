"""The virtual machine monitors that are known: their programs, their vCPU threads, where they name their VM.

To add one, add a row to VMMS and an example of it to tests/host/vms/test_vmms.py.
"""

from dataclasses import dataclass
from signal import Signals


@dataclass(frozen=True)
class NameOption:
    """An option of a VMM's command line whose value names the VM.

    key: which of names.KEYS the value is; a `uuid` that is not a UUID is ignored. parameter: the value is a
    list `key=value,...`, and this is the key. implied: the list may begin with the value alone. when: a
    parameter of the same list and the value that it must have. unless_uuid: a UUID is not this name.
    """

    key: str
    option: str
    parameter: str = ""
    implied: bool = False
    when: tuple[str, str] | None = None
    unless_uuid: bool = False


@dataclass(frozen=True)
class ListOption:
    """A parameter in the list `key=value,...` that is the value of an option."""

    option: str
    parameter: str


@dataclass(frozen=True)
class Vmm:
    """A virtual machine monitor.

    name: the value of `vmm` in recordings and reports. programs: names of its executable file, `*` for any
    text; the kernel keeps 15 bytes of a comm. threads: names of its vCPU threads, `{vcpu}` for the vCPU's
    number; without it the number is 0. options: where the VM's names are, the better one of a key first; the
    last occurrence of an option counts. free_text: options whose value the guest's owner may choose; the
    argument after them is never an option. any_dashes: options have one dash or two. script: its executable
    is an interpreter, and these are the words of the command line; the VM's name is the next one. irqchip:
    where the command line says which interrupt controllers KVM emulates. kick: the signal by which its
    threads end KVM_RUN of a vCPU thread; None: not known.
    """

    name: str
    programs: tuple[str, ...] = ()
    threads: tuple[str, ...] = ()
    options: tuple[NameOption, ...] = ()
    free_text: tuple[str, ...] = ()
    any_dashes: bool = False
    script: tuple[str, ...] = ()
    irqchip: tuple[ListOption, ...] = ()
    kick: Signals | None = None


# The comments name where a thread's name is set, in the VMM's own source.
VMMS = (
    Vmm(
        "qemu",
        ("qemu-system-*", "qemu-kvm", "kvm", "qemu"),
        ("CPU {vcpu}/KVM",),  # accel/kvm/kvm-accel-ops.c; only with -name debug-threads=on
        (
            NameOption("name", "-name", "guest", implied=True),
            NameOption("uuid", "-uuid"),
            NameOption("id", "-id"),  # Proxmox
            NameOption("uuid", "-smbios", "uuid", when=("type", "1")),  # Proxmox; -uuid sets the same
        ),
        free_text=("-append",),
        any_dashes=True,
        irqchip=tuple(
            ListOption(option, parameter)
            for option in ("-machine", "-M", "-accel")
            for parameter in ("kernel-irqchip", "kernel_irqchip")
        ),
        kick=Signals.SIGUSR1,  # include/system/cpus.h, SIG_IPI; system/cpus.c, cpus_kick_thread
    ),
    Vmm(
        "firecracker",
        ("firecracker", "firecracker-*"),
        ("fc_vcpu {vcpu}", "fc_vcpu{vcpu}"),  # src/vmm/src/vstate/vcpu.rs
        (NameOption("id", "--id"),),
    ),
    Vmm(
        "cloud-hypervisor",
        ("cloud-hypervisor*", "cloud-hyperviso"),
        ("vcpu{vcpu}",),  # vmm/src/cpu.rs
        (
            NameOption("uuid", "--platform", "uuid"),
            NameOption("id", "--api-socket", "path", implied=True),  # as `ch-remote --api-socket` takes it
        ),
        free_text=("--cmdline",),
    ),
    Vmm(
        "crosvm",
        ("crosvm", "crosvm-*"),
        ("crosvm_vcpu{vcpu}",),  # src/crosvm/sys/linux/vcpu.rs
        (NameOption("name", "--name"), NameOption("id", "--socket"), NameOption("id", "-s")),
        free_text=("-p", "--params"),
    ),
    Vmm(
        "kvmtool",
        ("lkvm", "lkvm-*", "kvmtool"),
        ("kvm-vcpu-{vcpu}", "kvm-vcpu{vcpu}"),  # builtin-run.c
        (NameOption("name", "--name"),),
        free_text=("-p", "--params"),
    ),
    Vmm(
        "virtualbox",
        ("VBoxHeadless", "VirtualBoxVM"),
        ("EMT-{vcpu}", "EMT"),  # src/VBox/VMM/VMMR3/VM.cpp; no number where there is one vCPU
        (
            NameOption("name", "--comment"),  # set by the user interface
            NameOption("uuid", "--startvm"),
            NameOption("uuid", "-s"),
            NameOption("name", "--startvm", unless_uuid=True),
            NameOption("name", "-s", unless_uuid=True),
        ),
        any_dashes=True,
    ),
    Vmm("sldtrace", script=("sldtrace", "guest", "run")),
)
