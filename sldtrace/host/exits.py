"""Names of VM exits: Intel's and AMD's reasons, exceptions, and what KVM_RUN returns to the VMM for."""

import errno
from enum import IntEnum

VMX, SVM = "vmx", "svm"
"""Intel's and AMD's extension, as enum sld_isa of bpf/events.h names them in lower case."""

AC_VECTOR = 17
"""Alignment check, #AC (X86_TRAP_AC, arch/x86/include/asm/trapnr.h): what a split lock raises."""

VMX_EXCEPTION = 0
_SVM_EXCEPTIONS = range(0x40, 0x60)  # code 0x40 + vector
SVM_AC = _SVM_EXCEPTIONS[AC_VECTOR]
BUS_LOCK = {VMX: 74, SVM: 0xA5}
"""The exit that bus lock detection of guests causes (KVM_CAP_X86_BUS_LOCK_EXIT)."""

BUS_LOCK_DETECTED = 1 << 26
"""In an exit reason of VMX: the guest had a bus lock before this exit, which has another reason (Intel SDM,
volume 3, "Basic VM-Exit Information"; KVM_RUN_X86_BUS_LOCK)."""

OTHER_REASONS = 0xFFFF_FFFF
"""In `reason` of a `counts` record: all reasons for which there was no counter left."""

EXCEPTIONS = {
    0: "DE",
    1: "DB",
    2: "NMI",
    3: "BP",
    4: "OF",
    5: "BR",
    6: "UD",
    7: "NM",
    8: "DF",
    10: "TS",
    11: "NP",
    12: "SS",
    13: "GP",
    14: "PF",
    16: "MF",
    17: "AC",
    18: "MC",
    19: "XM",
    20: "VE",
    21: "CP",
    28: "HV",
    29: "VC",
    30: "SX",
}
"""Mnemonics by vector (2 is the NMI, no exception): SDM volume 3, table 6-1; APM volume 2, table 8-1."""

INTEL = {
    0: "EXCEPTION_NMI",
    1: "EXTERNAL_INTERRUPT",
    2: "TRIPLE_FAULT",
    3: "INIT_SIGNAL",
    4: "SIPI_SIGNAL",
    5: "IO_SMI",
    6: "OTHER_SMI",
    7: "INTERRUPT_WINDOW",
    8: "NMI_WINDOW",
    9: "TASK_SWITCH",
    10: "CPUID",
    11: "GETSEC",
    12: "HLT",
    13: "INVD",
    14: "INVLPG",
    15: "RDPMC",
    16: "RDTSC",
    17: "RSM",
    18: "VMCALL",
    19: "VMCLEAR",
    20: "VMLAUNCH",
    21: "VMPTRLD",
    22: "VMPTRST",
    23: "VMREAD",
    24: "VMRESUME",
    25: "VMWRITE",
    26: "VMOFF",
    27: "VMON",
    28: "CR_ACCESS",
    29: "DR_ACCESS",
    30: "IO_INSTRUCTION",
    31: "MSR_READ",
    32: "MSR_WRITE",
    33: "INVALID_STATE",
    34: "MSR_LOAD_FAIL",
    36: "MWAIT_INSTRUCTION",
    37: "MONITOR_TRAP_FLAG",
    39: "MONITOR_INSTRUCTION",
    40: "PAUSE_INSTRUCTION",
    41: "MCE_DURING_VMENTRY",
    43: "TPR_BELOW_THRESHOLD",
    44: "APIC_ACCESS",
    45: "EOI_INDUCED",
    46: "GDTR_IDTR",
    47: "LDTR_TR",
    48: "EPT_VIOLATION",
    49: "EPT_MISCONFIG",
    50: "INVEPT",
    51: "RDTSCP",
    52: "PREEMPTION_TIMER",
    53: "INVVPID",
    54: "WBINVD",
    55: "XSETBV",
    56: "APIC_WRITE",
    57: "RDRAND",
    58: "INVPCID",
    59: "VMFUNC",
    60: "ENCLS",
    61: "RDSEED",
    62: "PML_FULL",
    63: "XSAVES",
    64: "XRSTORS",
    65: "PCONFIG",
    66: "SPP",
    67: "UMWAIT",
    68: "TPAUSE",
    69: "LOADIWKEY",
    70: "ENCLV",
    72: "ENQCMD_PASID",
    73: "ENQCMDS_PASID",
    74: "BUS_LOCK",
    75: "NOTIFY",
    76: "SEAMCALL",
    77: "TDCALL",
    78: "RDMSRLIST",
    79: "WRMSRLIST",
    84: "MSR_READ_IMM",
    85: "MSR_WRITE_IMM",
}
"""Basic exit reasons as KVM prints them (arch/x86/include/uapi/asm/vmx.h); what it has no name for is after
SDM volume 3, appendix C."""

