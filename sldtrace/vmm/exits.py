"""Explains in one line a return of KVM_RUN that no bundled guest should cause."""

from sldtrace.errors import SldtraceError
from sldtrace.host.exits import AC_VECTOR, UserExit, user_name
from sldtrace.text.phrases import address
from sldtrace.vmm import abi


def unexpected(state: abi.Run, rip: int, locked: int) -> SldtraceError:
    """The error for the exit in `state`, with the guest at `rip`; `locked` is its instruction under test.

    In the mode `fatal`, handle_guest_split_lock() (arch/x86/kernel/cpu/bus_lock.c) forces SIGBUS on the
    thread, and handle_exception_nmi() (arch/x86/kvm/vmx/vmx.c) returns KVM_EXIT_EXCEPTION with the vector of
    #AC: a process that gets that exit has survived SIGBUS.
    """
    where = f"the guest is at {address(rip)}"
    reason = state.exit_reason
    if reason == UserExit.EXCEPTION and state.ex.exception == AC_VECTOR:
        what = "split lock" if rip == locked else "#AC"
        return SldtraceError(
            f"KVM returned to the monitor for the guest's {what} at {address(rip)}, without SIGBUS",
            "see the kernel log",
        )
    if reason == UserExit.SHUTDOWN:
        return SldtraceError(f"the guest had a triple fault; {where}", "its image or this KVM has a bug")
    if reason == UserExit.FAIL_ENTRY:
        number = state.fail_entry.reason
        return SldtraceError(
            f"the processor refused to enter the guest ({user_name(reason)}, hardware reason {number:#x})",
            "if this host is a virtual machine, its nested virtualization has a bug",
        )
    if reason == UserExit.INTERNAL_ERROR:
        numbers = state.internal.data[: min(state.internal.ndata, len(state.internal.data))]
        data = " ".join(f"{number:#x}" for number in numbers) or "none"
        return SldtraceError(
            f"KVM cannot go on ({user_name(reason)} {state.internal.suberror}, data {data}); {where}",
            "this KVM cannot run the guest: try another kernel",
        )
    if reason == UserExit.MMIO:
        return SldtraceError(
            f"the guest accessed {address(state.mmio.phys_addr)}, where it has no memory; {where}"
        )
    return SldtraceError(f"KVM_RUN ended with {user_name(reason)}, which no bundled guest causes; {where}")
