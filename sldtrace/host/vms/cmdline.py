"""Which VMM a process is, and the VM's names on its command line; what is known of each is in vmms.VMMS."""

import fnmatch
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from sldtrace.host.vms.names import Names, uuid
from sldtrace.host.vms.vmms import VMMS, NameOption, Vmm

Arguments = Sequence[str]

_BY_NAME = {vmm.name: vmm for vmm in VMMS}
_IRQCHIPS = ("on", "split", "off")


def vmm_of(arguments: Arguments, exe: str = "", comm: str = "") -> str | None:
    """The name of the VMM, as in vmms.VMMS; None if it is not known.

    Decided by the program's file, or else by argv[0], or else by comm.
    """
    for text in (exe.removesuffix(" (deleted)"), arguments[0] if arguments else "", comm):
        program = PurePosixPath(text).name
        # NixOS starts programs by a wrapper: .qemu-system-x86_64-wrapped
        program = program.removeprefix(".").removesuffix("-wrapped")
        for vmm in VMMS:
            if any(fnmatch.fnmatchcase(program, pattern) for pattern in vmm.programs):
                return vmm.name
    scripts = (vmm.name for vmm in VMMS if _after_script(vmm, arguments) is not None)
    return next(scripts, None)


def names_of(name: str | None, arguments: Arguments) -> Names:
    """The VM's names on the command line of the VMM of that name; all None where it has none."""
    vmm = _BY_NAME.get(name or "")
    if vmm is None:
        return Names()
    if rest := _after_script(vmm, arguments):
        return Names().with_default("name", _operand(rest), " ".join(vmm.script[1:]))
    found = Names()
    given = list(_options(vmm, arguments))
    for known in vmm.options:
        for option, value in given:
            if option == _plain(vmm, known.option):
                found = found.with_default(known.key, _value(known, value), known.option)
    return found


def irqchip_of(name: str | None, arguments: Arguments) -> str | None:
    """Which interrupt controllers KVM emulates: `on` (all), `split` (the local APICs), `off` (none).

    None where the command line of the VMM of that name does not say it: its default.
    """
    vmm = _BY_NAME.get(name or "")
    if vmm is None:
        return None
    for option, value in _options(vmm, arguments):
        for known in vmm.irqchip:
            chip = _parameters(value).get(known.parameter) if option == _plain(vmm, known.option) else None
            if chip in _IRQCHIPS:
                return chip
    return None


# An option as it is compared: without a second dash where that makes no difference.
def _plain(vmm: Vmm, option: str) -> str:
    double = vmm.any_dashes and option.startswith("--") and len(option) > 2
    return option[1:] if double else option


# Pairs of option and value, in two arguments or in one with `=`, the last one first. What follows an option
# of `free_text` is a value, although it may look like an option.
def _options(vmm: Vmm, arguments: Arguments) -> Iterator[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    position = 1
    while position < len(arguments) and arguments[position] != "--":
        option, equals, value = arguments[position].partition("=")
        option = _plain(vmm, option)
        if not equals and position + 1 < len(arguments):
            value = arguments[position + 1]
            if option in vmm.free_text:
                position += 1
        found.append((option, value))
        position += 1
    return reversed(found)


def _value(known: NameOption, text: str) -> str | None:
    if known.parameter:
        parameters = _parameters(text, known.parameter if known.implied else "")
        if known.when and parameters.get(known.when[0]) != known.when[1]:
            return None
        text = parameters.get(known.parameter, "")
    if known.key == "uuid":
        return uuid(text)
    return None if known.unless_uuid and uuid(text) else text


# A list key=value,flag,... with `,,` for a comma (QEMU's util/qemu-option.c); `implied` is the key of a first
# value that has none.
def _parameters(text: str, implied: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for number, match in enumerate(re.finditer(r"((?:[^,]|,,)+)(?:,|$)", text)):
        key, equals, value = match[1].replace(",,", ",").partition("=")
        if equals:
            found[key] = value
        elif number == 0 and implied:
            found[implied] = key
    return found


# The arguments from the last word of the VMM's script on, of the script itself or of `python -m SCRIPT`; None
# where this is another program.
def _after_script(vmm: Vmm, arguments: Arguments) -> Arguments | None:
    if not vmm.script:
        return None
    script, *words = vmm.script
    for position, each in enumerate(arguments[:8]):
        module = each == script and position > 0 and arguments[position - 1] == "-m"
        if (module or each.endswith("/" + script) or (position == 0 and each == script)) and list(
            arguments[position + 1 : position + 1 + len(words)]
        ) == words:
            return arguments[position + len(words) :]
    return None


def _operand(arguments: Arguments) -> str | None:
    return arguments[1] if len(arguments) > 1 and not arguments[1].startswith("-") else None
