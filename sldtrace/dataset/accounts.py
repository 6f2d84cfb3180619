"""The accounts of a recording: for each kind of record, how many events were seen, recorded and lost."""

from dataclasses import dataclass

from sldtrace.dataset.trace import Trace
from sldtrace.host import livepatch


@dataclass(frozen=True)
class Account:
    """One kind of record: counted = recorded + lost + unfinished + filtered + discarded + missing.

    counted: events in the kernel, None where that is not known (a recording without an end).
    lost: with those that the probes did not see.
    filtered: of VMs that `record --vm` does not name.
    discarded: removed to keep to the limit of `record --keep`.
    missing: 0 unless the file is damaged.
    """

    kind: str
    counted: int | None
    recorded: int
    lost: int
    unfinished: int
    filtered: int
    discarded: int

    @property
    def missing(self) -> int:
        """Counted, and in no other number."""
        return 0 if self.counted is None else self.counted - self._known

    @property
    def complete(self) -> bool:
        """Whether everything that was counted is in the file."""
        return self.lost == self.unfinished == self.filtered == self.discarded == self.missing == 0

    @property
    def _known(self) -> int:
        return self.recorded + self.lost + self.unfinished + self.filtered + self.discarded


def account(trace: Trace, kind: str) -> Account:
    """The account of that kind, of this file only (record --rotate)."""
    recording = trace.recording
    losses = [loss for loss in recording.losses if loss.kind == kind]
    counted = trace.closing("seen", kind)
    if counted is not None:
        counted -= trace.number("segment", "before", kind) or 0
        counted += sum(loss.count for loss in losses if loss.cause == "skipped")
    discarded = recording.discarded
    return Account(
        kind,
        counted,
        recording.counts.get(kind, 0),
        sum(loss.count for loss in losses),
        trace.closing("unfinished", kind) or 0,
        trace.closing("filtered", kind) or 0,
        discarded.records.get(kind, 0) if discarded else 0,
    )


def others(trace: Trace) -> list[Account]:
    """The accounts of the kinds other than traps that were counted.

    None of a recording in several files: those before this one are known for traps only.
    """
    seen = (trace.recording.closing or {}).get("seen")
    if not isinstance(seen, dict) or trace.number("segment", "number") is not None:
        return []
    return [account(trace, kind) for kind in seen if kind != "trap"]


def incomplete(trace: Trace) -> bool:
    """Whether a finding may be missing, so that "nothing found" does not mean that there was nothing.

    The recording is damaged, has no end, was ended by an error, or lost records; or a live patch has replaced
    a function in which the probes follow traps.
    """
    recording = trace.recording
    return bool(
        replaced(trace)
        or not recording.closed
        or (recording.closing or {}).get("ended_by") == "error"
        or recording.losses
        or recording.warnings
        or account(trace, "trap").missing
    )


def replaced(trace: Trace) -> str:
    """Which functions of the recorded kernel live patches replaced, at the beginning or at the end, in words.

    Not escaped; empty: none that is known.
    """
    found: dict[str, list[str]] = {}
    for facts in (trace.facts, trace.recording.closing or {}):
        kernel = facts.get("kernel")
        functions = kernel.get("replaced") if isinstance(kernel, dict) else None
        for name, patches in functions.items() if isinstance(functions, dict) else ():
            if isinstance(patches, list):
                found[str(name)] = sorted({*found.get(str(name), []), *map(str, patches)})
    return livepatch.sentence(found)
