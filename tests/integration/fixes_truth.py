"""What the kernel's own trace says of guests under a candidate fix: traps, penalties, late signals."""

import re
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from sldtrace.analyzers.finding import Finding
from sldtrace.dataset.trace import Trace
from sldtrace.prediction import predict
from sldtrace.prediction.predict import Prediction
from sldtrace.recording.window import Window
from tests.integration.fixes import COPY

_LINE = re.compile(r"-(\d+)\s+\([ \d-]+\)\s+\[\d+\]\s+\S+\s+([\d.]+): (\w+): (.*)")
_DETECTION = 1 << 29  # MSR_TEST_CTRL_SPLIT_LOCK_DETECT


@dataclass(frozen=True)
class Truth:
    """Of all vCPUs of a case. Times are seconds.

    completed: how often detection was switched off. penalties: from the first trap after detection came back
    until it was off again. delays: from each signal until KVM_RUN had returned.
    """

    seconds: float
    loops: list[int]
    traps: int
    completed: int
    penalties: list[float]
    delays: list[float]

    @property
    def penalty_s(self) -> float:
        """The median; of no penalty 0."""
        return median(self.penalties) if self.penalties else 0.0

    @property
    def delay_s(self) -> tuple[float, float]:
        """The median, and what 95 of 100 are below: a few come while other processes have the CPU."""
        return median(self.delays), quantiles(self.delays, n=20)[-1]


def threads(case: dict[str, Any]) -> list[dict[str, Any]]:
    """The vCPUs of a case, as `guest run` says; of several VMs all."""
    return [vcpu for vm in case["ran"]["vms"] for vcpu in vm["vcpus"]]


def processes(case: dict[str, Any]) -> set[int]:
    """The PIDs of the VMs of a case."""
    return {vm["tgid"] for vm in case["ran"]["vms"]}


def truth(case: dict[str, Any], folder: Path) -> Truth:
    """See Truth; folder: where the trace is."""
    tids = {vcpu["tid"] for vcpu in threads(case)}
    traps: list[float] = []
    penalties: list[float] = []
    sent: dict[int, list[float]] = {tid: [] for tid in tids}
    left: dict[int, list[float]] = {tid: [] for tid in tids}
    completed, since = 0, None
    for line in (folder / case["trace"]).read_text(errors="replace").splitlines():
        if not (found := _LINE.search(line)):
            continue
        tid, at, event, said = int(found[1]), float(found[2]), found[3], found[4]
        if event == "traps" and tid in tids:
            traps.append(at)
            since = at if since is None else since
        elif event == "write_msr" and not int(said.split("value ")[1].split()[0], 16) & _DETECTION:
            completed += 1
            if since is not None:
                penalties.append(at - since)
        elif event == "write_msr":
            since = None
        elif event == "kvm_userspace_exit" and tid in tids:
            left[tid].append(at)
        elif event == "signal_generate" and (to := re.search(r"sig=10 .*pid=(\d+)", said)):
            sent.setdefault(int(to[1]), []).append(at)
    delays = [
        left[tid][n] - at
        for tid in tids
        for at in sent[tid]
        if (n := bisect_left(left[tid], at)) < len(left[tid])
    ]
    return Truth(
        max(vm["ran_ns"] for vm in case["ran"]["vms"]) / 1e9,
        [vcpu["loops"] for vcpu in threads(case)],
        len(traps),
        completed,
        penalties,
        delays,
    )


def findings_of(case: dict[str, Any], found: list[Finding[Any]]) -> list[Finding[Any]]:
    """Those about its VMs."""
    return [each for each in found if each.subject and each.subject.tgid in processes(case)]


def predicted(cases: dict[str, Any], recorded: Trace, fix: str) -> Prediction:
    """What `report --what-if fix=` says of the guest that ran with the copy of the kernel's function."""
    case = cases[COPY]
    part = Window(recorded.recording, (case["begin_ns"], None), (case["end_ns"], None))
    (found,) = predict.run(Trace(part), predict.parse(f"fix={fix}"))
    return found
