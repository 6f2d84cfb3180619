"""From what the user calls a cgroup to the id and level that the kernel compares."""

import os
from pathlib import Path

import pytest

from sldtrace.errors import SldtraceError
from sldtrace.host import cgroup_filter
from sldtrace.host.cgroup_filter import cgroup_filter as resolve

SCOPE = r"machine-qemu\x2d3\x2dweb01.scope"


def host(folder: Path, kind: str = "cgroup2", root: str = "/") -> tuple[Path, Path]:
    """A /proc and the hierarchy that it says is mounted; its whole file system counts as cgroups."""
    top, proc = folder / "cgroup fs", folder / "proc"
    for path in (f"machine.slice/{SCOPE}/libvirt", "system.slice/a.service", "user.slice/a.service"):
        (top / path).mkdir(parents=True)
    (proc / "self").mkdir(parents=True)
    device = top.stat().st_dev
    mount = str(top).replace(" ", r"\040")
    (proc / "self" / "mountinfo").write_text(
        "22 1 0:5 / /proc rw - proc proc rw\n"
        f"31 23 {os.major(device)}:{os.minor(device)} {root} {mount} rw,relatime shared:9 - {kind} x rw\n"
    )
    return proc, top


@pytest.mark.parametrize(
    ("text", "path", "level"),
    [
        (f"machine.slice/{SCOPE}", f"machine.slice/{SCOPE}", 2),
        (f"/machine.slice/{SCOPE}/", f"machine.slice/{SCOPE}", 2),
        ("{top}/machine.slice", "machine.slice", 1),
        ("{top}/machine.slice/../system.slice", "system.slice", 1),
        (SCOPE, f"machine.slice/{SCOPE}", 2),
        ("machine-qemu-3-web01.scope", f"machine.slice/{SCOPE}", 2),
        ("system.slice", "system.slice", 1),
        ("libvirt", f"machine.slice/{SCOPE}/libvirt", 3),
        ("/", ".", 0),
        ("{top}", ".", 0),
    ],
)
def test_what_is_meant(text: str, path: str, level: int, tmp_path: Path) -> None:
    proc, top = host(tmp_path)
    assert resolve(text.replace("{top}", str(top)), proc) == (os.stat(top / path).st_ino, level)


def test_a_part_of_the_hierarchy_that_is_mounted(tmp_path: Path) -> None:
    proc, top = host(tmp_path, root="/outer/inner")
    assert resolve("system.slice", proc) == (os.stat(top / "system.slice").st_ino, 3)


@pytest.mark.parametrize(
    "text", ["", "none.scope", "/none", "machine.slice/none", "\0", "a\x1b[1m", "x" * 500]
)
def test_what_is_not_there(text: str, tmp_path: Path) -> None:
    proc, _ = host(tmp_path)
    with pytest.raises(SldtraceError, match="there is no cgroup") as caught:
        resolve(text, proc)
    assert str(caught.value).isprintable()
    assert "/proc/PID/cgroup" in str(caught.value)


def test_a_file_is_no_cgroup(tmp_path: Path) -> None:
    proc, top = host(tmp_path)
    (top / "cgroup.procs").write_text("1\n")
    with pytest.raises(SldtraceError, match="there is no cgroup"):
        resolve("/cgroup.procs", proc)


def test_a_folder_elsewhere_is_no_cgroup(tmp_path: Path) -> None:
    proc, _ = host(tmp_path)
    assert os.stat("/proc").st_dev != tmp_path.stat().st_dev
    with pytest.raises(SldtraceError, match="there is no cgroup /proc"):
        resolve("/proc", proc)


def test_a_name_that_two_have(tmp_path: Path) -> None:
    proc, _ = host(tmp_path)
    with pytest.raises(SldtraceError) as caught:
        resolve("a.service", proc)
    assert "there are 2 cgroups named a.service" in caught.value.message
    assert caught.value.hint == "give the path of one: /system.slice/a.service, /user.slice/a.service"


def test_version_1_only(tmp_path: Path) -> None:
    proc, _ = host(tmp_path, kind="cgroup")
    with pytest.raises(SldtraceError, match="cgroup v2 is not mounted"):
        resolve("machine.slice", proc)


def test_a_cgroup_of_version_1_beside_version_2(tmp_path: Path) -> None:
    proc, top = host(tmp_path, kind="cgroup")
    with open(proc / "self" / "mountinfo", "a") as file:
        file.write(f"32 23 0:99999 / {tmp_path}/unified rw - cgroup2 x rw\n")
    with pytest.raises(SldtraceError, match=r"is a cgroup of version 1; take the path after `0::`"):
        resolve(f"{top}/machine.slice", proc)


def test_inside_a_cgroup_namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proc, _ = host(tmp_path)
    (proc / "self" / "ns").mkdir()
    (proc / "self" / "ns" / "cgroup").write_text("")
    with pytest.raises(SldtraceError, match="inside a cgroup namespace"):
        resolve("machine.slice", proc)
    inode = os.stat(proc / "self" / "ns" / "cgroup").st_ino
    monkeypatch.setattr(cgroup_filter, "_FIRST_NAMESPACE", inode)
    assert resolve("machine.slice", proc).level == 1
