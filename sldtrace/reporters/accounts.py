"""The sums of a recording: of each kind, how many were seen, and what became of them."""

from dataclasses import dataclass

from sldtrace.dataset.trace import Trace


@dataclass(frozen=True)
class Account:
    """One kind of record: counted = recorded + lost + unfinished + filtered + discarded + missing.

    counted: events in the kernel, None where that is not known (a recording that was not ended); lost
    includes those that the probes could not even see; filtered: of VMs that were not wanted (record --vm);
    discarded: let go to keep to a limit (record --keep); missing: 0 unless the file is damaged.
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
        """Counted, and neither in the file nor known to be anywhere else."""
        return 0 if self.counted is None else self.counted - self._known

    @property
    def complete(self) -> bool:
        """Whether everything that was counted is in the file."""
        return self.lost == self.unfinished == self.filtered == self.discarded == self.missing == 0

    @property
    def _known(self) -> int:
        return self.recorded + self.lost + self.unfinished + self.filtered + self.discarded


def account(trace: Trace, kind: str) -> Account:
    """The sums of that kind; what the files before this one account for (record --rotate) is not in them."""
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
    """The sums of the other kinds than traps, as far as they were counted.

    None of a recording in several files: the sums before this one are kept for traps only.
    """
    seen = (trace.recording.closing or {}).get("seen")
    if not isinstance(seen, dict) or trace.number("segment", "number") is not None:
        return []
    return [account(trace, kind) for kind in seen if kind != "trap"]
