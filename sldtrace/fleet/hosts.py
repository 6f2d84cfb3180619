"""Sums up the recordings of one host: what its findings cost, by VM, address, timer and problem."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sldtrace.analyzers.finding import Finding, Severity
from sldtrace.analyzers.findings import catalogue
from sldtrace.analyzers.loops import LoopNumbers
from sldtrace.dataset import accounts
from sldtrace.dataset.trace import Trace
from sldtrace.errors import SldtraceError
from sldtrace.fleet.summary import (
    OTHERS,
    Advice,
    Example,
    Host,
    Key,
    Problem,
    Summary,
    Tally,
    Top,
    Unread,
    Vm,
)
from sldtrace.host import signals
from sldtrace.recording.collect import Collection, Unreadable
from sldtrace.text.escape import escape
from sldtrace.text.phrases import address, length

MOST_OF_HOST = 20
"""How many addresses, timers, VMMs and problems of one host are kept by themselves."""

_NAME = 200
_TIMER_DIGITS = 2  # of a period: periods of two recordings of one timer differ a little

Thread = tuple[int, int, int]  # number of the recording, TGID, TID
T = TypeVar("T")


@dataclass(frozen=True)
class _Share:
    # What one finding cost one thread.
    finding: Finding[Any]
    thread: Thread
    vm: str
    vmm: Key
    timer: Key | None
    lost_ns: int


@dataclass(frozen=True)
class _Item:
    # One finding of the recording with that number.
    number: int
    finding: Finding[Any]
    lost_ns: int
    timer: Key | None
    shares: tuple[_Share, ...]

    @property
    def vm(self) -> str:
        return self.shares[0].vm if self.finding.subject else ""

    @property
    def vmm(self) -> str:
        return self.shares[0].vmm[0] if self.finding.subject else ""

    @property
    def rip(self) -> str:
        return _rip(self.finding)


def summarize(name: str, collection: Collection) -> Summary:
    """The summary of a host of that name, not escaped, from all its recordings.

    A recording that cannot be analyzed, because it changes while it is read, counts as unreadable.
    """
    items: list[_Item] = []
    done: list[Trace] = []
    unread = [_unread(each) for each in collection.unreadable]
    for timeline in collection.timelines:
        trace = Trace(timeline)
        try:
            found = [_item(len(done), trace, each) for each in catalogue.run(trace)]
        except SldtraceError as error:
            unread.append(Unread(escape(str(timeline.path), 4096), str(error)))
            continue
        items += found
        done.append(trace)
    if not done:
        return Summary(unreadable=Top.of(unread))
    return _summary(name, done, items, unread)


def failed(unreadable: Iterable[Unreadable]) -> Summary:
    """The summary of files that could not be read at all."""
    return Summary(unreadable=Top.of(map(_unread, unreadable)))


def _summary(name: str, done: Sequence[Trace], items: Sequence[_Item], unread: Sequence[Unread]) -> Summary:
    shares = [share for item in items for share in item.shares]
    host = escape(name, _NAME)
    severity = _severity(item.finding for item in items)
    traps = sum(map(_traps, done))
    lost = sum(_by_thread(shares).values())
    incomplete = any(map(accounts.incomplete, done)) or bool(unread)
    kernels = sorted({_kernel(trace) for trace in done})
    return Summary(
        hosts=1,
        affected=_is_affected(severity),
        incomplete=int(incomplete),
        simulated=int(any(trace.simulated for trace in done)),
        recordings=len(done),
        files=sum(len(trace.recording.parts) for trace in done),
        recorded_ns=sum(end - start for start, end in (trace.span_ns for trace in done)),
        traps=traps,
        lost_records=sum(loss.count for trace in done for loss in trace.recording.losses),
        lost_ns=lost,
        severity=severity,
        kernels={(kernel,): _of_kernel(kernel, done, items) for kernel in kernels},
        vmms=_tallies(shares, lambda share: share.vmm),
        timers=_tallies(shares, lambda share: share.timer),
        addresses=_tallies(shares, lambda share: (_rip(share.finding),) if share.finding.rip else None),
        problems=_problems(host, done, items),
        top_hosts=Top.of([Host(host, kernels[-1], lost, traps, severity, incomplete)]),
        top_vms=Top.of(_vms(host, shares)),
        unreadable=Top.of(unread),
    )


def _item(number: int, trace: Trace, finding: Finding[Any]) -> _Item:
    lost, timer, who = finding.numbers.lost_ns, _timer(finding.numbers), finding.subject
    costs = {(who.tgid, who.tid): lost} if who else _affected(finding, lost)
    shares = []
    for (tgid, tid), cost in costs.items():
        subject = who or trace.subject(tgid, tid, None)
        program = subject.vmm or subject.process
        exe = escape(trace.text("processes", str(tgid), "exe"), _NAME)
        vm = subject.vm or subject.process or f"PID {tgid}"
        shares.append(_Share(finding, (number, tgid, tid), vm, (program, exe), timer, cost))
    return _Item(number, finding, lost, timer, tuple(shares))


# The threads of a finding without a subject, and what it cost each of them.
def _affected(finding: Finding[Any], lost: int) -> dict[tuple[int, int], int]:
    victims = getattr(finding.numbers, "victims", ())
    waited = {(each.tgid, each.tid): int(each.waited_ns) for each in victims}
    return waited or dict.fromkeys(finding.numbers.affected, lost)


# Signal, what makes it, and its period in words.
def _timer(numbers: Any) -> Key | None:
    if not isinstance(numbers, LoopNumbers) or numbers.signal is None:
        return None
    found = numbers.signal
    period = "" if found.period_ns is None else length(_rounded(found.period_ns))
    return (signals.name(found.number), found.made_by, period)


def _rounded(ns: int) -> int:
    return int(float(f"{ns:.{_TIMER_DIGITS - 1}e}"))


def _rip(finding: Finding[Any]) -> str:
    return "" if finding.rip is None else address(finding.rip)


def _kernel(trace: Trace) -> str:
    return escape(trace.text("kernel", "release", otherwise="not known"), _NAME)


def _traps(trace: Trace) -> int:
    return trace.recording.counts.get("trap", 0)


def _severity(findings: Iterable[Finding[Any]]) -> int:
    return max((each.severity.value for each in findings), default=0)


def _is_affected(severity: int) -> int:
    return int(severity >= Severity.WARNING)


def _of_kernel(kernel: str, done: Sequence[Trace], items: Sequence[_Item]) -> Tally:
    numbers = {number for number, trace in enumerate(done) if _kernel(trace) == kernel}
    mine = [item for item in items if item.number in numbers]
    by_thread = _by_thread(share for item in mine for share in item.shares)
    return Tally(
        hosts=1,
        affected=_is_affected(_severity(item.finding for item in mine)),
        threads=len(by_thread),
        traps=sum(_traps(done[number]) for number in numbers),
        lost_ns=sum(by_thread.values()),
    )


# A thread with several findings has lost the time of the largest: they may be of the same penalties.
def _by_thread(shares: Iterable[_Share]) -> dict[Thread, int]:
    found: dict[Thread, int] = {}
    for share in shares:
        found[share.thread] = max(found.get(share.thread, 0), share.lost_ns)
    return found


def _grouped(each: Iterable[T], key: Callable[[T], Key | None]) -> dict[Key, list[T]]:
    groups: dict[Key, list[T]] = {}
    for one in each:
        found = key(one)
        if found is not None:
            groups.setdefault(found, []).append(one)
    return groups


def _tally(shares: Sequence[_Share], findings: Iterable[Finding[Any]]) -> Tally:
    by_thread = _by_thread(shares)
    return Tally(1, _is_affected(_severity(findings)), len(by_thread), 0, sum(by_thread.values()))


def _tallies(shares: Sequence[_Share], key: Callable[[_Share], Key | None]) -> dict[Key, Tally]:
    groups = _grouped(shares, key)
    made = {name: _tally(group, (share.finding for share in group)) for name, group in groups.items()}
    ranked = sorted(made, key=lambda name: (-made[name].lost_ns, name))
    kept = {name: made[name] for name in ranked[:MOST_OF_HOST]}
    if rest := [share for name in ranked[MOST_OF_HOST:] for share in groups[name]]:
        kept[OTHERS] = _tally(rest, (share.finding for share in rest))
    return dict(sorted(kept.items()))


def _problems(host: str, done: Sequence[Trace], items: Sequence[_Item]) -> dict[Key, Problem]:
    groups = _grouped(items, lambda item: (item.finding.kind, item.vmm, *(item.timer or ("", "", ""))))
    ranked = sorted(groups, key=lambda key: (-sum(item.lost_ns for item in groups[key]), key))
    joined: dict[Key, list[_Item]] = {}
    # Those above the limit are joined by their kind: there are few kinds.
    for place, key in enumerate(ranked):
        name = key if place < MOST_OF_HOST else (key[0], *OTHERS, "", "", "")
        joined.setdefault(name, []).extend(groups[key])
    return {key: _problem(host, done, group) for key, group in sorted(joined.items())}


def _problem(host: str, done: Sequence[Trace], items: Sequence[_Item]) -> Problem:
    worst = max(items, key=lambda item: (item.lost_ns, item.vm, item.rip))
    example = Example(
        lost_ns=worst.lost_ns,
        host=host,
        vm=worst.vm,
        rip=worst.rip,
        verdict=worst.finding.verdict,
        file=escape(str(done[worst.number].recording.path), 4096),
        remedies=tuple(Advice(each.what, each.cost, each.command or "") for each in worst.finding.remedies),
    )
    findings = [item.finding for item in items]
    tally = _tally([share for item in items for share in item.shares], findings)
    return Problem(tally, _severity(findings), example)


def _vms(host: str, shares: Sequence[_Share]) -> list[Vm]:
    found = []
    for (vm, vmm), group in _grouped(shares, lambda share: (share.vm, share.vmm[0])).items():
        findings = [share.finding for share in group]
        worst = max(group, key=lambda share: (share.finding.severity, share.lost_ns, share.finding.verdict))
        tally = _tally(group, findings)
        found.append(
            Vm(host, vm, vmm, tally.threads, tally.lost_ns, _severity(findings), worst.finding.verdict)
        )
    return found


def _unread(each: Unreadable) -> Unread:
    return Unread(escape(each.path, 4096), each.reason)
