"""The address of an instruction in words: its symbol, and what the address is relative to."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from sldtrace.analyzers.finding import Fact, Finding
from sldtrace.dataset import exit_counts, folding
from sldtrace.dataset.cached import per_trace
from sldtrace.dataset.trace import Trace
from sldtrace.text.phrases import address, plural

_SEGMENT = 1 << 16  # a code segment of real mode
_NESTED = {"vmx": (20, 24), "svm": (0x80,)}  # VMLAUNCH, VMRESUME (SDM appendix C); VMRUN (APM appendix C)


def named(trace: Trace, rip: int, guest: bool) -> str:
    """`guest address 0xffffffff81000052 (set_bit+0x12)`; the symbol if `trace` has those of the guest."""
    name = symbol(trace, rip, guest)
    return f"{'guest ' if guest else ''}address {address(rip)}{f' ({name})' if name else ''}"


def symbol(trace: Trace, rip: int | None, guest: bool) -> str | None:
    """The name of a guest address; None: not known."""
    return trace.symbols.name(rip) if trace.symbols is not None and guest and rip is not None else None


def is_guests(finding: Finding[Any]) -> bool:
    """Is the finding's address one of a guest?"""
    return bool(
        getattr(finding.numbers, "guest", finding.subject is None or finding.subject.vcpu is not None)
    )


def facts(trace: Trace, tgid: int, tid: int, rip: int, guest: bool) -> list[Fact]:
    """What the address of a vCPU's instruction may be relative to, where that is not clear."""
    if not guest:
        return []
    found = []
    if rip < _SEGMENT:
        found.append("an offset in the code segment: in real mode its base (CS * 16) is to be added")
    entries = _nested_entries(trace).get((tgid, tid))
    if entries:
        found.append(f"perhaps of a nested guest: the guest entered one of its own {plural(entries, 'time')}")
    elif entries is None and trace.facts_say("kvm", "nested"):
        found.append("perhaps of a nested guest: the host allows these, and VM exits were not counted")
    return [Fact("address", "; ".join(found))] if found else []


# By TGID and TID, how often each vCPU entered a guest of its own; those whose VM exits were counted.
@per_trace
def _nested_entries(trace: Trace) -> Mapping[tuple[int, int], int]:
    found: Counter[tuple[int, int]] = Counter()
    rows = folding.fold(trace).counts.rows
    nested = exit_counts.chosen(trace.recording, rows, lambda isa, reason, _: reason in _NESTED.get(isa, ()))
    counts = np.where(nested, rows["count"], 0)
    for tgid, tid, count in zip(rows["tgid"].tolist(), rows["tid"].tolist(), counts.tolist(), strict=True):
        found[tgid, tid] += count
    return found
