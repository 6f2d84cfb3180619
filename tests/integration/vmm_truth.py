"""What a VM's own counter says of its progress, and what sldtrace says of the VM."""

from itertools import pairwise
from typing import Any

from sldtrace.analyzers.finding import Finding
from sldtrace.host import signals

FROZEN_S = 0.5
"""A VM that stands still for longer is frozen: many penalties long, a third of the time of any VM here."""

APART_S = 0.05
"""How much the two may differ: the counter is read every 10 ms, and a penalty is longer."""


def standstill_s(vm: dict[str, Any], vcpu: int = 0) -> float:
    """The longest time in which the counter of a vCPU did not change; vm: see vmms.described."""
    longest, since = 0, vm["samples"][0]
    for sample in vm["samples"]:
        longest = max(longest, sample[0] - since[0])
        since = since if sample[1 + vcpu] == since[1 + vcpu] else sample
    return longest / 1e9


def progress_share(vm: dict[str, Any], vcpu: int = 0) -> float:
    """In which share of the intervals between two samples the counter changed."""
    loops = [sample[1 + vcpu] for sample in vm["samples"]]
    changed = [one != other for one, other in pairwise(loops)]
    return float(sum(changed) / len(changed))


def findings_of(vm: dict[str, Any], found: list[Finding[Any]]) -> list[Finding[Any]]:
    """Those of its threads."""
    return [each for each in found if each.subject and each.subject.tgid == vm["pid"]]


def cause(finding: Finding[Any], vm: dict[str, Any]) -> str:
    """A few words: what ended the penalties early; empty if nothing did."""
    ended_by = getattr(finding.numbers, "ended_by", ())
    if not ended_by:
        return ""
    kick = finding.numbers.signal
    if kick is None:
        return str(ended_by[0].cause)
    who = {vm["pid"]: "QEMU's main thread", 0: "the kernel"}.get(kick.sender_tid, "another thread")
    return f"{signals.name(kick.number)} by {who}"
