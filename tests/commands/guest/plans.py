"""Plans of runs, and a stand-in for their processes."""

import dataclasses
from typing import Any

from sldtrace.vmm import guests
from sldtrace.vmm.plan import Plan, Result, VcpuResult


class Fake:
    """Notes what it is to run, and gives a result for each plan."""

    made: list[tuple[list[Plan], int, list[int]]]

    def __init__(self, plans: list[Plan], load: int, cpus: list[int]) -> None:
        self.made.append((plans, load, cpus))
        self._plans = plans

    interrupted = False

    def run(self, announce: Any, begin: Any = lambda pids: None) -> list[Result]:
        for number, plan in enumerate(self._plans):
            announce(number, 100 + number, [200] * plan.vcpus)
        begin([100 + number for number in range(len(self._plans))])
        return [Result(100, 10**9, False, 0x4018, (VcpuResult(200, 5, 2, 2),)) for _ in self._plans]


def plan(name: str = "split-bts", **changes: Any) -> Plan:
    return dataclasses.replace(Plan(guests.load(name), 2_000_000_000), **changes)
