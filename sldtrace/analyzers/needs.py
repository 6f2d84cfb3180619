"""What an analyzer needs of a recording, and what a recording lacks."""

from collections.abc import Iterator
from dataclasses import dataclass

from sldtrace.dataset import levels
from sldtrace.dataset.trace import Trace
from sldtrace.recording import schema

_PROBES = {
    "trap": ("handle_guest_split_lock",),
    "detection": ("msr:write_msr",),
    "exit": ("kvm:kvm_exit",),
    "counts": ("kvm:kvm_exit",),
    "migrate": ("sched:sched_migrate_task",),
    "signal": ("signal:signal_generate",),
}
_WAITS = {"synchronize_srcu", "lock:contention_begin"}  # one of the two is enough
_LATE = {"detection", "exit", "counts", "migrate", "stall"}
_SIMULATED = {"trap", "detection", "signal", "migrate"}


@dataclass(frozen=True)
class Needs:
    """What a recording must have."""

    records: tuple[str, ...]  # kinds of record
    probes: tuple[str, ...] = ()  # functions or tracepoints
    facts: tuple[tuple[str, ...], ...] = ()  # paths of facts
    after_trap: bool = True  # it looks for what follows a trap: a recording without traps is enough


@dataclass(frozen=True)
class NotEvaluated:
    """A kind of finding that this recording cannot have, or not for all of its time, and why."""

    kind: str
    title: str
    reason: str


def missing(trace: Trace, needs: Needs) -> str | None:
    """Why these needs are not met, in a few words; None if they are."""
    if needs.after_trap and not trace.recording.counts.get("trap"):
        return None
    return next(_reasons(trace, needs), None)


def _reasons(trace: Trace, needs: Needs) -> Iterator[str]:
    refused = {name for name, backend in trace.probes if not backend}
    probes = [*needs.probes, *(probe for kind in needs.records for probe in _PROBES.get(kind, ()))]
    for probe in probes:
        if probe in refused:
            yield f"{probe} could not be probed"
    if "stall" in needs.records and refused.issuperset(_WAITS):
        yield "waits inside KVM could not be probed"
    for kind in needs.records:
        if kind not in schema.current().records or kind not in trace.recording.schema.records:
            yield f"this recording has no records of the kind {kind}"
        elif trace.simulated:
            if kind not in _SIMULATED and not trace.recording.counts.get(kind):
                yield f"no records of the kind {kind} were simulated"
        elif kind in _LATE and not trace.recording.counts.get(kind):
            yield from _not_watched(trace, kind)
    for path in needs.facts:
        if trace.number(*path) is None and not trace.text(*path):
            yield f"the fact {'.'.join(path)} is missing"


# No record of the kind: nothing happened, or it was not watched.
def _not_watched(trace: Trace, kind: str) -> Iterator[str]:
    if trace.text("exits") == "none":
        yield "only traps were recorded (record --exits none)"
    elif kind == "exit" and levels.rank(levels.asked(trace)) < levels.rank(levels.EXITS):
        yield "single VM exits were not recorded (record --exits counts)"
    elif len(trace.rows("detail")) and not levels.watched(trace):
        what = "VM exits were" if kind in ("exit", "counts") else f"records of the kind {kind} were"
        if not trace.recording.counts.get("trap"):
            yield f"{what} not watched before the first trap (record --exits all watches from the start)"
        else:
            yield f"{what} not watched at any time"
