"""Findings of one kind and verdict about threads of one process together: one VM, one cause."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

from sldtrace.analyzers.finding import Finding
from sldtrace.analyzers.findings import semaphore_queue
from sldtrace.dataset.subject import Subject
from sldtrace.model import early_returns

MOST = 100
"""Findings of a group, the worst ones, that tables and pictures have; the others are counted."""

_OF_SEMAPHORE = {semaphore_queue.KIND, early_returns.SEMAPHORE}  # one semaphore for the host
_RANGES = 8  # of vCPUs or TIDs, that are named


@dataclass(frozen=True)
class Group:
    """Findings of one kind and verdict about threads of one process, the worst first; or one of no thread."""

    found: tuple[Finding[Any], ...]

    @property
    def first(self) -> Finding[Any]:
        """The worst one."""
        return self.found[0]

    @property
    def shown(self) -> tuple[Finding[Any], ...]:
        """The worst ones, MOST of them."""
        return self.found[:MOST]

    @property
    def who(self) -> Subject | None:
        """The thread of the first one."""
        return self.first.subject

    @property
    def start_ns(self) -> int:
        """When the first of them begins (CLOCK_MONOTONIC)."""
        return min(each.start_ns for each in self.found)

    @property
    def end_ns(self) -> int:
        """When the last of them ends (CLOCK_MONOTONIC)."""
        return max(each.end_ns for each in self.found)

    @property
    def ongoing(self) -> bool:
        """Does one of them have no end?"""
        return any(each.ongoing for each in self.found)

    @cached_property
    def subjects(self) -> tuple[Subject, ...]:
        """The threads, each once."""
        return tuple(dict.fromkeys(each.subject for each in self.found if each.subject is not None))

    @cached_property
    def processes(self) -> frozenset[int]:
        """TGIDs of the threads, also of those that a finding of no single thread is about."""
        affected = (tgid for each in self.found for tgid, _ in each.numbers.affected)
        return frozenset((*(who.tgid for who in self.subjects), *affected))

    @property
    def threads(self) -> str:
        """The threads in words: `vCPU 3`, `64 vCPUs (0-63)`, `TID 201`; empty of no thread."""
        vcpus = [who.vcpu for who in self.subjects if who.vcpu is not None]
        noun, numbers = "vCPU", vcpus
        if len(vcpus) < len(self.subjects):
            noun, numbers = "TID", [who.tid for who in self.subjects]
        if len(numbers) < 2:
            return f"{noun} {numbers[0]}" if numbers else ""
        return f"{len(numbers):,} {noun if noun == 'vCPU' else 'thread'}s ({_ranges(numbers)})"

    @property
    def worst(self) -> str:
        """Which thread a sentence about the first finding is about; empty where there is only one."""
        who = self.who
        if who is None or len(self.subjects) < 2:
            return ""
        return f"{f'TID {who.tid}' if who.vcpu is None else f'vCPU {who.vcpu}'} "


def grouped(found: Sequence[Finding[Any]]) -> list[Group]:
    """The findings in groups; the order stays."""
    groups: dict[object, list[Finding[Any]]] = {}
    for number, each in enumerate(found):
        who = each.subject
        key = (each.kind, each.verdict, who.tgid) if who else number
        groups.setdefault(key, []).append(each)
    return [Group(tuple(each)) for each in groups.values()]


def related(group: Group, others: Sequence[Group]) -> list[Group]:
    """Those of the others that are about a process of this one; and a queue, with the waits in it."""
    return [each for each in others if each is not group and _is_related(group, each)]


def _is_related(one: Group, other: Group) -> bool:
    if not one.processes.isdisjoint(other.processes):
        return True
    waits = {one.first.kind, other.first.kind} == _OF_SEMAPHORE
    return waits and one.start_ns <= other.end_ns and other.start_ns <= one.end_ns


def _ranges(numbers: Iterable[int]) -> str:
    made = list(_runs(sorted(numbers)))
    return ", ".join(made[:_RANGES]) + (", ..." if len(made) > _RANGES else "")


# 0, 1, 2, 5 as 0-2, 5.
def _runs(numbers: Sequence[int]) -> Iterator[str]:
    for _, pairs in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        run = [number for _, number in pairs]
        yield str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}"
