"""The cgroup of a process, and the VM's names in its path: libvirt, Proxmox, Kubernetes, systemd."""

import re

from sldtrace.host.vms.names import Names

# The names that libvirt registers with systemd-machined: DRIVER-ID-NAME; DRIVER-USER-ID-NAME if a user runs
# libvirt; DRIVER-embed-HASH-ID-NAME (src/hypervisor/domain_driver.c, virDomainDriverGenerateMachineName). Of
# the domain's name it keeps the characters [A-Za-z0-9.-], and 64 bytes of all.
_MACHINE = re.compile(r"(?:qemu|ch)-(?:embed-[0-9a-f]{8}-|(?![0-9]+-).+?-)?([0-9]+)-(.+)", re.DOTALL)
_MACHINE_SCOPE = re.compile(r"machine-(.+)\.scope", re.DOTALL)
_LIBVIRT_V1 = re.compile(r"(.+)\.libvirt-qemu", re.DOTALL)
MACHINE_SCOPE = "machine scope"  # the source of a name that is registered, but not by libvirt
# Of the kubelet, with the systemd driver (underscores for dashes) or without; static pods have a plain hash.
_POD = re.compile(
    r"(?:.*-)?pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?", re.DOTALL
)


def path_of(text: str) -> str | None:
    """The cgroup of a process, from the text of /proc/PID/cgroup (cgroups(7)); None if there is none.

    That of cgroup v2; if it is the root (v1 is in use) that of systemd, or else the longest.
    """
    found: dict[str, str] = {}
    for line in text.split("\n"):
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if path.startswith("/"):
            found["v2" if hierarchy == "0" else controllers] = path.removesuffix(" (deleted)")
    for each in ("v2", "name=systemd"):
        if found.get(each, "/") != "/":
            return found[each]
    return max(found.values(), key=len, default=None)


def unescape(name: str) -> str:
    r"""A unit's name with `\x2d` and so on decoded (systemd-escape(1)), except bytes that are not UTF-8."""
    raw = re.sub(
        rb"\\x([0-9a-fA-F]{2})",
        lambda match: bytes.fromhex(match[1].decode()),
        name.encode("utf-8", "surrogatepass"),
    )
    return raw.decode("utf-8", "backslashreplace")


def unit_of(path: str) -> str | None:
    """The systemd service of a cgroup, unescaped; None if there is none (a session, a container)."""
    units = [each for each in path.split("/") if each.endswith(".service")]
    return unescape(units[-1]) if units and not re.fullmatch(r"user@[0-9]+\.service", units[-1]) else None


def names_of(path: str) -> Names:
    """The names of the VM in the path of its cgroup; all None if it has none."""
    parts = path.split("/")
    found = Names()
    for part in reversed(parts):
        if scope := _MACHINE_SCOPE.fullmatch(part):
            found = _machine(found, unescape(scope[1]), "libvirt scope", MACHINE_SCOPE)
        elif group := _LIBVIRT_V1.fullmatch(part):
            found = _machine(found, unescape(group[1]), "libvirt cgroup", "libvirt cgroup")
        elif "kubepods" in path and (pod := _POD.fullmatch(part)):
            found = found.with_default("pod", pod[1].replace("_", "-"), "kubepods cgroup")
    if proxmox := re.search(r"/qemu\.slice/([0-9]+)\.scope(?:/|$)", path):
        found = found.with_default("id", proxmox[1], "Proxmox scope")
    if old := re.search(r"/libvirt/qemu/([^/]+)", path):
        found = found.with_default("name", old[1], "libvirt cgroup")
    return found


def _machine(found: Names, machine: str, by_libvirt: str, otherwise: str) -> Names:
    domain = _MACHINE.fullmatch(machine)
    if domain is None:
        return found.with_default("name", machine, otherwise)
    return found.with_default("name", domain[2], by_libvirt).with_default("id", domain[1], by_libvirt)
