"""Who a process is, while it lives, and after."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sldtrace.host import process
from tests.host import fakeproc


def test_this_process() -> None:
    found = process.describe(os.getpid())
    assert found["comm"] == Path("/proc/self/comm").read_text().rstrip("\n")
    assert found["exe"] == os.path.realpath("/proc/self/exe")
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
    assert process.describe(77, tmp_path) == described


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
        "from sldtrace.host import process\n"
        "def work(): print(process.exists(threading.get_native_id()))\n"
        "thread = threading.Thread(target=work); thread.start(); thread.join()\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(process.__file__).parents[2])},
    )
    assert run.stdout == "False\n"
