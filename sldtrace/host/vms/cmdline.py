"""Which VMM a process is, and the VM's names on its command line."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath

from sldtrace.host.vms.names import Names, uuid

Arguments = Sequence[str]

# How the programs are called: the whole name of the file, or how it begins (-); comm has 15 bytes of it.
_PROGRAMS = (
    ("qemu", r"qemu-system-.*|qemu-kvm|kvm|qemu"),
    ("firecracker", r"firecracker(-.*)?"),
    ("cloud-hypervisor", r"cloud-hyperviso(r.*)?"),
    ("crosvm", r"crosvm(-.*)?"),
    ("kvmtool", r"lkvm(-.*)?|kvmtool"),
    ("virtualbox", r"VBoxHeadless|VirtualBoxVM"),
)
_OURS = "sldtrace"


def vmm_of(arguments: Arguments, exe: str = "", comm: str = "") -> str | None:
    """The VMM: qemu, firecracker, cloud-hypervisor, crosvm, kvmtool, virtualbox, sldtrace, or None.

    By the program's file, or else by what it calls itself: argv[0], comm.
    """
    for text in (exe.removesuffix(" (deleted)"), arguments[0] if arguments else "", comm):
        name = PurePosixPath(text).name
        # NixOS starts programs by a wrapper: .qemu-system-x86_64-wrapped
        name = name.removeprefix(".").removesuffix("-wrapped")
        for vmm, pattern in _PROGRAMS:
            if re.fullmatch(pattern, name, re.DOTALL):
                return vmm
    return _OURS if _own(arguments) is not None else None


def names_of(vmm: str | None, arguments: Arguments) -> Names:
    """What the command line of that VMM says of the VM's names; all None where it says nothing."""
    reader = _READERS.get(vmm or "")
    return reader(arguments) if reader else Names()


# Pairs of option and value, in two arguments or in one with `=`, the last one first, as it is the one that
# counts. What follows an option of `free_text` is never taken for an option: a tenant may choose it.
def _options(arguments: Arguments, *free_text: str) -> Iterator[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    position = 1
    while position < len(arguments) and arguments[position] != "--":
        option, equals, value = arguments[position].partition("=")
        if not equals and position + 1 < len(arguments):
            value = arguments[position + 1]
            if option in free_text:
                position += 1
        found.append((option, value))
        position += 1
    return reversed(found)


def _last(arguments: Arguments, option: str, *free_text: str) -> str | None:
    return next((value for name, value in _options(arguments, *free_text) if name == option), None)


# QEMU takes options with one dash or two; the value of -append is the guest's to choose.
def _qemu(arguments: Arguments) -> Names:
    single = ["-" + each[2:] if each.startswith("--") and len(each) > 2 else each for each in arguments]
    options = list(_options(single, "-append"))
    found = Names()
    for option, value in options:
        if option == "-name":
            found = found.told("name", _parameters(value, "guest").get("guest"), "-name")
        elif option == "-uuid":
            found = found.told("uuid", uuid(value), "-uuid")
        elif option == "-id":  # Proxmox
            found = found.told("id", value, "-id")
    tables = [_parameters(value) for option, value in options if option == "-smbios"]
    for table in tables:  # Proxmox again: type 1 is what -uuid sets, too
        if table.get("type") == "1":
            found = found.told("uuid", uuid(table.get("uuid", "")), "-smbios")
    return found


# QEMU's key=value,flag,... with `,,` for a comma (util/qemu-option.c); `implied` is the key of a first value
# that has none.
def _parameters(text: str, implied: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for number, match in enumerate(re.finditer(r"((?:[^,]|,,)+)(?:,|$)", text)):
        key, equals, value = match[1].replace(",,", ",").partition("=")
        if equals:
            found[key] = value
        elif number == 0 and implied:
            found[implied] = key
    return found


def _firecracker(arguments: Arguments) -> Names:
    return Names().told("id", _last(arguments, "--id"), "--id")


# It knows no name. Its socket is what `ch-remote --api-socket` takes; fd=N says nothing to anybody else.
def _cloud_hypervisor(arguments: Arguments) -> Names:
    found = Names()
    platform = _last(arguments, "--platform", "--cmdline") or ""
    found = found.told("uuid", uuid(_parameters(platform).get("uuid", "")), "--platform")
    socket = _last(arguments, "--api-socket", "--cmdline") or ""
    path = _parameters(socket, "path").get("path")
    return found.told("id", path, "--api-socket")


def _crosvm(arguments: Arguments) -> Names:
    found = Names().told("name", _last(arguments, "--name", "-p", "--params"), "--name")
    for option in ("--socket", "-s"):
        found = found.told("id", _last(arguments, option, "-p", "--params"), option)
    return found


def _kvmtool(arguments: Arguments) -> Names:
    return Names().told("name", _last(arguments, "--name", "-p", "--params"), "--name")


# The user interface starts its VMs with the name in --comment; --startvm takes a name or a UUID.
def _virtualbox(arguments: Arguments) -> Names:
    found = Names().told("name", _last(arguments, "--comment") or _last(arguments, "-comment"), "--comment")
    which = next((value for each in ("--startvm", "-startvm", "-s") if (value := _last(arguments, each))), "")
    if known := uuid(which):
        return found.told("uuid", known, "--startvm")
    return found.told("name", which, "--startvm")


# What follows `sldtrace guest run`, of the program itself or of `python -m sldtrace`; None: it is not ours.
def _own(arguments: Arguments) -> Arguments | None:
    for position, each in enumerate(arguments[:8]):
        ours = each == _OURS and position > 0 and arguments[position - 1] == "-m"
        if (ours or each.endswith("/" + _OURS) or (position == 0 and each == _OURS)) and list(
            arguments[position + 1 : position + 3]
        ) == ["guest", "run"]:
            return arguments[position + 2 :]
    return None


def _sldtrace(arguments: Arguments) -> Names:
    rest = _own(arguments) or ()
    first = rest[1] if len(rest) > 1 and not rest[1].startswith("-") else None
    return Names().told("name", first, "guest run")


_READERS: dict[str, Callable[[Arguments], Names]] = {
    "qemu": _qemu,
    "firecracker": _firecracker,
    "cloud-hypervisor": _cloud_hypervisor,
    "crosvm": _crosvm,
    "kvmtool": _kvmtool,
    "virtualbox": _virtualbox,
    _OURS: _sldtrace,
}
