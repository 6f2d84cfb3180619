"""Finds the kernel's messages about split locks in a line, after any prefix, in the words of each version."""

import re
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Trap:
    """A thread took a split lock or a bus lock.

    kind: `split-lock`, `bus-lock`, with `-fatal` (SIGBUS was sent) or `-bogus` (#AC with detection off);
    `-call` for a line of the function tracer. comm: as logged, at most 15 bytes unless a logger escaped it.
    tid: the kernel's `current->pid`. origin: `guest` or `user` if the line has it (Oracle). address: of
    the instruction, a guest's address for a guest; None if the line is cut off or damaged there.
    """

    kind: str
    comm: bytes
    tid: int
    origin: str
    address: int | None


@dataclass(frozen=True, slots=True)
class Suppressed:
    """`count` messages of a function were not printed, by printk's rate limit (lib/ratelimit.c)."""

    function: str
    count: int


@dataclass(frozen=True, slots=True)
class Mode:
    """The mode of split-lock detection, logged at boot (sld_state_show in bus_lock.c).

    name: as in split_lock_detect=, `no-access` where MSR_TEST_CTRL cannot be written. text: the message.
    """

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Option:
    """The kernel's command line in the log: the value of split_lock_detect=, empty without one.

    mitigate: it has split_lock_mitigate, which is a sysctl and no option of the kernel.
    """

    value: str
    mitigate: bool = False


@dataclass(frozen=True, slots=True)
class Kernel:
    """The first line of a boot: the kernel's release."""

    release: str


@dataclass(frozen=True, slots=True)
class Hypervisor:
    """The kernel that wrote the log runs in a virtual machine (arch/x86/kernel/cpu/hypervisor.c)."""

    name: str


@dataclass(frozen=True, slots=True)
class Oops:
    """The kernel itself executed a split lock (die() in arch/x86/kernel/traps.c, exc_alignment_check)."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Text of split-lock detection that is not understood: an unknown form, or a part of a message."""

    text: bytes


Message = Trap | Suppressed | Mode | Option | Kernel | Hypervisor | Oops | Unknown


@dataclass(frozen=True, slots=True)
class Found:
    """A message in a line: its first byte, the byte after it, and how often a logger says it was repeated."""

    start: int
    end: int
    message: Message
    count: int = 1


_HEAD = re.compile(rb"(?:x86/)?split lock detection:")
_SHORT_HEAD = re.compile(rb"#(?:AC|DB): ")
# The name ends at the first /digits before the verb; it may contain slashes, blanks and colons. What follows
# an address must end it: a letter, a replacement character or an ellipsis means that it is damaged.
_TRAP = re.compile(
    rb" ?#(?P<exception>AC|DB): (?P<comm>.{0,64}?)/(?P<tid>\d{1,10})(?: \((?P<origin>[a-z]{1,16})\))?"
    rb" (?P<verb>took a|fatal|bogus) (?P<lock>split|bus)_lock trap"
    rb"(?: at address: ?(?:0x(?=[0-9a-fA-F])|(?=[0-9a-fA-F]{4}))(?P<address>[0-9a-fA-F]{1,16})"
    rb"(?:(?=[\s\"'\])}<,;|\[\\&\0`]|\.(?!\.)|#0|x86/split)|$))?",
    re.DOTALL,
)
# sld_state_show. The words of 5.7 to 5.12 name no exception.
_AC = rb" ?(?:#AC: )?(?:crashing the kernel on kernel split_locks and )?"
_MODES = (
    (re.compile(_AC + rb"warning (?:about|on) user-space split_locks"), "warn"),
    (re.compile(_AC + rb"sending SIGBUS on user-space split_locks"), "fatal"),
    (re.compile(rb" ?#DB: warning on user-space bus_locks"), "warn"),
    (re.compile(rb" ?#DB: sending SIGBUS on user-space bus_locks"), "fatal"),
    (re.compile(rb" ?#DB: setting system wide bus lock rate limit to (\d{1,6})/sec"), "ratelimit"),
    (re.compile(rb" ?disabled"), "off"),
    (re.compile(rb" ?MSR access failed: Disabled"), "no-access"),
)
_SUPPRESSED = re.compile(rb"(\w{0,40}(?:split|bus)_lock\w{0,40}): (\d{1,18}) callbacks suppressed")
_OPTION = re.compile(rb"[Cc]ommand line: (?:.{0,4096}? )?split_lock_detect=([^\s\"\\]{1,64})")
_SYSCTL_OPTION = re.compile(rb"[Cc]ommand line: (?:.{0,4096}? )?(?:no)?split_lock_mitigate\b")
_KERNEL = re.compile(rb"(?:^|: |\] |;|\")(Linux version (\d{1,3}\.\d{1,5}[^\s\"]{0,100}) )")
_HYPERVISOR = re.compile(rb"Hypervisor detected: ([\w ./-]{1,40})")
_OOPS = re.compile(rb"(?:^|: |\] |;|\")((?:Oops: )?Split lock detected)")
INSTRUCTION = re.compile(rb"RIP: 0010:([\w.+/]{1,200})")
"""The RIP line of any oops, with the kernel's function."""
# rsyslog puts brackets around a message that it repeats.
_REPEATED = re.compile(rb"message repeated (\d{1,9}) times: \[")
# A part of a message; also of one whose beginning is lost.
_PART = re.compile(
    rb"(?:split|bus)_lock trap|\b(?:split_lock_warn|handle_bus_lock):|lock trap at address:"
    rb"|took a (?:split|bus)_"
)
# Function tracer: task-TID, perhaps (TGID), [CPU], perhaps flags, seconds: function <-caller.
_CALL = re.compile(
    rb"\s{0,32}(?P<comm>.{1,64})-(?P<tid>\d{1,10}) +(?:\([ \d-]{1,16}\) +)?\[\d{1,5}\] +(?:[^\s:]{1,10} +)?"
    rb"(?P<time>\d{1,10}\.\d{6,9}): +(?:function: +)?(?P<function>\w{1,64}) +<--? ?(?P<caller>\w{1,64})",
    re.DOTALL,
)
_CALLS = {
    b"split_lock_warn": "",
    b"handle_guest_split_lock": "guest",
    b"handle_user_split_lock": "user",
    b"handle_bus_lock": "user",
}
_UNKNOWN = 200  # bytes of it that are kept


