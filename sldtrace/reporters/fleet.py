"""The report of a fleet: what to fix first, who is affected, and what could not be read."""

from collections.abc import Iterator, Mapping, Sequence

from sldtrace.analyzers.finding import Severity
from sldtrace.fleet.summary import OTHERS, Key, Problem, Summary, Tally, Unread
from sldtrace.reporters import fleet_content as content
from sldtrace.reporters import wording
from sldtrace.reporters.content import UnreadableContent
from sldtrace.reporters.document import Cell, Column, Report, Section, Step, Steps, Table, Text, Tone, Unit
from sldtrace.reporters.sentences import TONES
from sldtrace.text.escape import escape

_PROBLEMS = 5
_ROWS = 10  # of a table; JSON has more
_UNREAD = 20
_NAME = 20  # characters of a name in a table
_PATH = 24
_PROGRAM = 12


def build(summary: Summary, not_recordings: int) -> Report:
    """The report; not_recordings: files at the same places that are no recordings."""
    return Report(_content(summary, not_recordings), list(_sections(summary, not_recordings)))


def ranked(problems: Mapping[Key, Problem]) -> list[tuple[Key, Problem]]:
    """What to fix first: what kills a VM, then what costs most time; equal ones by severity and name."""
    return sorted(
        problems.items(),
        key=lambda each: (each[0][0] != "fatal", -each[1].tally.lost_ns, -each[1].severity, each[0]),
    )


def _sections(summary: Summary, not_recordings: int) -> Iterator[Section]:
    yield _verdict(summary)
    problems = ranked(summary.problems)
    if problems:
        steps = [_step(key, problem) for key, problem in problems[:_PROBLEMS]]
        more = len(problems) - len(steps)
        rest = [Text(f"and {wording.plural(more, 'more problem')}: see --format json")] if more else []
        yield Section("What to fix first", [Steps(tuple(steps)), *rest])
    yield from _tables(summary)
    if summary.unreadable.count:
        yield Section("Not read", list(_unread(summary)), tone=Tone.WARNING)
    yield Section("Read", [Text(text) for text in _read(summary, not_recordings)])


def _verdict(summary: Summary) -> Section:
    if not summary.affected:
        complete = not summary.incomplete and not summary.unreadable.count
        if complete:
            title = f"NO HOST IS AFFECTED: of {wording.plural(summary.hosts, 'host')} with recordings"
        else:
            title = "NO AFFECTED HOST WAS FOUND, BUT NOT ALL WAS READ: see below what is missing"
        return Section(title, tone=Tone.GOOD if complete else Tone.WARNING)
    # Two hosts of two are affected, one host of two is affected.
    verb = "IS" if summary.affected == 1 else "ARE"
    hosts = wording.plural(summary.hosts, "HOST", "HOSTS")
    lost, recorded = wording.length(summary.lost_ns), wording.length(summary.recorded_ns)
    title = (
        f"{summary.affected:,} OF {hosts} {verb} AFFECTED: threads lost {lost} in {recorded} of recordings"
    )
    return Section(title, tone=TONES[Severity(summary.severity)])


def _step(key: Key, problem: Problem) -> Step:
    kind, vmm, *timer = key
    what = kind
    if key[1:2] == OTHERS:
        what += ", others"
    elif vmm:
        what += f" in {escape(vmm, _NAME)}"
    if any(timer):
        what += f", {_timer(timer)}"
    tally, example = problem.tally, problem.example
    lost = f"{wording.length(tally.lost_ns)} lost, " if tally.lost_ns else ""
    count = f"{wording.plural(tally.threads, 'thread')} on " if tally.threads else "on "
    where = f"most on {example.host}" + (f", {escape(example.vm, 2 * _NAME)}" if example.vm else "")
    if example.rip:
        where += f", at {example.rip}"
    lead = f"{what} ({lost}{count}{wording.plural(tally.hosts, 'host')}; {where})"
    if not example.remedies:
        return Step(f"{lead}.", "not known")
    first = example.remedies[0]
    return Step(f"{lead}: {first.what}", first.cost, first.command or None)


# Signal, what makes it, period: `SIGALRM of setitimer every 1 ms`.
def _timer(parts: Sequence[str]) -> str:
    signal, made_by, period = parts
    return f"{signal} of {made_by}" + (f" every {period}" if period else "")


def _tables(summary: Summary) -> Iterator[Section]:
    kernels = [
        ((escape(key[0], 2 * _NAME), tally.hosts, tally.affected, tally.traps), tally)
        for key, tally in _by_lost(summary.kernels)
    ]
    columns = [Column("kernel"), *(Column(name, Unit.COUNT) for name in ("hosts", "affected", "traps"))]
    yield from _table("Kernels", columns, kernels)
    counted = [Column("hosts", Unit.COUNT), Column("threads", Unit.COUNT)]
    vmms = [
        ((_cut(key[0], _NAME), _cut(key[-1], _PATH) if key[1:] else None, tally.hosts, tally.threads), tally)
        for key, tally in _by_lost(summary.vmms)
    ]
    yield from _table("VMMs and programs", [Column("name"), Column("executable"), *counted], vmms)
    vms = [
        (
            (_cut(vm.host, _NAME), _cut(vm.name, _NAME), _cut(vm.vmm, 12), vm.verdict),
            Tally(lost_ns=vm.lost_ns),
        )
        for vm in summary.top_vms.entries
    ]
    names = [Column(name) for name in ("host", "VM or process", "VMM", "verdict")]
    yield from _table("Virtual machines", names, vms, summary.top_vms.more)
    addresses = [
        ((_cut(key[0], _NAME), tally.hosts, tally.threads), tally)
        for key, tally in _by_lost(summary.addresses)
    ]
    yield from _table("Addresses", [Column("address"), *counted], addresses)
    timers = [
        ((key[0], *(key[1:] or (None, None)), tally.hosts, tally.threads), tally)
        for key, tally in _by_lost(summary.timers)
    ]
    names = [Column(name) for name in ("signal", "made by", "period")]
    yield from _table("Signals that end penalties", [*names, *counted], timers)