AMD = {
    **{0x00 + n: f"read_cr{n}" for n in range(16)},
    **{0x10 + n: f"write_cr{n}" for n in range(16)},
    **{0x20 + n: f"read_dr{n}" for n in range(16)},
    **{0x30 + n: f"write_dr{n}" for n in range(16)},
    **{code: f"{EXCEPTIONS.get(code - 0x40, f'vector {code - 0x40}')} excp" for code in _SVM_EXCEPTIONS},
    0x60: "interrupt",
    0x61: "nmi",
    0x62: "smi",
    0x63: "init",
    0x64: "vintr",
    0x65: "cr0_sel_write",
    # KVM prints read_rt and write_rt for the task register.
    0x66: "read_idtr",
    0x67: "read_gdtr",
    0x68: "read_ldtr",
    0x69: "read_tr",
    0x6A: "write_idtr",
    0x6B: "write_gdtr",
    0x6C: "write_ldtr",
    0x6D: "write_tr",
    0x6E: "rdtsc",
    0x6F: "rdpmc",
    0x70: "pushf",
    0x71: "popf",
    0x72: "cpuid",
    0x73: "rsm",
    0x74: "iret",
    0x75: "swint",
    0x76: "invd",
    0x77: "pause",
    0x78: "hlt",
    0x79: "invlpg",
    0x7A: "invlpga",
    0x7B: "io",
    0x7C: "msr",
    0x7D: "task_switch",
    0x7E: "ferr_freeze",
    0x7F: "shutdown",
    0x80: "vmrun",
    0x81: "hypercall",
    0x82: "vmload",
    0x83: "vmsave",
    0x84: "stgi",
    0x85: "clgi",
    0x86: "skinit",
    0x87: "rdtscp",
    0x88: "icebp",
    0x89: "wbinvd",
    0x8A: "monitor",
    0x8B: "mwait",
    0x8C: "mwait_cond",
    0x8D: "xsetbv",
    0x8E: "rdpru",
    0x8F: "write_efer_trap",
    **{0x90 + n: f"write_cr{n}_trap" for n in range(16)},
    0xA0: "invlpgb",
    0xA1: "invlpgb_illegal",
    0xA2: "invpcid",
    0xA3: "mcommit",
    0xA4: "tlbsync",
    0x53: "XF excp",
    0xA5: "buslock",
    0xA6: "idle-halt",
    0x400: "npf",
    0x401: "avic_incomplete_ipi",
    0x402: "avic_unaccelerated_access",
    0x403: "vmgexit",
    0x80000001: "vmgexit_mmio_read",
    0x80000002: "vmgexit_mmio_write",
    0x80000003: "vmgexit_nmi_complete",
    0x80000004: "vmgexit_ap_hlt_loop",
    0x80000005: "vmgexit_ap_jump_table",
    0x80000010: "vmgexit_page_state_change",
    0x80000011: "vmgexit_guest_request",
    0x80000012: "vmgexit_ext_guest_request",
    0x80000013: "vmgexit_ap_creation",
    0x8000FFFD: "vmgexit_hypervisor_feature",
    0xFFFFFFFF: "invalid_guest_state",
}
"""Exit codes as KVM prints them (arch/x86/include/uapi/asm/svm.h), the low 32 bits; what it has no name for
is after APM volume 2, appendix C."""