def find(line: bytes) -> list[Found]:
    """The messages in a line, in order; several where lines are glued together."""
    found = _detections(line) or _without_head(line)
    if (repeated := _REPEATED.search(line)) and found:
        times = int(repeated[1])
        found = [replace(each, count=times) if each.start > repeated.start() else each for each in found]
    if not found and (part := _PART.search(line)):
        found.append(Found(part.start(), len(line), Unknown(line[max(part.start() - 40, 0) :][:_UNKNOWN])))
    return found


def _detections(line: bytes) -> list[Found]:
    heads = [*_HEAD.finditer(line)]
    found: list[Found] = []
    if not heads:
        return found
    for head, end in zip(heads, [*(head.start() for head in heads[1:]), len(line)], strict=True):
        text = head.end()
        unknown = end, Unknown(line[head.start() : min(end, head.start() + _UNKNOWN)].rstrip())
        parsed = _trap(line, text, end) or _mode(line, text, end) or unknown
        found.append(Found(head.start(), parsed[0], parsed[1]))
    return found + _suppressed(line)


# Quoted lines may lack the prefix of the subsystem.
def _without_head(line: bytes) -> list[Found]:
    found, at = [], 0
    while head := _SHORT_HEAD.search(line, at):
        trap = _trap(line, head.start(), len(line))
        at = trap[0] if trap else head.end()
        if trap:
            found.append(Found(head.start(), *trap))
    found += _suppressed(line)
    if found:
        return sorted(found, key=lambda each: each.start)
    if match := _OPTION.search(line) or _SYSCTL_OPTION.search(line):
        # The last one counts (cmdline_find_option).
        options = re.findall(rb"(?<!\S)split_lock_detect=([^\s\"\\]{1,64})", line[match.start() :])
        value = (options[-1] if options else b"").decode("ascii", "backslashreplace")
        mitigate = b"split_lock_mitigate" in line
        return [Found(match.start(), match.end(), Option(value, mitigate))]
    if match := _OOPS.search(line):
        return [Found(match.start(1), match.end(), Oops())]
    if match := _KERNEL.search(line):
        release = match[2].decode("ascii", "backslashreplace")
        return [Found(match.start(1), match.end(), Kernel(release))]
    if match := _HYPERVISOR.search(line):
        return [Found(match.start(), match.end(), Hypervisor(match[1].decode().strip()))]
    return []


def _suppressed(line: bytes) -> list[Found]:
    return [
        Found(match.start(), match.end(), Suppressed(match[1].decode(), int(match[2])))
        for match in _SUPPRESSED.finditer(line)
    ]


def find_call(line: bytes) -> tuple[bytes, Trap] | None:
    """A line of the function tracer: its time (seconds on the trace clock), and the call as a Trap.

    `split_lock_warn <-handle_user_split_lock`; None for functions that are not part of a trap.
    """
    found = _CALL.match(line)
    if not found or found["function"] not in _CALLS:
        return None
    origin = _CALLS[found["function"]] or _CALLS.get(found["caller"], "")
    kind = "bus-lock-call" if found["function"] == b"handle_bus_lock" else "split-lock-call"
    return found["time"], Trap(kind, found["comm"].lstrip(), int(found["tid"]), origin, None)


def _trap(line: bytes, at: int, end: int) -> tuple[int, Trap] | None:
    found = _TRAP.match(line, at, end)
    if not found:
        return None
    verb = b"" if found["verb"] == b"took a" else b"-" + found["verb"]
    address = int(found["address"], 16) if found["address"] else None
    origin = (found["origin"] or b"").decode()
    kind = (found["lock"] + b"-lock" + verb).decode()
    return found.end(), Trap(kind, found["comm"], int(found["tid"]), origin, address)


def _mode(line: bytes, at: int, end: int) -> tuple[int, Mode] | None:
    for pattern, name in _MODES:
        if found := pattern.match(line, at, end):
            name = f"ratelimit:{int(found[1])}" if name == "ratelimit" else name
            text = re.split(rb'["\[\\\x1b]', line[at : min(end, at + _UNKNOWN)].lstrip())[0].rstrip()
            return found.end(), Mode(name, text.decode("utf-8", "backslashreplace"))
    return None
