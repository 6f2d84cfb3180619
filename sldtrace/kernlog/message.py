"""Finds the kernel's messages about split locks in a line, after any prefix."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trap:
    """A thread took a split lock or a bus lock.

    kind: `split-lock`, `bus-lock`, with `-fatal` (SIGBUS was sent) or `-bogus` (#AC with detection off);
    `-call` for a line of the function tracer. comm: as logged, at most 15 bytes unless a logger escaped it.
    tid: the kernel's `current->pid`. origin: `guest` or `user` if the line has it. address: of the
    instruction, a guest's address for a guest; None if the line is cut off.
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
    """split_lock_detect= of the kernel's command line, in the log."""

    value: str


@dataclass(frozen=True, slots=True)
class Kernel:
    """The first line of a boot: the kernel's release."""

    release: str


@dataclass(frozen=True, slots=True)
class Oops:
    """The kernel itself executed a split lock (die() in arch/x86/kernel/traps.c, exc_alignment_check)."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """The RIP line of any oops, with the kernel's function."""

    function: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """A message of split-lock detection in an unknown form."""

    text: bytes


Message = Trap | Suppressed | Mode | Option | Kernel | Oops | Instruction | Unknown

# The name ends at the last /digits before the verb; it may contain slashes, blanks and colons.
_TRAP = re.compile(
    rb"#(?:AC|DB): (?P<comm>.{0,128})/(?P<tid>\d{1,10})(?: \((?P<origin>[a-z]{1,16})\))?"
    rb" (?P<verb>took a|fatal|bogus) (?P<lock>split|bus)_lock trap"
    rb"(?: at address: (?:0x)?(?P<address>[0-9a-fA-F]{1,16})(?![0-9a-fA-Fx]))?",
    re.DOTALL,
)
_MODES = (
    (re.compile(rb"#AC: crashing the kernel on kernel split_locks and warning on user-space"), "warn"),
    (
        re.compile(rb"#AC: crashing the kernel on kernel split_locks and sending SIGBUS on user-space"),
        "fatal",
    ),
    (re.compile(rb"#DB: warning on user-space bus_locks"), "warn"),
    (re.compile(rb"#DB: sending SIGBUS on user-space bus_locks"), "fatal"),
    (re.compile(rb"#DB: setting system wide bus lock rate limit to (\d{1,6})/sec"), "ratelimit"),
    (re.compile(rb"disabled"), "off"),
    (re.compile(rb"MSR access failed: Disabled"), "no-access"),
)
_SUPPRESSED = re.compile(rb"(\w{0,40}(?:split|bus)_lock\w{0,40}): (\d{1,18}) callbacks suppressed")
_OPTION = re.compile(rb"[Cc]ommand line: (?:.{0,4096}? )?split_lock_detect=(\S{1,64})")
_KERNEL = re.compile(rb"(?:^|: |\] |;)(Linux version (\d{1,3}\.\d{1,5}[^\s]{0,100}) )")
_OOPS = re.compile(rb"(?:^|: |\] |;)((?:Oops: )?Split lock detected)")
_INSTRUCTION = re.compile(rb"RIP: 0010:([\w.+/]{1,200})")
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


def find(line: bytes) -> tuple[int, Message] | None:
    """The position and the message in a line; None if it has none."""
    begin = line.find(b"split lock detection: ")
    if begin >= 0:
        start = begin - 4 if line[max(begin - 4, 0) : begin] == b"x86/" else begin
        text = begin + len(b"split lock detection: ")
        return start, _trap(line, text) or _mode(line, text) or _unknown(line, start)
    for name in (b"#AC: ", b"#DB: "):
        begin = line.find(name)
        # Quoted lines may lack the prefix of the subsystem.
        if begin >= 0 and (trap := _trap(line, begin)):
            return begin, trap
    if found := _SUPPRESSED.search(line):
        return found.start(), Suppressed(found[1].decode(), int(found[2]))
    if found := _OPTION.search(line):
        return found.start(), Option(found[1].decode("ascii", "backslashreplace"))
    if found := _OOPS.search(line):
        return found.start(1), Oops()
    if found := _KERNEL.search(line):
        return found.start(1), Kernel(found[2].decode("ascii", "backslashreplace"))
    if found := _INSTRUCTION.search(line):
        return found.start(), Instruction(found[1].decode())
    return None


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


def _trap(line: bytes, at: int) -> Trap | None:
    found = _TRAP.match(line, at)
    if not found:
        return None
    verb = b"" if found["verb"] == b"took a" else b"-" + found["verb"]
    address = int(found["address"], 16) if found["address"] else None
    origin = (found["origin"] or b"").decode()
    kind = (found["lock"] + b"-lock" + verb).decode()
    return Trap(kind, found["comm"], int(found["tid"]), origin, address)


def _mode(line: bytes, at: int) -> Mode | None:
    for pattern, name in _MODES:
        if found := pattern.match(line, at):
            name = f"ratelimit:{int(found[1])}" if name == "ratelimit" else name
            text = line[at : at + _UNKNOWN].split(b'"')[0].rstrip()
            return Mode(name, text.decode("utf-8", "backslashreplace"))
    return None


def _unknown(line: bytes, at: int) -> Unknown:
    return Unknown(line[at : at + _UNKNOWN].rstrip())
