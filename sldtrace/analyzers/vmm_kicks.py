"""The signal by which a known VMM ends KVM_RUN of its own vCPU threads: who sends it, and what to change.

QEMU: a thread that wants something of a vCPU sends it SIGUSR1 (system/cpus.c, cpus_kick_thread). The main
thread does so for monitor commands that need the state of the vCPU (cpu_synchronize_state), and for each
interrupt of the controllers that QEMU emulates itself: with kernel-irqchip=split those of the PIT.
"""

from sldtrace.analyzers.ending_signal import SignalNumbers
from sldtrace.analyzers.finding import Remedy
from sldtrace.analyzers.recovery import AT_NEXT_PENALTY, RESTARTED, VERIFY
from sldtrace.dataset.trace import Trace
from sldtrace.host.signals import Code
from sldtrace.host.vms.vmms import VMMS
from sldtrace.text.phrases import ms

_KICKS = {vmm.name: vmm.kick for vmm in VMMS if vmm.kick}


def kicker(trace: Trace, tgid: int, found: SignalNumbers | None) -> str | None:
    """The VMM of this process, if its main thread sends the signal to end KVM_RUN of a vCPU; else None."""
    vmm = trace.subject(tgid, tgid, None).vmm
    if found is None or vmm not in _KICKS:
        return None
    by_main_thread = (found.sender_tgid, found.sender_tid) == (tgid, tgid)
    kick = by_main_thread and found.code == Code.SI_TKILL and found.number == _KICKS[vmm]
    return vmm if kick else None


def sentence(vmm: str | None) -> str:
    """What the signal is, with a blank before it; empty where it is no kick of a known VMM."""
    return " With this signal QEMU's main thread makes the vCPU leave KVM_RUN." if vmm else ""


def remedies(trace: Trace, least_ns: int, tgid: int, found: SignalNumbers) -> list[Remedy]:
    """What to change where QEMU's main thread sends it, the most likely first.

    least_ns: the time between two signals that every penalty needs. found: the signal.
    """
    often = f"; now the signal comes {1e9 / found.period_ns:,.0f} times a second" if found.period_ns else ""
    irqchip = trace.text("processes", str(tgid), "irqchip")
    monitor = Remedy(
        "In what manages this VM: a monitor command that reads the vCPU's registers (info registers, for "
        "example) sends this signal once, and so does a debugger (gdbstub) when it stops the VM. Leave more "
        f"than {ms(least_ns)} ms between two of them{often}. sldtrace check names the processes that are "
        "connected to its monitor. query-status, query-cpus-fast and query-stats (QEMU "
        "8.1 and later) send none.",
        "what polls the monitor sees less",
        undo="poll the monitor as before",
        recovery=AT_NEXT_PENALTY,
        verify=VERIFY,
    )
    if irqchip not in ("split", "off"):
        return [monitor]
    interrupts = Remedy(
        f"In QEMU's command line: kernel-irqchip=on; now it is {irqchip}, and QEMU's main thread sends this "
        "signal for each interrupt of the guest's PIT. In libvirt's XML: <ioapic driver='kvm'/>.",
        "a restart of the VM; an emulated IOMMU cannot remap interrupts (intremap=on) then",
        "-machine kernel-irqchip=on",
        undo=f"-machine kernel-irqchip={irqchip}",
        recovery=RESTARTED,
        verify=VERIFY,
    )
    return [interrupts, monitor]