def _table(
    title: str, columns: Sequence[Column], rows: Sequence[tuple[tuple[Cell, ...], Tally]], more: int = 0
) -> Iterator[Section]:
    if not rows:
        return
    cells = tuple((*row, tally.lost_ns or None) for row, tally in rows[:_ROWS])
    table = Table((*columns, Column("lost", Unit.DURATION)), cells)
    more += len(rows) - len(cells)
    rest = [Text(f"and {more:,} more: see --format json")] if more else []
    yield Section(title, [table, *rest])


def _cut(text: str, width: int) -> str | None:
    return escape(text, width) or None


def _by_lost(tallies: Mapping[Key, Tally]) -> list[tuple[Key, Tally]]:
    return sorted(tallies.items(), key=lambda each: (-each[1].lost_ns, -each[1].hosts, each[0]))


def _unread(summary: Summary) -> Iterator[Text]:
    shown: Sequence[Unread] = summary.unreadable.entries[:_UNREAD]
    for each in shown:
        yield Text(each.reason)
    if more := summary.unreadable.count - len(shown):
        yield Text(f"and {wording.plural(more, 'more file')}: see --format json")


def _read(summary: Summary, not_recordings: int) -> Iterator[str]:
    yield (
        f"{wording.plural(summary.files, 'file')} of {wording.plural(summary.hosts, 'host')}:"
        f" {wording.plural(summary.recordings, 'recording')}, {wording.length(summary.recorded_ns)},"
        f" {wording.plural(summary.traps, 'trap')}"
    )
    if summary.simulated:
        yield f"SIMULATED: {wording.plural(summary.simulated, 'host')} made by sldtrace simulate"
    if summary.incomplete:
        yield (
            f"Incomplete: {wording.plural(summary.incomplete, 'host')}, of which records are lost or missing:"
            " without a finding, such a host may still have one"
        )
    if summary.lost_records:
        yield f"Lost while recording: {wording.plural(summary.lost_records, 'record')}"
    if not_recordings:
        yield f"No recordings: {wording.plural(not_recordings, 'other file')}"


def _content(summary: Summary, not_recordings: int) -> content.FleetContent:
    return content.FleetContent(
        version=content.VERSION,
        hosts=summary.hosts,
        affected=summary.affected,
        incomplete=summary.incomplete,
        simulated=summary.simulated,
        recordings=summary.recordings,
        files=summary.files,
        recorded_ns=summary.recorded_ns,
        traps=summary.traps,
        lost_records=summary.lost_records,
        lost_ns=summary.lost_ns,
        problems=[_problem_content(key, each) for key, each in ranked(summary.problems)],
        kernels=[
            content.KernelContent(key[0], each.hosts, each.affected, each.threads, each.traps, each.lost_ns)
            for key, each in _by_lost(summary.kernels)
        ],
        vmms=[
            content.VmmContent(name, executable, each.hosts, each.threads, each.lost_ns)
            for (name, executable), each in ((_named(key, 2), each) for key, each in _by_lost(summary.vmms))
        ],
        vms=[
            content.VmContent(
                vm.host, vm.name, vm.vmm, vm.threads, Severity(vm.severity), vm.verdict, vm.lost_ns
            )
            for vm in summary.top_vms.entries
        ],
        more_vms=summary.top_vms.more,
        addresses=[
            content.AddressContent(_named(key, 1)[0], each.hosts, each.threads, each.lost_ns)
            for key, each in _by_lost(summary.addresses)
        ],
        timers=[
            content.FleetTimerContent(
                None if key == OTHERS else _timer_content(key), each.hosts, each.threads, each.lost_ns
            )
            for key, each in _by_lost(summary.timers)
        ],
        worst_hosts=[
            content.HostContent(
                host.name,
                host.kernel,
                Severity(host.severity) if host.severity else None,
                host.traps,
                host.lost_ns,
                host.incomplete,
            )
            for host in summary.top_hosts.entries
        ],
        more_hosts=summary.top_hosts.more,
        unreadable=[UnreadableContent(each.path, each.reason) for each in summary.unreadable.entries],
        more_unreadable=summary.unreadable.more,
        not_recordings=not_recordings,
    )


def _problem_content(key: Key, problem: Problem) -> content.FleetProblemContent:
    kind, vmm, *timer = key
    tally, example = problem.tally, problem.example
    return content.FleetProblemContent(
        kind=kind,
        severity=Severity(problem.severity),
        vmm=None if (vmm,) == OTHERS else vmm or None,
        timer=_timer_content(timer) if any(timer) else None,
        hosts=tally.hosts,
        threads=tally.threads,
        lost_ns=tally.lost_ns,
        example=content.ExampleContent(
            example.host,
            example.vm or None,
            example.rip or None,
            example.verdict,
            example.lost_ns,
            example.file,
        ),
        remedies=[
            content.AdviceContent(each.what, each.cost, each.command or None) for each in example.remedies
        ],
    )


def _timer_content(parts: Sequence[str]) -> content.TimerContent:
    signal, made_by, period = parts
    return content.TimerContent(signal, made_by, period or None)


def _named(key: Key, length: int) -> tuple[str | None, ...]:
    return (None,) * length if key == OTHERS else tuple(each or None for each in key)
