"""What one recording says of each vCPU and address, in blocks of time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sldtrace.analyzers.finding import Finding, Severity
from sldtrace.analyzers.findings import catalogue
from sldtrace.dataset import folding
from sldtrace.dataset.subject import Subject
from sldtrace.dataset.trace import Trace
from sldtrace.engine.block_sums import METRICS, BlockSums
from sldtrace.engine.fold import Fold
from sldtrace.engine.slices import slices
from sldtrace.engine.time_columns import TimeGrid

LEAST_BLOCKS = 8
"""Fewer have no confidence interval."""

MOST_BLOCKS = 512
BLOCK_NS = 1_000_000_000
SHORTEST_BLOCK_NS = 250_000_000
"""Longer than any penalty: a block is nearly independent of the next one."""

Key = tuple[str, str]
"""The VM (its UUID, its name, or the name of the process), and the vCPU (or the name of the thread)."""


@dataclass(frozen=True)
class Place:
    """One address of one vCPU: METRICS in each block; finding: the worst one about it."""

    subject: Subject
    rip: int
    sums: npt.NDArray[np.int64]
    finding: Finding[Any] | None


@dataclass(frozen=True)
class Measured:
    """One recording. blocks: how many, of block_ns; places: by vCPU and address; ambiguous: vCPUs of several
    VMs with the same name; verdicts: of all findings, also of those about no address."""

    trace: Trace
    blocks: int
    block_ns: int
    places: Mapping[Key, Mapping[int, Place]]
    ambiguous: frozenset[Key]
    left_out: int
    verdicts: tuple[str, ...]


def measure(trace: Trace) -> Measured:
    """Reads the recording, and once more for the blocks."""
    start, end = trace.span_ns
    block_ns = max(min(BLOCK_NS, (end - start) // LEAST_BLOCKS), -(-(end - start) // MOST_BLOCKS), 1)
    count = (end - start) // block_ns
    found = BlockSums(TimeGrid(start, start + block_ns * max(count, 1), max(count, 1)))
    fold = Fold([found])
    fold.run(slices(trace.recording, fold.kinds))
    threads = fold.tracker.threads
    findings = catalogue.run(trace)
    worst = _worst(findings)
    vcpus = _vcpus(trace)
    places: dict[Key, dict[int, Place]] = {}
    ambiguous = set()
    for thread, rip, sums in zip(found.thread.tolist(), found.rip.tolist(), found.sums, strict=True):
        tgid, tid = int(threads.tgid[thread]), int(threads.tid[thread])
        who = trace.subject(tgid, tid, vcpus.get((tgid, tid)))
        mine = places.setdefault(key(who), {})
        if any((each.subject.tgid, each.subject.tid) != (tgid, tid) for each in mine.values()):
            ambiguous.add(key(who))
        mine[rip] = Place(who, rip, sums, worst.get((tgid, tid, rip)) or worst.get((tgid, tid, None)))
    verdicts = tuple(dict.fromkeys(each.verdict for each in findings))
    return Measured(trace, count, block_ns, places, frozenset(ambiguous), found.left_out, verdicts)


def key(who: Subject) -> Key:
    """What a vCPU is called in both recordings: PIDs and TIDs change when a VM is started again."""
    return who.vm_uuid or who.vm or who.process, f"vCPU {who.vcpu}" if who.vcpu is not None else who.thread


def metric(sums: npt.NDArray[np.int64], name: str) -> npt.NDArray[np.float64]:
    """One of METRICS in each block."""
    found: npt.NDArray[np.float64] = sums[METRICS.index(name)].astype(np.float64)
    return found


def _worst(findings: list[Finding[Any]]) -> dict[tuple[int, int, int | None], Finding[Any]]:
    found: dict[tuple[int, int, int | None], Finding[Any]] = {}
    for each in findings:
        if each.subject is None or each.severity < Severity.WARNING:
            continue
        who = each.subject.tgid, each.subject.tid, each.rip
        if who not in found or found[who].severity < each.severity:
            found[who] = each
    return found


def _vcpus(trace: Trace) -> dict[tuple[int, int], int]:
    folded = folding.fold(trace)
    rows = zip(
        folded.numbers.tgid.tolist(),
        folded.numbers.tid.tolist(),
        folded.threads.sums["vcpu"].tolist(),
        strict=True,
    )
    return {(tgid, tid): vcpu for tgid, tid, vcpu in rows if vcpu >= 0}
