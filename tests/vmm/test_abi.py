"""Request numbers and layouts, compared with the kernel's own header by a C compiler."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from sldtrace.vmm import abi, libc

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="no C compiler"),
    pytest.mark.skipif(
        not Path("/usr/include/linux/kvm.h").is_file(), reason="no linux/kvm.h (linux-libc-dev)"
    ),
]

HEADERS = ("stddef.h", "signal.h", "time.h", "sys/types.h", "linux/kvm.h")

# Our layout and the C type that it stands for; every field is compared by its name.
STRUCTURES: dict[type[ctypes.Structure], str] = {
    abi.UserspaceMemoryRegion: "struct kvm_userspace_memory_region",
    abi.Regs: "struct kvm_regs",
    abi.Segment: "struct kvm_segment",
    abi.Dtable: "struct kvm_dtable",
    abi.Sregs: "struct kvm_sregs",
    abi.CpuidEntry2: "struct kvm_cpuid_entry2",
    abi.Cpuid2Head: "struct kvm_cpuid2",
    abi.SignalMaskHead: "struct kvm_signal_mask",
    libc.Timespec: "struct timespec",
    libc.Itimerspec: "struct itimerspec",
}

# C expression -> what it must be in Python.
EXPECTED: dict[str, int] = {
    "KVM_API_VERSION": abi.API_VERSION,
    "KVM_CAP_USER_MEMORY": abi.CAP_USER_MEMORY,
    "KVM_CAP_SET_TSS_ADDR": abi.CAP_SET_TSS_ADDR,
    "KVM_CAP_EXT_CPUID": abi.CAP_EXT_CPUID,
    "KVM_CAP_NR_VCPUS": abi.CAP_NR_VCPUS,
    "KVM_CAP_MAX_VCPUS": abi.CAP_MAX_VCPUS,
    "KVM_CAP_IMMEDIATE_EXIT": abi.CAP_IMMEDIATE_EXIT,
    "CLOCK_MONOTONIC": libc.CLOCK_MONOTONIC,
    "SIGEV_THREAD_ID": libc.SIGEV_THREAD_ID,
    "sizeof(struct sigevent)": ctypes.sizeof(libc.Sigevent),
    "offsetof(struct sigevent, sigev_signo)": libc.Sigevent.sigev_signo.offset,
    "offsetof(struct sigevent, sigev_notify)": libc.Sigevent.sigev_notify.offset,
    "offsetof(struct sigevent, _sigev_un._tid)": libc.Sigevent.sigev_tid.offset,
    "sizeof(sigset_t)": ctypes.sizeof(libc.Sigset),
    "offsetof(struct kvm_cpuid2, entries)": abi.Cpuid2.entries.offset,
    "offsetof(struct kvm_signal_mask, sigset)": abi.SignalMask.sigset.offset,
    **{f"KVM_{request.name}": int(request) for request in abi.Request},
    **{f"sizeof({name})": ctypes.sizeof(structure) for structure, name in STRUCTURES.items()},
    **{
        f"offsetof({name}, {field[0]})": getattr(structure, field[0]).offset
        for structure, name in STRUCTURES.items()
        for field in structure._fields_
    },
    **{
        f"offsetof(struct kvm_run, {field})": getattr(abi.Run, field).offset
        for field in (
            *("request_interrupt_window", "immediate_exit", "exit_reason", "ready_for_interrupt_injection"),
            *("if_flag", "flags", "cr8", "apic_base"),
        )
    },
    **{
        f"offsetof(struct kvm_run, {path})": abi.Run.exit.offset + getattr(layout, path.split(".")[1]).offset
        for layout, path in (
            (abi.ExitException, "ex.exception"),
            (abi.ExitException, "ex.error_code"),
            (abi.ExitIo, "io.direction"),
            (abi.ExitIo, "io.size"),
            (abi.ExitIo, "io.port"),
            (abi.ExitIo, "io.count"),
            (abi.ExitIo, "io.data_offset"),
            (abi.ExitMmio, "mmio.phys_addr"),
            (abi.ExitMmio, "mmio.is_write"),
            (abi.ExitInternal, "internal.suberror"),
            (abi.ExitInternal, "internal.ndata"),
            (abi.ExitInternal, "internal.data"),
        )
    },
    "offsetof(struct kvm_run, fail_entry.hardware_entry_failure_reason)": abi.Run.exit.offset,
    "offsetof(struct kvm_run, kvm_valid_regs)": ctypes.sizeof(abi.Run),
}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """The value of each expression as the compiler sees it; names that an older header lacks are left out."""
    folder = tmp_path_factory.mktemp("abi")
    lines = [f"#include <{header}>" for header in HEADERS] + ["#include <stdio.h>", "int main(void) {"]
    for expression in EXPECTED:
        guarded = expression.startswith("KVM_EXIT_")
        lines += [f"#ifdef {expression}"] if guarded else []
        lines += [f'printf("%lu {expression}\\n", (unsigned long)({expression}));']
        lines += ["#endif"] if guarded else []
    (folder / "abi.c").write_text("#define _GNU_SOURCE\n" + "\n".join(lines) + "\nreturn 0; }\n")
    assert COMPILER is not None
    subprocess.run([COMPILER, "-o", folder / "abi", folder / "abi.c"], check=True)
    output = subprocess.run([folder / "abi"], check=True, capture_output=True, text=True).stdout
    pairs = (line.split(" ", 1) for line in output.splitlines())
    return {expression: int(value) for value, expression in pairs}


@pytest.mark.parametrize("expression", EXPECTED)
def test_same_as_the_header(expression: str, compiled: dict[str, int]) -> None:
    if expression not in compiled:
        pytest.skip("this linux/kvm.h is older than the name")
    assert compiled[expression] == EXPECTED[expression]
