"""The KVM ioctl interface of x86: request numbers and structure layouts (include/uapi/linux/kvm.h)."""

import ctypes
import enum

# The tests compare every number, size and offset of this module with the header, by a C compiler.

API_VERSION = 12  # KVM_API_VERSION; frozen since Linux 2.6.22 (Documentation/virt/kvm/api.rst, 4.1)
CAP_USER_MEMORY = 3  # KVM_CAP_USER_MEMORY
CAP_SET_TSS_ADDR = 4  # KVM_CAP_SET_TSS_ADDR
CAP_EXT_CPUID = 7  # KVM_CAP_EXT_CPUID: KVM_SET_CPUID2 and KVM_GET_SUPPORTED_CPUID
CAP_NR_VCPUS = 9  # KVM_CAP_NR_VCPUS: recommended number of vCPUs of a VM
CAP_MAX_VCPUS = 66  # KVM_CAP_MAX_VCPUS
CAP_IMMEDIATE_EXIT = 136  # KVM_CAP_IMMEDIATE_EXIT: kvm_run has immediate_exit

_u8, _u16, _u32, _u64 = ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64

# include/uapi/asm-generic/ioctl.h: direction in bits 31..30, size in 29..16, type in 15..8, number in 7..0.
_NONE, _WRITE, _READ = 0, 1, 2
_KVMIO = 0xAE


def _ioc(direction: int, number: int, argument: type[ctypes.Structure] | None = None) -> int:
    size = ctypes.sizeof(argument) if argument else 0
    return direction << 30 | size << 16 | _KVMIO << 8 | number


class UserspaceMemoryRegion(ctypes.Structure):
    """struct kvm_userspace_memory_region (include/uapi/linux/kvm.h); addresses and sizes in bytes."""

    _fields_ = [
        ("slot", _u32),
        ("flags", _u32),
        ("guest_phys_addr", _u64),
        ("memory_size", _u64),
        ("userspace_addr", _u64),
    ]


class Regs(ctypes.Structure):
    """struct kvm_regs (arch/x86/include/uapi/asm/kvm.h)."""

    _fields_ = [
        (name, _u64)
        for name in (
            *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp"),
            *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "rflags"),
        )
    ]


class Segment(ctypes.Structure):
    """struct kvm_segment (arch/x86/include/uapi/asm/kvm.h): a segment register with its hidden part."""

    _fields_ = [
        ("base", _u64),
        ("limit", _u32),
        ("selector", _u16),
        *(
            (name, _u8)
            for name in ("type", "present", "dpl", "db", "s", "l", "g", "avl", "unusable", "padding")
        ),
    ]


class Dtable(ctypes.Structure):
    """struct kvm_dtable (arch/x86/include/uapi/asm/kvm.h): GDTR or IDTR."""

    _fields_ = [("base", _u64), ("limit", _u16), ("padding", _u16 * 3)]


class Sregs(ctypes.Structure):
    """struct kvm_sregs (arch/x86/include/uapi/asm/kvm.h)."""

    _fields_ = [
        *((name, Segment) for name in ("cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt")),
        ("gdt", Dtable),
        ("idt", Dtable),
        *((name, _u64) for name in ("cr0", "cr2", "cr3", "cr4", "cr8", "efer", "apic_base")),
        ("interrupt_bitmap", _u64 * 4),  # KVM_NR_INTERRUPTS = 256 bits
    ]


class CpuidEntry2(ctypes.Structure):
    """struct kvm_cpuid_entry2 (arch/x86/include/uapi/asm/kvm.h)."""

    _fields_ = [
        *((name, _u32) for name in ("function", "index", "flags", "eax", "ebx", "ecx", "edx")),
        ("padding", _u32 * 3),
    ]


class Cpuid2Head(ctypes.Structure):
    """struct kvm_cpuid2 (arch/x86/include/uapi/asm/kvm.h) without its entries: what ioctl numbers count."""

    _fields_ = [("nent", _u32), ("padding", _u32)]


