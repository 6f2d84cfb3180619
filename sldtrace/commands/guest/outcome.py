"""The results of `sldtrace guest run`, as text and as JSON."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sldtrace.commands.guest.listing import instruction
from sldtrace.host import signals
from sldtrace.host.split_lock import SplitLock
from sldtrace.reporters.document import Column, Fact, Facts, Report, Section, Table, Text, Unit
from sldtrace.text.durations import render
from sldtrace.text.phrases import address, length
from sldtrace.vmm.guests import Guest
from sldtrace.vmm.kicks import Kind
from sldtrace.vmm.plan import Plan, Result, VcpuResult

_LABEL_WIDTH = 16


def build(plan: Plan, host: SplitLock, results: Sequence[Result]) -> Report:
    """The counters, a table if there are several vCPUs, and the meaning in two lines."""
    labels = [
        ("guest", f"{plan.guest.name}, {instruction(plan.guest, results[0].locked)}"),
        ("timeout", _timeout(plan)),
        *_totals(plan, results),
    ]
    facts = tuple(Fact(label, value) for label, value in labels)
    sections = [Section(blocks=[Facts(facts, _LABEL_WIDTH)])]
    if sum(len(result.vcpus) for result in results) > 1:
        sections.append(Section(blocks=[_table(plan, results)]))
    sections.append(Section(blocks=[Text(progress(plan, results)), Text(meaning(plan.guest, host))]))
    return Report(_content(plan, host, results), sections)


def with_report(ran: Report, path: Path, recorded: Report | None) -> Report:
    """The same, followed by the report of its recording."""
    data = ran.data | {"recording": str(path), "report": recorded.data if recorded else None}
    return Report(data, [*ran.sections, *(recorded.sections if recorded else ())])


# The sums of all vCPUs, and each one; times are nanoseconds. `tgid` and `tid` are those of the first.
def _content(plan: Plan, host: SplitLock, results: Sequence[Result]) -> dict[str, Any]:
    vcpus = _vcpus(results)
    return {
        "guest": plan.guest.name,
        "program": plan.program,
        "locked_address": address(results[0].locked),
        "crosses_cache_line": plan.guest.crosses_line,
        "timeout_ns": plan.timeout_ns or None,
        "kick": str(plan.kick) if plan.timeout_ns else None,
        "signal": signals.name(plan.signo),
        "tgid": results[0].tgid,
        "tid": vcpus[0].tid,
        "loops": sum(one.loops for one in vcpus),
        "kvm_runs": sum(one.kvm_runs for one in vcpus),
        "eintr": sum(one.eintr for one in vcpus),
        "io_exits": sum(one.io_exits for one in vcpus),
        "longest_run_ns": max(one.longest_run_ns for one in vcpus),
        "ran_ns": max(result.ran_ns for result in results),
        "rip": _address(vcpus[0].rip),
        "interrupted": any(result.interrupted for result in results),
        "vms": [_vm(result) for result in results],
        "split_lock_detection": dataclasses.asdict(host),
        "verdict": [progress(plan, results), meaning(plan.guest, host)],
    }


def _vm(result: Result) -> dict[str, Any]:
    vcpus = [dataclasses.asdict(one) | {"rip": _address(one.rip)} for one in result.vcpus]
    return dataclasses.asdict(result) | {"locked": address(result.locked), "vcpus": vcpus}


def _address(value: int | None) -> str | None:
    return None if value is None else address(value)


def progress(plan: Plan, results: Sequence[Result]) -> str:
    """The progress in one line, from the counters alone."""
    vcpus = _vcpus(results)
    loops, runs = sum(one.loops for one in vcpus), sum(one.kvm_runs for one in vcpus)
    stuck = sum(not one.loops for one in vcpus)
    if stuck == len(vcpus):
        if plan.program:
            return "no progress: not one loop finished"
        places = ", ".join(sorted({address(one.rip) for one in vcpus if one.rip is not None}))
        return f"no progress: not one loop finished in {runs:,} KVM_RUN calls; the guest is at {places}"
    per_run = f", {loops / runs:,.1f} per KVM_RUN" if runs else ""
    some = f"; {stuck} of {len(vcpus)} vCPUs finished none" if stuck else ""
    return f"progress: {loops:,} loops finished{per_run}{some}"


def meaning(one: Guest, host: SplitLock) -> str:
    """How this host handles the split locks of this guest, in one line."""
    if not one.crosses_line:
        return "this guest has no split lock: detection has no effect on it"
    if not host.detects_split_locks:
        return (
            "this CPU has no split-lock detection: no guest traps here, and the run only shows that it works"
        )
    if host.mode == "off" or host.mode.startswith("ratelimit"):
        return (
            f"this host was booted with split_lock_detect={host.mode}: the split locks of guests do not trap"
        )
    mitigate = "missing" if host.mitigate is None else host.mitigate
    return (
        f"this host traps split locks: split_lock_detect={host.mode}, kernel.split_lock_mitigate {mitigate};"
        " sldtrace record shows the outcome of each"
    )


def expected(one: Guest, host: SplitLock) -> list[str]:
    """Why this host cannot freeze this guest; empty if it can. For use before the run."""
    if not one.crosses_line:
        return [f"guest {one.name} takes no split lock: nothing will be recorded"]
    if why := host.why_no_traps():
        return [f"guest {one.name} cannot trap here, so nothing will be recorded: {why}"]
    if host.mode == "fatal":
        return ["split_lock_detect=fatal: the kernel will kill the guest's process by SIGBUS"]
    if host.mitigate == 0:
        return [
            "kernel.split_lock_mitigate=0: split locks trap, but are not penalized;"
            " sysctl kernel.split_lock_mitigate=1 switches the penalty on"
        ]
    return []


def _vcpus(results: Sequence[Result]) -> list[VcpuResult]:
    return [one for result in results for one in result.vcpus]


def _timeout(plan: Plan) -> str:
    if not plan.timeout_ns:
        return "none"
    how = "" if plan.kick is Kind.TIMER else f" by {plan.kick}"
    return f"{render(plan.timeout_ns)}, {signals.name(plan.signo)}{how}"


def _totals(plan: Plan, results: Sequence[Result]) -> list[tuple[str, str]]:
    vcpus = _vcpus(results)
    ended = " (interrupted)" if any(result.interrupted for result in results) else ""
    rows = [
        ("ran for", f"{max(result.ran_ns for result in results) / 1e9:.3f} s{ended}"),
        ("loops", f"{sum(one.loops for one in vcpus):,}"),
    ]
    if not plan.program:
        rows += [
            ("KVM_RUN calls", f"{sum(one.kvm_runs for one in vcpus):,}"),
            ("EINTR returns", f"{sum(one.eintr for one in vcpus):,}"),
            ("I/O exits", f"{sum(one.io_exits for one in vcpus):,}"),
            ("longest KVM_RUN", length(max(one.longest_run_ns for one in vcpus))),
        ]
    if any(one.reported is not None for one in vcpus):
        last = max((one for one in vcpus if one.reported is not None), key=lambda one: one.reported_ns or 0)
        rows.append(
            ("guest reported", f"{last.reported:,} loops, last after {length(last.reported_ns or 0)}")
        )
    if plan.migrate_ns is not None:
        moves = sum(result.migrations for result in results)
        rows.append(("migrations", f"{moves:,}"))
        checks, bad, again = (
            sum(getattr(one, f"cpu_{name}") for one in vcpus) for name in ("checks", "mismatches", "retries")
        )
        if not plan.program:
            found = f"{checks:,}, of which {bad:,} found another CPU than the thread's"
            rows.append(("CPU checks", f"{found}; {again:,} retries"))
    if plan.slots_ns:
        updates = sum(result.slot_updates for result in results)
        longest = max(result.longest_slot_update_ns for result in results)
        rows.append(("slot updates", f"{updates:,}, the longest took {length(longest)}"))
    return rows


def _table(plan: Plan, results: Sequence[Result]) -> Table:
    columns = [
        Column("VM", Unit.NUMBER),
        Column("vCPU", Unit.NUMBER),
        Column("TID", Unit.NUMBER),
        Column("loops", Unit.COUNT),
    ]
    if not plan.program:
        columns += [
            Column("KVM_RUN", Unit.COUNT),
            Column("EINTR", Unit.COUNT),
            Column("longest", Unit.DURATION),
        ]
    rows = tuple(
        (vm, index, one.tid, one.loops, one.kvm_runs, one.eintr, one.longest_run_ns)[: len(columns)]
        for vm, result in enumerate(results)
        for index, one in enumerate(result.vcpus)
    )
    return Table(tuple(columns), rows)
