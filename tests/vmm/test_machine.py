"""The errors when KVM is missing, closed, or not KVM."""

import ctypes
import errno
import os
import platform
from pathlib import Path
from typing import Any

import pytest

from sldtrace.errors import SldtraceError
from sldtrace.vmm import guests, kvm, libc, machine
from sldtrace.vmm.abi import Request
from tests import leftovers


def failure(monkeypatch: pytest.MonkeyPatch, device: str) -> str:
    monkeypatch.setattr(kvm, "DEVICE", device)
    before = leftovers.files()
    with pytest.raises(SldtraceError) as caught:
        machine.Machine(guests.load("split-bts"))
    assert leftovers.files().items() <= before.items()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = failure(monkeypatch, str(tmp_path / "kvm"))
    assert "No such file" in text
    assert "load kvm_intel" in text


def test_a_device_that_is_not_kvm(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "KVM_GET_API_VERSION failed: Inappropriate ioctl" in failure(monkeypatch, "/dev/null")


def test_no_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(SldtraceError, match="Permission denied; run as root, or as a member of the group"):
        machine.Machine(guests.load("split-bts"))


def test_another_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert "this host is aarch64" in failure(monkeypatch, "/dev/null")


# The requests in the order in which a machine is made, with what KVM might answer and the words for it.
@pytest.mark.parametrize(
    ("request_", "number", "words"),
    [
        (Request.CREATE_VM, errno.EBUSY, "another hypervisor"),
        (Request.CREATE_VM, errno.ENOMEM, "no memory"),
        (Request.SET_USER_MEMORY_REGION, errno.EINVAL, "more than this KVM has"),
        (Request.CREATE_VCPU, errno.EMFILE, "ulimit -n"),
        (Request.GET_SUPPORTED_CPUID, errno.ENOTTY, "not KVM, or too old"),
        (Request.SET_SREGS, errno.EINVAL, "more than this KVM has"),
    ],
)
def test_refused_request(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request_: Request, number: int, words: str
) -> None:
    refusals = []

    def ioctl(fd: int, request: Request, argument: Any) -> int:
        if request == request_:
            ctypes.set_errno(number)
            refusals.append(request)
            return -1
        if request in (Request.CREATE_VM, Request.CREATE_VCPU):
            return os.open(tmp_path / "pages", os.O_RDWR)
        return {
            Request.GET_API_VERSION: 12,
            Request.CHECK_EXTENSION: 1,
            Request.GET_VCPU_MMAP_SIZE: 8192,
        }.get(request, 0)

    (tmp_path / "pages").write_bytes(bytes(8192))
    monkeypatch.setattr(libc, "ioctl", ioctl)
    text = failure(monkeypatch, "/dev/null")
    assert refusals == [request_]
    assert f"KVM_{request_.name} failed" in text
    assert errno.errorcode[number] in text
    assert words in text


def test_a_missing_capability_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        libc, "ioctl", lambda fd, request, argument: 12 if request == Request.GET_API_VERSION else 0
    )
    assert "KVM does not have KVM_CAP_USER_MEMORY" in failure(monkeypatch, "/dev/null")
