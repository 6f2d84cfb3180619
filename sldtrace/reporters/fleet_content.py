"""What `sldtrace fleet --format json` prints; docs/fleet-schema.json is made from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from sldtrace.analyzers.finding import Severity
from sldtrace.reporters.content import UnreadableContent

VERSION = 1
"""Grows when a key changes its meaning or goes away."""


@dataclass(frozen=True)
class AdviceContent:
    """What to change."""

    what: str
    cost: str
    command: Annotated[str | None, "null: there is none"]


@dataclass(frozen=True)
class ExampleContent:
    """The finding that cost most time."""

    host: str
    vm: Annotated[str | None, "or the process; null: the finding is of no single thread"]
    rip: Annotated[str | None, "address of the instruction, hexadecimal; null: of no single one"]
    verdict: str
    lost_ns: int
    file: Annotated[str, "the first file of the recording; sldtrace report shows the evidence"]


@dataclass(frozen=True)
class TimerContent:
    """The signal that ends the penalties."""

    signal: str
    made_by: Annotated[str, "timer_create, setitimer, kill, sigqueue, tgkill or kernel"]
    period: Annotated[str | None, "two digits; null: not known"]


@dataclass(frozen=True)
class FleetProblemContent:
    """One kind of finding, of one VMM and timer, on all hosts."""

    kind: Annotated[str, "as in docs/report.md"]
    severity: Annotated[Severity, "of the worst finding"]
    vmm: Annotated[str | None, "or the program; null: of no single thread, or of several"]
    timer: Annotated[TimerContent | None, "null: none, or not known"]
    hosts: int
    threads: int
    lost_ns: Annotated[int, "time that threads lost"]
    example: ExampleContent
    remedies: Annotated[Sequence[AdviceContent], "for the example; the first is the one to try first"]


@dataclass(frozen=True)
class KernelContent:
    """One kernel."""

    release: str
    hosts: int
    affected: Annotated[int, "hosts with a finding of at least a warning"]
    threads: Annotated[int, "with a finding"]
    traps: int
    lost_ns: int


@dataclass(frozen=True)
class VmmContent:
    """One VMM, or program, of a thread with a finding."""

    name: Annotated[str | None, "null: the sum of those that cost a host less than others"]
    executable: Annotated[str | None, "path on the host; null: not known"]
    hosts: int
    threads: int
    lost_ns: int


@dataclass(frozen=True)
class AddressContent:
    """One guest address, or address of a program, with a finding."""

    rip: Annotated[str | None, "hexadecimal; null: the sum of those that cost a host less than others"]
    hosts: int
    threads: int
    lost_ns: int


@dataclass(frozen=True)
class FleetTimerContent:
    """One timer, or other source of signals, that ends penalties."""

    timer: Annotated[TimerContent | None, "null: the sum of those that cost a host less than others"]
    hosts: int
    threads: int
    lost_ns: int


@dataclass(frozen=True)
class VmContent:
    """One VM, or process without one, with a finding."""

    host: str
    name: str
    vmm: str
    threads: int
    severity: Severity
    verdict: Annotated[str, "of the worst finding"]
    lost_ns: int


@dataclass(frozen=True)
class HostContent:
    """One host."""

    name: str
    kernel: str
    severity: Annotated[Severity | None, "of the worst finding; null: there is none"]
    traps: int
    lost_ns: int
    incomplete: Annotated[bool, "records are missing: it may be worse"]


@dataclass(frozen=True)
class FleetContent:
    """The whole object."""

    version: Annotated[int, "1; grows when a key changes its meaning or goes away"]
    hosts: Annotated[int, "whose recordings were read"]
    affected: Annotated[int, "hosts with a finding of at least a warning"]
    incomplete: Annotated[int, "hosts of which records are missing: without a finding, they may have one"]
    simulated: Annotated[int, "hosts made by `sldtrace simulate`"]
    recordings: Annotated[int, "boots of hosts; more where two recorders ran at the same time"]
    files: int
    recorded_ns: Annotated[int, "the sum over recordings"]
    traps: int
    lost_records: int
    lost_ns: Annotated[int, "time that threads lost; one with several findings counts once"]
    problems: Annotated[Sequence[FleetProblemContent], "what to fix first"]
    kernels: Sequence[KernelContent]
    vmms: Sequence[VmmContent]
    vms: Annotated[Sequence[VmContent], "those that lost most time first, at most 1000"]
    more_vms: int
    addresses: Sequence[AddressContent]
    timers: Sequence[FleetTimerContent]
    worst_hosts: Annotated[Sequence[HostContent], "those that lost most time first, at most 1000"]
    more_hosts: int
    unreadable: Annotated[
        Sequence[UnreadableContent], "files that are in none of these numbers, at most 1000"
    ]
    more_unreadable: int
    not_recordings: Annotated[int, "other files at these places"]
