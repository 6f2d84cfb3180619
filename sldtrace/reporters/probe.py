"""The report of `sldtrace probe`. Needs nothing that is not in Python itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from sldtrace.litmus import verdict
from sldtrace.litmus.plan import LIVELOCK_LIMIT_NS
from sldtrace.litmus.verdict import Lengths, Livelock, Predicted, Result, Verdict
from sldtrace.reporters.document import Column, Fact, Facts, Report, Section, Table, Text, Tone, Unit
from sldtrace.text.escape import escape
from sldtrace.text.phrases import length, ms

VERSION = 1
"""Of the JSON; grows when a key changes its meaning or goes away."""

_LABEL_WIDTH = 11
_TONES = {
    Verdict.NO_PENALTY: Tone.GOOD,
    Verdict.OWN_PENALTY: Tone.WARNING,
    Verdict.OUTSIDE_PENALTY: Tone.WARNING,
    Verdict.RATE_LIMIT: Tone.WARNING,
    Verdict.FATAL: Tone.CRITICAL,
    Verdict.UNCLEAR: Tone.UNKNOWN,
}


@dataclass(frozen=True)
class ProbeContent:
    """What `sldtrace probe --format json` prints. Lengths are in ns; null: not seen, or not known."""

    version: Annotated[int, "1; grows when a key changes its meaning or goes away"]
    verdict: Verdict
    release: Annotated[str, "`uname -r`"]
    guest: Annotated[bool, "this machine is a virtual machine"]
    in_vm: Annotated[bool, "the locks were executed in a virtual machine on this one (--vm)"]
    mode: Annotated[str, "split_lock_detect= of this kernel"]
    mitigate: Annotated[int | None, "kernel.split_lock_mitigate; null: there is none"]
    split: Annotated[Lengths | None, "of all split locks"]
    aligned: Annotated[Lengths | None, "of as many locks of one cache line"]
    penalized: Annotated[Lengths | None, "of the split locks that took 5 ms or longer"]
    off_for_ns: Annotated[int | None, "after a penalty: the longest time at which there was no penalty"]
    on_again_ns: Annotated[int | None, "after a penalty: the shortest time at which there was one again"]
    charged_tick_ns: Annotated[int | None, "the jiffy of the kernel that charges the penalty"]
    livelock: Annotated[Livelock | None, "one split lock under a signal each millisecond"]
    predicted: Annotated[Predicted, "what the model says of this kernel"]


def build(result: Result) -> Report:
    """The verdict first, then what was measured, beside what the model predicts."""
    title = f"{result.verdict.upper()}: {_headline(result)}"
    blocks = [Text(text) for text in _meaning(result)]
    sections = [Section(title, blocks, tone=_TONES[result.verdict])]
    if result.livelock:
        sections.append(_under_signals(result))
    sections.append(Section("Measured", [_table(result), Facts(tuple(_facts(result)), _LABEL_WIDTH)]))
    return Report(_content(result), sections)


def _headline(result: Result) -> str:
    here = "in a VM here" if result.machine.in_vm else "here"
    costs = f"a split lock costs {length(result.split.median_ns)} {here}" if result.split else ""
    if result.aligned and costs:
        costs += f", an aligned lock {length(result.aligned.median_ns)}"
    if result.verdict is Verdict.FATAL:
        return f"a split lock ends the {'VMM' if result.machine.in_vm else 'program'} by SIGBUS here"
    if result.verdict is Verdict.UNCLEAR:
        return "too few split locks were delayed to say who delays them, or too many aligned ones"
    if result.verdict is Verdict.NO_PENALTY or result.penalized is None:
        return costs
    return f"a split lock that traps costs {length(result.penalized.median_ns)} {here}"


def _meaning(result: Result) -> Iterator[str]:
    lock = result.machine.split_lock
    if result.verdict is Verdict.NO_PENALTY:
        if why := lock.why_no_traps():
            yield f"{why[0].upper()}{why[1:]}."
        elif lock.mitigate == 0:
            yield "They trap, and kernel.split_lock_mitigate=0 switches the penalty off."
        if result.machine.guest:
            yield "The host of this virtual machine does not delay them either."
    elif result.verdict is Verdict.OWN_PENALTY:
        yield (
            "This kernel detects split locks of programs and of its VMs, and delays the thread that executes "
            "one. `sysctl kernel.split_lock_mitigate=0` switches the penalty off, where the sysctl exists."
        )
    elif result.verdict is Verdict.OUTSIDE_PENALTY and result.machine.in_vm:
        yield (
            "This host's kernel delays the vCPU thread whose guest executes a split lock. "
            "`sysctl kernel.split_lock_mitigate=0` on this host switches the penalty off, where the sysctl "
            "exists."
        )
    elif result.verdict is Verdict.OUTSIDE_PENALTY:
        yield (
            "This virtual machine's own kernel delays no split locks: its host does, and only the host can "
            "change that (kernel.split_lock_mitigate, split_lock_detect=). A VM whose vCPU threads get "
            "signals may freeze there: the operator of the host runs `sldtrace record`."
        )
    elif result.verdict is Verdict.RATE_LIMIT:
        yield f"split_lock_detect={lock.mode} has programs wait, 20 ms at a time, that take more bus locks."
    elif result.verdict is Verdict.FATAL:
        yield f"split_lock_detect={lock.mode} on this kernel. A VM that executes one is ended as well."
    elif result.predicted.verdict is Verdict.NO_PENALTY and result.penalized and not result.machine.guest:
        yield "This kernel's settings do not explain the delays. Try again when the machine is idle."
    else:
        yield "Try again when the machine is idle."


def _under_signals(result: Result) -> Section:
    assert result.livelock is not None
    who = "VM" if result.machine.in_vm else "program"
    expected = "the model predicts " + ("that it does not complete" if result.predicted.livelock else "so")
    if result.livelock.completed:
        text = (
            f"A split lock under a signal each millisecond completes after {length(result.livelock.took_ns)}"
        )
        title, tone = f"NO LIVELOCK: a {who} with a timer gets past a split lock", Tone.GOOD
    else:
        text = f"A split lock under a signal each millisecond did not complete in {length(LIVELOCK_LIMIT_NS)}"
        expected = "the model predicts " + ("so" if result.predicted.livelock else "that it completes")
        title, tone = f"LIVELOCK: a {who} with a 1 ms timer does not get past a split lock", Tone.CRITICAL
    return Section(title, [Text(f"{text}; {expected}.")], tone=tone)


def _table(result: Result) -> Table:
    columns = ("", "locks", "median", "p90", "longest")
    units = (Unit.TEXT, Unit.COUNT, Unit.DURATION, Unit.DURATION, Unit.DURATION)
    named = (
        ("split", result.split),
        ("split, penalized", result.penalized),
        ("aligned", result.aligned),
    )
    return Table(
        tuple(Column(header, unit) for header, unit in zip(columns, units, strict=True)),
        tuple(
            (name, each.count, each.median_ns, each.p90_ns, each.longest_ns) for name, each in named if each
        ),
    )


def _facts(result: Result) -> Iterator[Fact]:
    machine = result.machine
    where = ", in a virtual machine" if machine.guest else ""
    where += "; the locks are executed in a VM on it" if machine.in_vm else ""
    mitigate = "" if machine.split_lock.mitigate is None else f", mitigate={machine.split_lock.mitigate}"
    setting = f"split_lock_detect={machine.split_lock.mode}{mitigate}"
    yield Fact("kernel", f"Linux {escape(machine.release)}{where}; {setting}")
    yield Fact("predicted", _prediction(result.predicted))
    if result.off_for_ns is not None or result.on_again_ns is not None:
        off = f"not penalized up to {length(result.off_for_ns)}" if result.off_for_ns is not None else ""
        on = f"penalized again from {length(result.on_again_ns)} on" if result.on_again_ns is not None else ""
        yield Fact("afterwards", f"{', '.join(each for each in (off, on) if each)} after a penalty")
    if result.charged_tick_ns is not None:
        hertz = round(1e9 / result.charged_tick_ns)
        yield Fact("jiffy", f"{ms(result.charged_tick_ns)} ms (HZ={hertz}): the penalties end at its ticks")
        if result.verdict is Verdict.OUTSIDE_PENALTY and not machine.in_vm:
            hosts = verdict.hosts(result.charged_tick_ns)
            known = "; ".join(f"{name}: {ms(low)} to {ms(high)} ms" for name, low, high in hosts)
            yield Fact("such hosts", f"a penalty of Linux {known}")


def _prediction(predicted: Predicted) -> str:
    if predicted.shortest_ns is None or predicted.longest_ns is None or predicted.window_ns is None:
        return f"{predicted.verdict} by this kernel itself"
    low, high = predicted.window_ns
    return (
        f"{predicted.verdict}: {ms(predicted.shortest_ns)} to {ms(predicted.longest_ns)} ms, then none for "
        f"{ms(low)} to {ms(high)} ms"
    )


def _content(result: Result) -> ProbeContent:
    return ProbeContent(
        version=VERSION,
        verdict=result.verdict,
        release=result.machine.release,
        guest=result.machine.guest,
        in_vm=result.machine.in_vm,
        mode=result.machine.split_lock.mode,
        mitigate=result.machine.split_lock.mitigate,
        split=result.split,
        aligned=result.aligned,
        penalized=result.penalized,
        off_for_ns=result.off_for_ns,
        on_again_ns=result.on_again_ns,
        charged_tick_ns=result.charged_tick_ns,
        livelock=result.livelock,
        predicted=result.predicted,
    )