_TABLES = {VMX: INTEL, SVM: AMD}


class UserExit(IntEnum):
    """KVM_EXIT_*: why KVM_RUN returned 0 (include/uapi/linux/kvm.h)."""

    UNKNOWN = 0
    EXCEPTION = 1
    IO = 2
    HYPERCALL = 3
    DEBUG = 4
    HLT = 5
    MMIO = 6
    IRQ_WINDOW_OPEN = 7
    SHUTDOWN = 8
    FAIL_ENTRY = 9
    INTR = 10
    SET_TPR = 11
    TPR_ACCESS = 12
    S390_SIEIC = 13
    S390_RESET = 14
    DCR = 15
    NMI = 16
    INTERNAL_ERROR = 17
    OSI = 18
    PAPR_HCALL = 19
    S390_UCONTROL = 20
    WATCHDOG = 21
    S390_TSCH = 22
    EPR = 23
    SYSTEM_EVENT = 24
    S390_STSI = 25
    IOAPIC_EOI = 26
    HYPERV = 27
    ARM_NISV = 28
    X86_RDMSR = 29
    X86_WRMSR = 30
    DIRTY_RING_FULL = 31
    AP_RESET_HOLD = 32
    X86_BUS_LOCK = 33
    XEN = 34
    RISCV_SBI = 35
    RISCV_CSR = 36
    NOTIFY = 37
    LOONGARCH_IOCSR = 38
    MEMORY_FAULT = 39
    TDX = 40
    ARM_SEA = 41


def name(isa: str, reason: int, vector: int = -1) -> str:
    """`EXCEPTION_NMI (#AC)`, `CPUID`, `AC excp`, `npf`; `reason 99 (0x63)` where there is no name.

    isa: VMX or SVM; reason: the basic one, with BUS_LOCK_DETECTED, or the code; vector: of an exception
    (Intel), -1: not known.
    """
    if had_bus_lock(isa, reason):
        return f"{name(isa, reason & ~BUS_LOCK_DETECTED, vector)}, bus lock"
    known = _TABLES.get(isa, {}).get(reason)
    if known is None:
        return f"reason {reason} ({reason:#x})"
    if isa == VMX and reason == VMX_EXCEPTION and vector >= 0:
        mnemonic = EXCEPTIONS.get(vector)
        text = f"vector {vector}" if mnemonic is None else mnemonic if vector == 2 else f"#{mnemonic}"
        return f"{known} ({text})"
    return known


def is_split_lock(isa: str, reason: int, vector: int = -1) -> bool:
    """Is it the exit of a guest by #AC, as a split lock causes it where detection is on?

    A guest's own alignment check looks the same; only a record `trap` distinguishes them
    (vmx_guest_inject_ac(), arch/x86/kvm/vmx/vmx.c). AMD's processors raise no #AC for split locks; KVM hands
    #AC to the guest there.
    """
    if isa == VMX:
        return reason == VMX_EXCEPTION and vector == AC_VECTOR
    return isa == SVM and reason == SVM_AC


def is_bus_lock(isa: str, reason: int) -> bool:
    """Is it the exit that bus lock detection of guests causes (KVM_CAP_X86_BUS_LOCK_EXIT)?"""
    return BUS_LOCK.get(isa) == reason


def had_bus_lock(isa: str, reason: int) -> bool:
    """Is it another exit, before which the guest had a bus lock?"""
    return isa == VMX and reason != OTHER_REASONS and bool(reason & BUS_LOCK_DETECTED)


def user_name(reason: int, error: int = 0) -> str:
    """`KVM_EXIT_IO`; where KVM_RUN failed (error: a negative errno), `EINTR` or `errno N` instead.

    Then the reason is not that of this run (kvm_userspace_exit, include/trace/events/kvm.h).
    """
    if error < 0:
        return errno.errorcode.get(-error, f"errno {-error}")
    try:
        return f"KVM_EXIT_{UserExit(reason).name}"
    except ValueError:
        return f"KVM_EXIT {reason}"
