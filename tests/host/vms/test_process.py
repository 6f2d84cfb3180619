"""Who a process is, while it lives, and after."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sldtrace.host.vms import cgroups, process
from tests.host import fakeproc


def test_this_process() -> None:
    found = process.describe(os.getpid())
    assert found["comm"] == Path("/proc/self/comm").read_text().rstrip("\n")
    assert found["exe"] == os.path.realpath("/proc/self/exe")
    assert json.loads(json.dumps(found)) == found
    assert found["cgroup"] == cgroups.path_of(Path("/proc/self/cgroup").read_text())
    assert (found["vmm"], found["vm"]) == (None, None)
    assert process.exists(os.getpid())


def test_a_process_that_has_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert process.describe(child.pid) == {}
    assert not process.exists(child.pid)


@pytest.mark.parametrize(
    ("comm", "exe", "described"),
    [
        (b"qemu", b"/usr/bin/qemu", {"comm": "qemu", "exe": "/usr/bin/qemu"}),
        (b"CPU 0/KVM", b"/x (deleted)", {"comm": "CPU 0/KVM", "exe": "/x (deleted)"}),
        (b"\xff\x1b", b"/bin/\xff", {"comm": "\\xff\x1b", "exe": "/bin/\\xff"}),
        (b"two\nlines", None, {"comm": "two\nlines"}),
        (b"kthreadd", None, {"comm": "kthreadd"}),
        (b"", None, {"comm": ""}),
    ],
)
def test_names_of_any_bytes(
    comm: bytes, exe: bytes | None, described: dict[str, str], tmp_path: Path
) -> None:
    fakeproc.process(tmp_path, 77, comm, exe)
    unknown = {"vmm": "qemu" if comm == b"qemu" else None, "irqchip": None, "cgroup": "/", "unit": None}
    found = process.describe(77, tmp_path)
    assert (found.pop("vm") is None) == (comm != b"qemu")
    assert found == described | unknown


def test_a_thread_is_no_process(tmp_path: Path) -> None:
    fakeproc.process(tmp_path, 77, b"qemu", None)
    fakeproc.process(tmp_path, 78, b"CPU 0/KVM", None, thread_of=77)
    assert process.exists(77, tmp_path)
    assert not process.exists(78, tmp_path)
    assert not process.exists(7, tmp_path)
    assert not process.exists(79, tmp_path)


def test_a_name_that_looks_like_the_field(tmp_path: Path) -> None:
    """The kernel escapes newlines in status (proc_task_name), so that no name forges a field."""
    fakeproc.process(tmp_path, 78, b"x\nTgid:\t78", None, thread_of=77)
    assert not process.exists(78, tmp_path)


def test_another_thread_of_this_process_is_no_process() -> None:
    code = (
        "import threading, sys\n"
        "from sldtrace.host.vms import process\n"
        "def work(): print(process.exists(threading.get_native_id()))\n"
        "thread = threading.Thread(target=work); thread.start(); thread.join()\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(process.__file__).parents[3])},
    )
    assert run.stdout == "False\n"


SCOPE = rb"/machine.slice/machine-qemu\x2d3\x2dweb01.scope/libvirt/emulator"
UUID = "4dea22b3-1d52-4bdb-a2a4-0d6cc6c0d1f1"
POD = b"/kubepods/pod" + UUID.encode() + b"/x"


def vm(folder: Path, comm: bytes, cmdline: list[bytes], cgroup: bytes) -> dict[str, Any] | None:
    """What is known of the VM, and from where."""
    fakeproc.process(folder, 77, comm, None, cmdline=cmdline, cgroup=cgroup)
    found: dict[str, Any] | None = process.describe(77, folder)["vm"]
    return found and {key: value for key, value in found.items() if value is not None}


def test_the_command_line_goes_before_the_cgroup(tmp_path: Path) -> None:
    arguments = [b"qemu-system-x86_64", b"-name", b"guest=web_01,debug-threads=on", b"-uuid", UUID.encode()]
    assert vm(tmp_path, b"x", arguments, SCOPE) == {
        "name": "web_01",
        "uuid": UUID,
        "id": "3",
        "source": {"name": "-name", "uuid": "-uuid", "id": "libvirt scope"},
    }


def test_the_cgroup_alone(tmp_path: Path) -> None:
    """A command line that cannot be read, and a helper of the VM such as swtpm, which is no VMM."""
    expected = {"name": "web01", "id": "3", "source": {"name": "libvirt scope", "id": "libvirt scope"}}
    assert vm(tmp_path, b"swtpm", [], SCOPE) == expected


def test_a_container_is_no_vm(tmp_path: Path) -> None:
    assert vm(tmp_path, b"app", [], b"/machine.slice/machine-debian.scope/payload") is None


def test_a_pod_is_no_vm(tmp_path: Path) -> None:
    assert vm(tmp_path, b"app", [], POD) is None


def test_a_vm_of_kubevirt(tmp_path: Path) -> None:
    assert vm(tmp_path, b"qemu-kvm", [b"qemu-kvm", b"-name", b"guest=prod_web-01"], POD) == {
        "name": "web-01",
        "namespace": "prod",
        "pod": UUID,
        "source": {"name": "-name", "namespace": "-name", "pod": "kubepods cgroup"},
    }


@pytest.mark.parametrize("name", [b"prod_Web", b"web01", b"a_b_c", b"_b", b"sandbox-0f_"])
def test_a_vm_in_a_pod_that_is_not_of_kubevirt(name: bytes, tmp_path: Path) -> None:
    found = vm(tmp_path, b"qemu-kvm", [b"qemu-kvm", b"-name", name], POD)
    assert found is not None
    assert (found["name"], "namespace" in found, found["pod"]) == (name.decode(), False, UUID)


def test_a_service_is_the_last_resort(tmp_path: Path) -> None:
    service = rb"/system.slice/system-vm.slice/vm@web\x2d01.service"
    found = vm(tmp_path, b"cloud-hyperviso", [b"/usr/bin/cloud-hypervisor"], service)
    assert found == {"name": "vm@web-01.service", "source": {"name": "systemd unit"}}
    assert process.describe(77, tmp_path)["unit"] == "vm@web-01.service"
    (tmp_path / "77" / "cmdline").write_bytes(b"cloud-hypervisor\0--api-socket\0/run/x\0")
    assert process.describe(77, tmp_path)["vm"]["name"] is None


def test_a_command_line_of_megabytes_is_read_up_to_a_limit(tmp_path: Path) -> None:
    limit = 128 * 1024
    head = b"qemu\0-name\0"
    whole = head + b"web01\0" + b"x" * limit
    fakeproc.process(tmp_path, 77, b"qemu", None)
    (tmp_path / "77" / "cmdline").write_bytes(whole)
    assert process.describe(77, tmp_path)["vm"]["name"] == "web01"
    # A name that the limit cuts through is not taken for one.
    padding = b"x" * (limit - len(b"qemu\0\0-name\0web"))
    (tmp_path / "77" / "cmdline").write_bytes(b"qemu\0" + padding + b"\0-name\0web01\0")
    assert process.describe(77, tmp_path)["vm"]["name"] is None


def test_hostile_bytes(tmp_path: Path) -> None:
    arguments = [b"qemu", b"-name", b"\xff\x1b[31m\n\xe2\x80\xae" + b"A" * 4096]
    fakeproc.process(tmp_path, 77, b"qemu", None, cmdline=arguments, cgroup=b"/\xff" + b"B" * 4000)
    found = process.describe(77, tmp_path)
    assert found["vm"]["name"].startswith("\\xff\x1b[31m\n\u202eAAA")
    assert max(len(found["vm"]["name"]), len(found["cgroup"])) == 1024
    assert json.loads(json.dumps(found)) == found


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """As with hidepid, or where the process ends while it is looked at."""
    fakeproc.process(tmp_path, 77, b"qemu", None)
    for name in ("cmdline", "cgroup"):
        (tmp_path / "77" / name).unlink()
    found = process.describe(77, tmp_path)
    assert (found["comm"], found["vmm"], found["cgroup"], found["unit"]) == ("qemu", "qemu", None, None)
