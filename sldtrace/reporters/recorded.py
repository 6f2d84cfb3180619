"""What the report says of the recording itself: host, sums, losses, level of detail, probes, cost."""

from collections.abc import Iterator

from sldtrace.dataset import levels
from sldtrace.dataset.accounts import Account, account, others, replaced
from sldtrace.dataset.trace import Trace
from sldtrace.recording.schema import NO_CPU
from sldtrace.recording.window import WINDOW
from sldtrace.reporters import wording
from sldtrace.reporters.document import Section, Text
from sldtrace.text import durations, sizes
from sldtrace.text.escape import escape

_BACKENDS = ("fentry", "kprobe", "tracepoint", "raw_tracepoint", "")
_FUNCTIONS = _BACKENDS[:2]
_NAME = 200  # characters of the name of a file
_MOST = 4  # lines about stretches with less detail; causes of losses


def section(trace: Trace) -> Section:
    """The last part of the report."""
    start, end = trace.span_ns
    how = "Simulated" if trace.simulated else "Recorded"
    title = f"{how} {wording.moment(trace, start)}, {wording.length(end - start)}, on"
    return Section(title, [Text(text) for text in _texts(trace)])


def _texts(trace: Trace) -> Iterator[str]:
    yield from wording.host(trace)
    for each in (_sums, _segment, _kept, _detail, _probes, _skipped, _losses):
        yield from each(trace)
    if cost := wording.cost(trace.recording.closing.get("cost") if trace.recording.closing else None):
        yield f"Cost: {cost}"
    if patched := replaced(trace):
        yield f"{escape(patched, _NAME)}: the penalties of such a kernel may not be visible to the probes"
    for warning in trace.recording.warnings:
        yield f"warning: {warning}"


def _sums(trace: Trace) -> Iterator[str]:
    traps = account(trace, "trap")
    if traps.counted is None:
        begun = wording.plural(traps.recorded, "trap")
        ended_by = (trace.recording.closing or {}).get("ended_by")
        if ended_by == WINDOW:
            yield f"{begun} recorded, {traps.lost:,} lost in this part of the recording (--since, --until)"
            return
        if ended_by == "rotation":
            where = _these_files(trace)
            yield f"{begun} recorded, {traps.lost:,} lost in {where}; the recording goes on in the next one"
            return
        how = "ended by an error" if trace.recording.closed else "not ended"
        yield f"{begun} recorded, {traps.lost:,} lost; the recording was {how}: more may be missing"
        return
    yield _sum(trace, traps, "trap")
    for each in others(trace):
        if not each.complete:
            yield _sum(trace, each, f"{escape(each.kind)} record")


def _these_files(trace: Trace) -> str:
    return "this file" if len(trace.recording.parts) == 1 else "these files"


def _sum(trace: Trace, one: Account, noun: str) -> str:
    text = (
        f"{wording.plural(one.counted or 0, noun)} counted = {one.recorded:,} recorded + {one.lost:,} lost"
        f" + {one.unfinished:,} unfinished"
    )
    if one.filtered:
        text += f" + {one.filtered:,} filtered (other VMs than --vm names)"
    if one.discarded:
        text += f" + {one.discarded:,} discarded"
    if one.missing < 0:
        return f"{text}, which is {-one.missing:,} more than counted: the file repeats records, or is damaged"
    return text if not one.missing else f"{text} + {one.missing:,} missing from {_these_files(trace)}"


def _segment(trace: Trace) -> Iterator[str]:
    parts = trace.recording.parts
    if len(parts) > 1:
        first, last = escape(parts[0].name, _NAME), escape(parts[-1].name, _NAME)
        yield f"Read as one: {len(parts):,} files, {first} to {last}"
        return
    number = trace.number("segment", "number")
    if number is not None:
        yield f"File number {number} of a recording in several (--rotate)"


def _kept(trace: Trace) -> Iterator[str]:
    discarded = trace.recording.discarded
    if discarded is None:
        return
    limits = []
    if discarded.limit_ns is not None:
        limits.append(durations.render(discarded.limit_ns))
    if discarded.limit_bytes is not None:
        limits.append(sizes.render(discarded.limit_bytes))
    gone = [wording.plural(count, f"{escape(kind)} record") for kind, count in discarded.records.items()]
    start, end = trace.span_ns
    yield (
        f"The last {wording.length(end - start)} are kept (--keep {' --keep '.join(limits)});"
        f" discarded, from {wording.moment(trace, discarded.first_ns)} on:"
        f" {', '.join(gone) or 'no records'}"
    )


# When less was recorded than asked for, and why. Before the first trap it always is.
def _detail(trace: Trace) -> Iterator[str]:
    less = [stretch for stretch in levels.reduced(trace) if stretch.why != levels.START]
    less.sort(key=lambda one: one.start_ns - one.end_ns)
    for stretch in sorted(less[:_MOST], key=lambda one: one.start_ns):
        what = "single VM exits were counted, not recorded"
        if stretch.level == levels.TRAPS:
            what = "VM exits, MSR writes, migrations and waits were not watched"
        since = wording.moment(trace, stretch.start_ns, date=False)
        until = wording.moment(trace, stretch.end_ns, date=False)
        lasted = wording.length(stretch.end_ns - stretch.start_ns)
        yield f"From {since} to {until} ({lasted}) {what}: {_why(stretch)}"
    if rest := less[_MOST:]:
        total = wording.length(sum(stretch.end_ns - stretch.start_ns for stretch in rest))
        yield f"And for {wording.plural(len(rest), 'shorter stretch', 'shorter stretches')}, {total} in all"


def _why(stretch: levels.Stretch) -> str:
    match stretch.why:
        case "idle":
            return f"no thread had trapped for {wording.length(stretch.measured)}"
        case "events":
            return f"there were {stretch.measured:,} records a second, the limit is {stretch.limit:,}"
        case "cpu":
            used, limit = wording.percent(stretch.measured, 1e5), wording.percent(stretch.limit, 1e5)
            return f"the recording took {used} of a CPU, the limit is {limit}"
    return "there had been too much load before"


def _probes(trace: Trace) -> Iterator[str]:
    by_backend = {kind: [name for name, backend in trace.probes if backend == kind] for kind in _BACKENDS}
    used = ", ".join(f"{kind} on {' '.join(by_backend[kind])}" for kind in _FUNCTIONS if by_backend[kind])
    if used:
        yield f"Probes: {escape(used)}"
    if by_backend[""]:
        yield f"Not watched: {escape(', '.join(by_backend['']))}"


def _skipped(trace: Trace) -> Iterator[str]:
    skipped = (trace.recording.closing or {}).get("skipped")
    if isinstance(skipped, dict) and skipped:
        names = ", ".join(f"{name} {trace.closing('skipped', name) or 0:,}" for name in skipped)
        yield f"The kernel skipped probes (recursion), so records may lack something: {escape(names)}"


def _losses(trace: Trace) -> Iterator[str]:
    together: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for loss in trace.recording.losses:
        together.setdefault((loss.kind, loss.cause), []).append((loss.cpu, loss.count))
    for (kind, cause), parts in together.items():
        cpus = {cpu for cpu, _ in parts if cpu != NO_CPU}
        where = f" on CPU {next(iter(cpus))}" if len(cpus) == 1 else f" on {len(cpus)} CPUs" if cpus else ""
        count = sum(count for _, count in parts)
        yield f"lost{where}: {wording.plural(count, f'{escape(kind)} record')} ({escape(cause)})"
