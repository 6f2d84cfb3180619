"""Commands that fit the distribution."""

from pathlib import Path

import pytest

from sldtrace.host import distribution

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n'
UBUNTU = "ID=ubuntu\nID_LIKE=debian\n"
ROCKY = 'ID="rocky"\nID_LIKE="rhel centos fedora"\n'
LEAP = 'ID="opensuse-leap"\nID_LIKE="suse opensuse"\n'
ARCH = "ID=arch\n"
OTHER = "ID=gentoo\nPRETTY_NAME=Gentoo\n"


def host(folder: Path, release: str | None, *files: str) -> distribution.Distribution:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    if release is not None:
        (folder / "etc").mkdir(exist_ok=True)
        (folder / "etc/os-release").write_text(release)
    return distribution.read(folder)


@pytest.mark.parametrize(
    ("release", "bcc", "zstd"),
    [
        (DEBIAN, "apt install python3-bpfcc", "apt install zstd"),
        (UBUNTU, "apt install python3-bpfcc", "apt install zstd"),
        (ROCKY, "dnf install python3-bcc", "dnf install zstd"),
        (LEAP, "zypper install python3-bcc", "zypper install zstd"),
        (ARCH, "pacman -S python-bcc", "pacman -S zstd"),
        (
            OTHER,
            "install python3-bpfcc or python3-bcc from the distribution",
            "install zstd from the distribution",
        ),
        (
            None,
            "install python3-bpfcc or python3-bcc from the distribution",
            "install zstd from the distribution",
        ),
    ],
    ids=["debian", "ubuntu", "rocky", "leap", "arch", "gentoo", "none"],
)
def test_install(release: str | None, bcc: str, zstd: str, tmp_path: Path) -> None:
    here = host(tmp_path, release)
    assert (here.install("bcc"), here.install("zstd")) == (bcc, zstd)


GRUB = "sed -i 's/^GRUB_CMDLINE_LINUX=\"/&a=b /' /etc/default/grub && "


@pytest.mark.parametrize(
    ("release", "files", "command"),
    [
        (DEBIAN, ["etc/default/grub"], GRUB + "update-grub"),
        (DEBIAN, ["etc/default/grub", "etc/kernel/proxmox-boot-uuids"], GRUB + "update-grub"),
        (
            DEBIAN,
            ["etc/kernel/proxmox-boot-uuids"],
            "sed -i '1s/$/ a=b/' /etc/kernel/cmdline && proxmox-boot-tool refresh",
        ),
        (ROCKY, ["etc/default/grub"], "grubby --update-kernel=ALL --args=a=b"),
        (LEAP, ["etc/default/grub"], GRUB + "grub2-mkconfig -o /boot/grub2/grub.cfg"),
        (ARCH, ["etc/default/grub"], GRUB + "grub-mkconfig -o /boot/grub/grub.cfg"),
        (ARCH, [], "add a=b to the kernel's command line in the boot loader's configuration"),
    ],
)
def test_boot_option(release: str, files: list[str], command: str, tmp_path: Path) -> None:
    assert host(tmp_path, release, *files).boot_option("a=b") == command


def test_names(tmp_path: Path) -> None:
    assert host(tmp_path, DEBIAN).name == "Debian GNU/Linux 12 (bookworm)"
    assert host(tmp_path, ARCH).name == "arch"


def test_this_host_is_read() -> None:
    assert distribution.read().name