class Cpuid2(ctypes.Structure):
    """struct kvm_cpuid2 with room for KVM_MAX_CPUID_ENTRIES (arch/x86/include/asm/kvm_host.h) entries."""

    MAX_ENTRIES = 256
    _fields_ = [("head", Cpuid2Head), ("entries", CpuidEntry2 * MAX_ENTRIES)]


class SignalMaskHead(ctypes.Structure):
    """struct kvm_signal_mask (include/uapi/linux/kvm.h) without the set that follows."""

    _fields_ = [("len", _u32)]


class SignalMask(ctypes.Structure):
    """struct kvm_signal_mask with the kernel's sigset_t of x86-64, which follows `len` unaligned."""

    _pack_ = 1
    _fields_ = [("head", SignalMaskHead), ("sigset", _u64)]


class ExitHardware(ctypes.Structure):
    """hw and fail_entry of struct kvm_run: a number of the hardware, and the CPU where entry failed."""

    _fields_ = [("reason", _u64), ("cpu", _u32)]


class ExitException(ctypes.Structure):
    """ex of struct kvm_run."""

    _fields_ = [("exception", _u32), ("error_code", _u32)]


class ExitIo(ctypes.Structure):
    """io of struct kvm_run; the data are at `data_offset` bytes from the start of kvm_run."""

    _fields_ = [("direction", _u8), ("size", _u8), ("port", _u16), ("count", _u32), ("data_offset", _u64)]


class ExitMmio(ctypes.Structure):
    """mmio of struct kvm_run."""

    _fields_ = [("phys_addr", _u64), ("data", _u8 * 8), ("len", _u32), ("is_write", _u8)]


class ExitInternal(ctypes.Structure):
    """internal of struct kvm_run."""

    _fields_ = [("suberror", _u32), ("ndata", _u32), ("data", _u64 * 16)]


class ExitUnion(ctypes.Union):
    """The anonymous union of struct kvm_run, as far as the monitor reads it."""

    _fields_ = [
        ("fail_entry", ExitHardware),
        ("ex", ExitException),
        ("io", ExitIo),
        ("mmio", ExitMmio),
        ("internal", ExitInternal),
        ("padding", _u8 * 256),
    ]


class Run(ctypes.Structure):
    """struct kvm_run (include/uapi/linux/kvm.h) up to its union."""

    _anonymous_ = ("exit",)
    _fields_ = [
        ("request_interrupt_window", _u8),
        ("immediate_exit", _u8),
        ("padding1", _u8 * 6),
        ("exit_reason", _u32),
        ("ready_for_interrupt_injection", _u8),
        ("if_flag", _u8),
        ("flags", _u16),
        ("cr8", _u64),
        ("apic_base", _u64),
        ("exit", ExitUnion),
    ]


class Request(enum.IntEnum):
    """The ioctl requests that the monitor uses, KVM_* without the prefix."""

    GET_API_VERSION = _ioc(_NONE, 0x00)
    CREATE_VM = _ioc(_NONE, 0x01)
    CHECK_EXTENSION = _ioc(_NONE, 0x03)
    GET_VCPU_MMAP_SIZE = _ioc(_NONE, 0x04)
    GET_SUPPORTED_CPUID = _ioc(_READ | _WRITE, 0x05, Cpuid2Head)
    CREATE_VCPU = _ioc(_NONE, 0x41)
    SET_USER_MEMORY_REGION = _ioc(_WRITE, 0x46, UserspaceMemoryRegion)
    SET_TSS_ADDR = _ioc(_NONE, 0x47)
    RUN = _ioc(_NONE, 0x80)
    GET_REGS = _ioc(_READ, 0x81, Regs)
    SET_REGS = _ioc(_WRITE, 0x82, Regs)
    GET_SREGS = _ioc(_READ, 0x83, Sregs)
    SET_SREGS = _ioc(_WRITE, 0x84, Sregs)
    SET_SIGNAL_MASK = _ioc(_WRITE, 0x8B, SignalMaskHead)
    SET_CPUID2 = _ioc(_WRITE, 0x90, Cpuid2Head)
