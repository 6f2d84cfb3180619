"""Opens /dev/kvm and calls its ioctls; a refusal becomes an error of one line with a hint."""

import ctypes
import errno
import os
import platform
from typing import Any

from sldtrace.errors import SldtraceError
from sldtrace.vmm import abi, libc
from sldtrace.vmm.abi import Request

DEVICE = "/dev/kvm"

ODD_KVM = "64-bit guests need more than this KVM has: use a bare-metal host or another kernel"
_NO_MODULE = "load kvm_intel (or kvm_amd); virtualization may be disabled in the firmware"

# Hints for the errno of a refused open or ioctl (Documentation/virt/kvm/api.rst).
_HINTS = {
    errno.ENOENT: "load kvm_intel (or kvm_amd); inside a virtual machine, nested virtualization must be on",
    errno.ENODEV: _NO_MODULE,
    errno.ENXIO: _NO_MODULE,
    errno.EACCES: "run as root, or as a member of the group that owns it (usually kvm)",
    errno.EPERM: "a container or a security module refuses it: allow the device there",
    errno.EBUSY: "another hypervisor (VirtualBox, VMware) may hold the processor's virtualization",
    errno.ENOMEM: "the host has no memory for another virtual machine",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.EINVAL: ODD_KVM,
    errno.ENOTTY: f"{DEVICE} is not KVM, or too old",
    errno.EOPNOTSUPP: ODD_KVM,
}

_NEEDED = {
    "KVM_CAP_USER_MEMORY": abi.CAP_USER_MEMORY,
    "KVM_CAP_EXT_CPUID": abi.CAP_EXT_CPUID,
    "KVM_CAP_IMMEDIATE_EXIT": abi.CAP_IMMEDIATE_EXIT,  # since Linux 4.13; required to stop a vCPU
}
# Where KVM_CAP_MAX_VCPUS and KVM_CAP_NR_VCPUS are missing (Documentation/virt/kvm/api.rst, 4.7).
_FEWEST_VCPUS = 4


def ioctl(fd: int, request: Request, argument: Any) -> int:
    """The result of an ioctl request. Raises SldtraceError if it is negative."""
    result: int = libc.ioctl(fd, request, argument)
    if result < 0:
        raise libc.failure(f"KVM_{request.name}", _HINTS.get(ctypes.get_errno()))
    return result


def open_device() -> int:
    """A descriptor of /dev/kvm. Raises SldtraceError if it is missing, not accessible, or too old."""
    if platform.machine() != "x86_64":
        raise SldtraceError(f"the guests are x86-64, this host is {platform.machine()}")
    try:
        kvm = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SldtraceError(f"cannot open {DEVICE}: {reason}", _HINTS.get(error.errno or 0)) from error
    try:
        version = ioctl(kvm, Request.GET_API_VERSION, 0)
        if version != abi.API_VERSION:
            raise SldtraceError(f"KVM has API version {version}, not {abi.API_VERSION}", ODD_KVM)
        for name, capability in _NEEDED.items():
            if not ioctl(kvm, Request.CHECK_EXTENSION, capability):
                raise SldtraceError(f"KVM does not have {name}", ODD_KVM)
    except BaseException:
        os.close(kvm)
        raise
    return kvm


def most_vcpus(kvm: int) -> int:
    """The most vCPUs of a VM on this host."""
    return (
        ioctl(kvm, Request.CHECK_EXTENSION, abi.CAP_MAX_VCPUS)
        or ioctl(kvm, Request.CHECK_EXTENSION, abi.CAP_NR_VCPUS)
        or _FEWEST_VCPUS
    )
