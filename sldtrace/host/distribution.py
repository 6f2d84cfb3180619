"""The distribution, and its commands to install packages and to set boot options."""

import platform
from dataclasses import dataclass
from pathlib import Path

# By ID and ID_LIKE of os-release(5).
_FAMILIES = {
    "debian": "debian",
    "ubuntu": "debian",
    "fedora": "fedora",
    "rhel": "fedora",
    "centos": "fedora",
    "suse": "suse",
    "opensuse": "suse",
    "sles": "suse",
    "arch": "arch",
}
_INSTALL = {
    "debian": "apt install",
    "fedora": "dnf install",
    "suse": "zypper install",
    "arch": "pacman -S",
}
# Only packages whose name differs between distributions.
_PACKAGES = {
    "bcc": {"debian": "python3-bpfcc", "arch": "python-bcc", "": "python3-bcc"},
    "numpy": {"arch": "python-numpy", "": "python3-numpy"},
    "pandas": {"arch": "python-pandas", "": "python3-pandas"},
}


@dataclass(frozen=True)
class Distribution:
    """family: debian, fedora, suse, arch, or empty for another one; name: from os-release."""

    family: str
    name: str
    root: Path = Path("/")

    def install(self, what: str) -> str:
        """The command that installs a package (bcc, numpy, zstd …), or an instruction if none is known."""
        names = _PACKAGES.get(what, {})
        if not self.family:
            known = "python3-bpfcc or python3-bcc" if what == "bcc" else names.get("", what)
            return f"install {known} from the distribution"
        package = names.get(self.family, names.get("", what))
        return f"{_INSTALL[self.family]} {package}"

    def boot_option(self, option: str) -> str:
        """The command that adds `option` to the kernel's command line; it takes effect at the next boot."""
        if (self.root / "etc/kernel/proxmox-boot-uuids").exists() and not self._grub():
            return f"sed -i '1s/$/ {option}/' /etc/kernel/cmdline && proxmox-boot-tool refresh"
        if self.family == "fedora":
            return f"grubby --update-kernel=ALL --args={option}"
        if self._grub():
            change = f"sed -i 's/^GRUB_CMDLINE_LINUX=\"/&{option} /' /etc/default/grub"
            update = {
                "debian": "update-grub",
                "suse": "grub2-mkconfig -o /boot/grub2/grub.cfg",
                "arch": "grub-mkconfig -o /boot/grub/grub.cfg",
            }.get(self.family, "grub-mkconfig -o /boot/grub/grub.cfg")
            return f"{change} && {update}"
        return f"add {option} to the kernel's command line in the boot loader's configuration"

    def _grub(self) -> bool:
        return (self.root / "etc/default/grub").exists()


def read(root: Path = Path("/")) -> Distribution:
    """The distribution of this host, from os-release below `root`; without os-release it has no family."""
    try:
        lines = _os_release(root)
    except OSError:
        return Distribution("", "unknown", root)
    identities = [lines.get("ID", ""), *lines.get("ID_LIKE", "").split()]
    families = (_FAMILIES.get(name.split("-")[0]) for name in identities)
    family = next((family for family in families if family), "")
    return Distribution(family, lines.get("PRETTY_NAME") or lines.get("ID", "unknown"), root)


def _os_release(root: Path) -> dict[str, str]:
    if root == Path("/"):
        return platform.freedesktop_os_release()
    for path in (root / "etc/os-release", root / "usr/lib/os-release"):
        if path.exists():
            pairs = (line.partition("=") for line in path.read_text(errors="replace").splitlines())
            return {key: value.strip("\"'") for key, _, value in pairs if key}
    raise FileNotFoundError
