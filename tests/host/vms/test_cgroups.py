"""What the paths of cgroups say, as libvirt, Proxmox, Kubernetes and systemd make them."""

from typing import Any

import pytest

from sldtrace.host.vms import cgroups

POD = "4dea22b3-1d52-4bdb-a2a4-0d6cc6c0d1f1"


def names(path: str) -> dict[str, Any]:
    fact = cgroups.names_of(path).fact()
    assert set(fact["source"]) == {key for key, value in fact.items() if value and key != "source"}
    return {key: value for key, value in fact.items() if value is not None and key != "source"}


@pytest.mark.parametrize(
    ("path", "known"),
    [
        (r"/machine.slice/machine-qemu\x2d3\x2dweb01.scope/libvirt/emulator", {"name": "web01", "id": "3"}),
        (r"/machine.slice/machine-qemu\x2d12\x2dweb\x2d5\x2da.scope", {"name": "web-5-a", "id": "12"}),
        (r"/user.slice/x/machine-qemu\x2dal\x2dice\x2d3\x2dweb01.scope", {"name": "web01", "id": "3"}),
        (r"/machine.slice/machine-qemu\x2dembed\x2d0123abcd\x2d1\x2dx.scope", {"name": "x", "id": "1"}),
        (r"/machine.slice/machine-ch\x2d2\x2dweb01.scope/vcpu0", {"name": "web01", "id": "2"}),
        (r"/machine.slice/machine-debian.scope", {"name": "debian"}),
        (r"/machine.slice/machine-lxc\x2d2\x2dweb01.scope", {"name": "lxc-2-web01"}),
        ("/machine/web01.libvirt-qemu/emulator", {"name": "web01"}),
        ("/machine/qemu-3-web01.libvirt-qemu", {"name": "web01", "id": "3"}),
        ("/libvirt/qemu/web01/vcpu0", {"name": "web01"}),
        ("/qemu.slice/100.scope", {"id": "100"}),
        ("/qemu.slice/web.scope", {}),
        (f"/kubepods/burstable/pod{POD}/0123", {"pod": POD}),
        (
            f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{POD.replace('-', '_')}.slice/"
            "cri-containerd-0123.scope",
            {"pod": POD},
        ),
        ("/kubepods/pod" + "0f" * 16 + "/x", {"pod": "0f" * 16}),
        (f"/system.slice/pod{POD}", {}),
        ("/system.slice/ssh.service", {}),
        ("/", {}),
        ("", {}),
    ],
)
def test_names(path: str, known: dict[str, str]) -> None:
    assert names(path) == known


def test_where_a_name_came_from() -> None:
    scope = cgroups.names_of(r"/machine.slice/machine-qemu\x2d3\x2dweb01.scope")
    assert scope.source == {"name": "libvirt scope", "id": "libvirt scope"}


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        (r"qemu\x2d3\x2dweb01", "qemu-3-web01"),
        (r"a\x5cx2d", r"a\x2d"),
        (r"\xc3\xa4", "ä"),
        (r"\xff", r"\xff"),
        (r"\x1b[31m", "\x1b[31m"),
        (r"\x2", r"\x2"),
        ("\ud800", r"\xed\xa0\x80"),
    ],
)
def test_escapes_of_systemd(name: str, plain: str) -> None:
    assert cgroups.unescape(name) == plain


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/system.slice/ssh.service", "ssh.service"),
        (r"/system.slice/system-fc.slice/fc@web\x2d01.service", "fc@web-01.service"),
        ("/user.slice/user-1.slice/user@1.service/app.slice/vm.service", "vm.service"),
        ("/user.slice/user-1.slice/user@1.service", None),
        ("/user.slice/user-1.slice/session-3.scope", None),
        ("/system.slice/docker-0123.scope", None),
        ("/", None),
    ],
)
def test_units(path: str, unit: str | None) -> None:
    assert cgroups.unit_of(path) == unit


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("0::/machine.slice/x.scope\n", "/machine.slice/x.scope"),
        ("0::/a (deleted)\n", "/a"),
        ("0::/\n", "/"),
        ("4:memory:/m/long\n1:name=systemd:/s\n0::/u\n", "/u"),
        ("4:memory:/m/long\n1:name=systemd:/s\n0::/\n", "/s"),
        ("4:memory:/m/long\n1:name=systemd:/\n0::/\n", "/m/long"),
        ("4:cpu,cpuacct:/m:with:colons\n", "/m:with:colons"),
        ("0::/a\u2028b\x0bc\x85d\n", "/a\u2028b\x0bc\x85d"),
        ("", None),
        ("garbage\n0:\n::\n", None),
    ],
)
def test_the_cgroup_of_a_process(text: str, path: str | None) -> None:
    assert cgroups.path_of(text) == path
