"""The metrics of a running recorder: what each is, and its samples."""

from sldtrace.capture.recorder import Status
from sldtrace.metrics.exposition import Metric
from sldtrace.metrics.totals import Totals

_OF_OWNERS = {
    "traps": ("traps", 1, "Split locks that trapped."),
    "early_returns": ("early_returns", 1, "Traps whose penalty ended early: the split lock traps again."),
    "completed_penalties": ("completed", 1, "Traps with a penalty that was slept to its end."),
    "not_penalized_traps": ("not_penalized", 1, "Traps without a penalty (split_lock_mitigate=0)."),
    "fatal_traps": ("fatal", 1, "Traps for which the kernel sent SIGBUS (split_lock_detect=fatal)."),
    "penalty_sleep_seconds": ("slept_ns", 1e-9, "Time asleep in msleep_interruptible for split locks."),
    "bus_locks": ("bus_locks", 1, "Bus locks that raised #DB (programs), or before VM exits (VMs)."),
    "bus_lock_seconds": ("bus_lock_ns", 1e-9, "Time in handle_bus_lock; with ratelimit:N, asleep."),
    "penalty_wait_seconds": ("waited_ns", 1e-9, "Time waiting for the semaphore of split_lock_warn."),
}
"""By name of a counter: the field of totals.COUNTED, its factor, its help."""


def of(totals: Totals, status: Status, started_ns: int, now_ns: int) -> list[Metric]:
    """All families. started_ns, now_ns: Unix time, of the recorder's start and of this look."""
    owners = [
        ({"vm" if owner.guest else "program": owner.name}, counts) for owner, counts in totals.counts.items()
    ]
    found = []
    for name, (field, factor, help_) in _OF_OWNERS.items():
        metric = Metric(f"sldtrace_{name}", "counter", help_)
        for labels, counts in owners:
            value = counts[field]
            metric.samples.append((labels, value if factor == 1 else value * factor))
            metric.created.append((labels, counts.created_ns / 1e9))
        found.append(metric)
    livelocked = Metric(
        "sldtrace_livelocked_threads", "gauge", "vCPUs and threads that make no progress now."
    )
    livelocked.samples = [(labels, counts.livelocked) for labels, counts in owners]
    off = Metric(
        "sldtrace_detection_off_core_seconds",
        "counter",
        "Time in which split-lock detection was off, summed over the cores.",
        [({}, totals.detection_off_ns / 1e9)],
        [({}, started_ns / 1e9)],
    )
    return [*found, livelocked, off, *_recorder(status, started_ns, now_ns)]


def _recorder(status: Status, started_ns: int, now_ns: int) -> list[Metric]:
    def one(name: str, kind: str, help_: str, value: float) -> Metric:
        metric = Metric(f"sldtrace_recorder_{name}", kind, help_, [({}, value)])
        if kind == "counter":
            metric.created.append(({}, started_ns / 1e9))
        return metric

    return [
        one("records", "counter", "Records that the probes made.", status.records),
        one("lost_records", "counter", "Records that were lost.", status.lost),
        one("cpu_ratio", "gauge", "CPUs that recorder and probes used in the last second.", status.cpu / 100),
        one("start_time_seconds", "gauge", "When the recorder started (Unix time).", started_ns / 1e9),
        one("written_time_seconds", "gauge", "When these metrics were written (Unix time).", now_ns / 1e9),
    ]
