"""The machine for real: each kernel boots, traps split locks, passes status, output and files."""

import os
import threading
from pathlib import Path

import pytest

from lab import artefacts, machine
from lab.failures import LabError, LabTimeout
from lab.job import Job
from lab.kernel import DEFAULT, KERNELS
from lab.progress import Progress

pytestmark = pytest.mark.lab

QUIET = Progress(quiet=True)

# Everything about one kernel in one boot; each line of the answer starts with its name.
SCENARIO = """
echo "release $(uname -r)"
echo "cpus $(nproc)"
echo "mitigate $(cat /proc/sys/kernel/split_lock_mitigate)"
echo "cwd $PWD $(test -f lab/second.sh && echo checkout)"
echo "kvm $(test -c /dev/kvm && echo there)"
echo "mounts $(cut -d' ' -f3 /proc/mounts | sort -u | tr '\\n' ' ')"
dmesg | grep 'split lock detection'
python3 -c 'import bcc; print("bcc", bcc.__version__)'
echo "sldtrace-lab 1
status 0
end"
cp /tmp/in /tmp/out
seq 100000 > /tmp/numbers
echo "to standard error" >&2
exit 7
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree, so that the tests do not depend on what else lies in the checkout."""
    (tmp_path / "tree/lab").mkdir(parents=True)
    (tmp_path / "tree/lab/second.sh").touch()
    return tmp_path / "tree"


def test_a_kernel_boots_and_gives_everything_back(tree: Path, tmp_path: Path) -> None:
    """On one kernel: that the others boot, too, is seen in tests/integration."""
    *_, kernel = KERNELS
    secret = os.urandom(3_000_001)
    (tmp_path / "in").write_bytes(secret)
    pieces: list[bytes] = []
    job = Job(
        ["sh", "-c", SCENARIO],
        kernel=kernel,
        mitigate=0,
        tree=tree,
        put={"/tmp/in": tmp_path / "in"},
        put_kernel="/tmp/vmlinuz",
        fetch=["/tmp/out", "/tmp/numbers", "/tmp/vmlinuz", "/tmp/never"],
        out=tmp_path / "out",
    )
    lab = artefacts.ensure([kernel], QUIET)
    result = machine.run(job, QUIET, pieces.append, lab)
    output = result.output.decode()
    assert result.status == 7
    lines = output.splitlines()
    assert f"release {lab.kernels[kernel].release}" in lines
    assert {"cpus 1", "mitigate 0", "cwd /sldtrace checkout", "kvm there", "to standard error"} <= set(lines)
    assert "#AC: crashing the kernel on kernel split_locks and warning on user-space split_locks" in output
    assert any(line.startswith("bcc 0.") for line in lines)
    (mounts,) = (line for line in lines if line.startswith("mounts"))
    assert {"bpf", "cgroup2", "debugfs", "devtmpfs", "ext4", "proc", "sysfs", "tmpfs", "tracefs"} <= set(
        mounts.split()
    )
    assert b"".join(pieces) == result.output
    assert result.files["/tmp/out"].read_bytes() == secret
    assert result.files["/tmp/numbers"].read_text().split() == [str(n) for n in range(1, 100001)]
    assert result.files["/tmp/vmlinuz"].read_bytes() == lab.kernels[kernel].vmlinuz.read_bytes()
    assert result.missing == ("/tmp/never",)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["numbers", "out", "vmlinuz"]


def test_two_cpus_and_the_boot_parameter(tree: Path) -> None:
    """And a process that outlives the command does not keep the machine running."""
    script = "nproc; dmesg | grep 'split lock detection'; cat /proc/cmdline; sleep 100000 & exit 3"
    result = machine.run(
        Job(["sh", "-c", script], cpus=2, split_lock_detect="off", append="mark=1", tree=tree), QUIET
    )
    assert result.status == 3
    lines = result.output.decode().splitlines()
    assert lines[0] == "2"
    assert "disabled" in lines[1]
    assert lines[-1].endswith("split_lock_detect=off mark=1")


def test_a_machine_whose_time_is_over_is_ended_and_its_console_kept(tree: Path) -> None:
    """It sleeps for an hour of its own time."""
    with pytest.raises(LabTimeout, match="within 60 s of its own time; --machine-time raises") as caught:
        machine.run(Job(["sleep", "3600"], tree=tree, machine_time=60), QUIET)
    assert caught.value.hint is not None
    assert (Path(caught.value.hint.removeprefix("see ")) / "console.log").is_file()


def test_two_machines_side_by_side_do_not_see_each_other_and_are_the_same(tree: Path) -> None:
    """One image, two writers; and with one CPU two runs are alike to the byte."""
    lab = artefacts.ensure([DEFAULT], QUIET)
    script = "test ! -e /root/mark && touch /root/mark && sync && cat /proc/uptime && dmesg"
    job = Job(["sh", "-c", script], tree=tree)
    results: list[machine.Result] = []
    threads = [
        threading.Thread(target=lambda: results.append(machine.run(job, QUIET, lab=lab))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first, second = results
    assert first.status == second.status == 0
    assert len(first.output) > 1000
    assert first.output == second.output


def test_output_comes_before_the_end_and_a_panic_is_noticed(tree: Path) -> None:
    """The command does not end: its output is forwarded before the panic."""
    pieces: list[bytes] = []
    script = "echo first; sleep 1; echo c > /proc/sysrq-trigger"
    with pytest.raises(LabError, match="the machine failed: Kernel panic - not syncing: sysrq") as caught:
        machine.run(Job(["sh", "-c", script], tree=tree), QUIET, pieces.append)
    assert b"".join(pieces) == b"first\n"
    assert caught.value.hint is not None
    logs = Path(caught.value.hint.removeprefix("see "))
    assert "Kernel panic - not syncing" in (logs / "console.log").read_text(errors="replace")
