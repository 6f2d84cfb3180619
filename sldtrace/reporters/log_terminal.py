"""What a kernel log says, for a person at a terminal: verdict, threads in order, limits, what to do."""

import textwrap
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from sldtrace.kernlog import verdict as verdicts
from sldtrace.kernlog.prefix import Stamp
from sldtrace.kernlog.sources import Source
from sldtrace.kernlog.survey import Survey, Thread
from sldtrace.kernlog.verdict import Verdict
from sldtrace.reporters import tables, wording
from sldtrace.reporters.style import Style
from sldtrace.text import escape

if TYPE_CHECKING:  # it needs pandas, which the log alone does not
    from sldtrace.kernlog.join import Join, Pair, Trapping

_ROWS = 40  # of a table; --json has all
_COLOURS = {"nothing": "32;1", "bus-locks": "33;1", "split-locks": "33;1"}
_KINDS = {
    "split-lock": "split lock",
    "split-lock-fatal": "SIGBUS (fatal)",
    "split-lock-bogus": "SIGBUS (bogus)",
    "split-lock-call": "split lock call",
    "bus-lock": "bus lock",
    "bus-lock-call": "bus lock call",
}
_MATCHED = {
    "trap": "of traps",
    "suppressed": "about suppression",
    "mode": "about the mode",
    "boot": "about booting",
    "oops": "of oopses",
    "unknown": "of unknown form",
    "not_kernel": "not from the kernel",
}


def render(survey: Survey, read: list[Source], joined: "Join | None", verdict: Verdict, style: Style) -> str:
    """The whole report; `joined` where the log was compared with a recording."""
    first, *rest = textwrap.wrap(verdict.sentence, style.width)
    parts = ["\n".join([style.loud(first, _COLOURS.get(verdict.kind, "31;1")), *rest])]
    threads = list(survey.traps())
    if threads:
        parts.append("Threads, in the order of the log\n" + _threads(survey, threads, style))
    if joined:
        parts.append("\n".join(_joined(joined, style)))
    parts.append("\n".join(_fill(text, style) for text in verdict.limits))
    if survey.oopses:
        parts.append("\n".join(_oopses(survey, style)))
    if boots := list(_boots(survey, style)):
        parts.append("\n".join(["What the kernel said at boot", *boots]))
    if verdict.advice:
        parts.append("\n".join(_advice(verdict, style)))
    parts.append("\n".join(_accounts(survey, read, style)))
    return "\n\n".join(parts) + "\n"


def when(stamp: Stamp, otherwise: str = "-") -> str:
    """A time as well as the log tells it, safe to print: UTC, or as it stands there, or since boot."""
    if stamp.wall_ns is not None:
        return wording.utc(stamp.wall_ns)
    if stamp.local:
        return stamp.local.replace("T", " ")
    if stamp.boot_ns is not None and stamp.text[:1].isdigit() and ":" not in stamp.text:
        return f"{stamp.boot_ns / 1e9:.3f} s after boot"
    return escape.escape(stamp.text) or otherwise


def _threads(survey: Survey, threads: list[Thread], style: Style) -> str:
    rows = [_row(survey, thread) for thread in threads[:_ROWS]]
    names = [name for name in rows[0] if any(row[name] for row in rows)]
    table = tables.table([{name: row[name] or "-" for name in names} for row in rows])
    if max(map(len, table.splitlines())) + 2 > style.width:
        table = "\n".join(_stacked(row, names) for row in rows)
    filtered = len(threads) - len(rows)
    more = f"\n... and {wording.plural(filtered, 'thread')} more: --json has them" if filtered else ""
    return _indent(table + more)


def _row(survey: Survey, thread: Thread) -> dict[str, str]:
    several = thread.lines > 1
    others = f" +{len(thread.addresses) - 1}" if len(thread.addresses) > 1 else ""
    address = f"{thread.addresses.most_common(1)[0][0]:#x}{others}" if thread.addresses else ""
    vcpu = str(thread.vcpu) if thread.vcpu is not None else "?" if thread.guest else ""
    return {
        "host": escape.escape(thread.host) if len(survey.hosts) > 1 else "",
        "boot": str(thread.boot + 1) if len(survey.boots) > len(survey.hosts) else "",
        "thread": escape.comm(thread.comm) or "(no name)",
        "TID": str(thread.tid),
        "VM": escape.escape(thread.vm),
        "vCPU": vcpu,
        "what": _KINDS[thread.kind] + (f" ({thread.origin})" if thread.origin else ""),
        "address": address,
        "lines": f"{thread.lines:,}" if several else "1",
        "first": when(thread.first),
        "last": when(thread.last) if several else "",
    }


# Where the table is too wide: two lines for each thread.
def _stacked(row: dict[str, str], names: list[str]) -> str:
    head = f"{row['thread']} (TID {row['TID']}): {row['what']}{' at ' * bool(row['address'])}{row['address']}"
    shown = [name for name in ("host", "boot", "VM", "vCPU", "first", "last") if name in names and row[name]]
    lines = f"{row['lines']} {'line' if row['lines'] == '1' else 'lines'}"
    return f"{head}\n    {', '.join([lines, *(f'{name} {row[name]}' for name in shown)])}"


def _joined(joined: "Join", style: Style) -> Iterator[str]:
    yield "Beside the recording"
    yield _fill(
        f"{wording.plural(len(joined.pairs), 'logged thread')} trapped in the recording, "
        f"{len(joined.without_trap):,} did not; {wording.plural(len(joined.without_line), 'thread')} trapped "
        "and the log does not say so.",
        style,
    )
    rows = [_pair(pair) for pair in joined.pairs]
    rows += [_unlogged(thread) for thread in joined.without_line]
    rows += [_untrapped(thread, place) for thread, place in joined.without_trap]
    if rows:
        table = tables.table(rows[:_ROWS])
        if max(map(len, table.splitlines())) + 2 > style.width:
            table = "\n".join(
                f"{row['thread']} (TID {row['TID']}): {row['note']}\n    traps {row['traps']}, "
                f"line {row['line']}"
                for row in rows[:_ROWS]
            )
        yield _indent(table)
    if len(rows) > _ROWS:
        yield f"  ... and {len(rows) - _ROWS:,} more: --json has them"
    if joined.by_boot_clock:
        yield _fill("Times since boot were compared as if log and recording were of the same boot.", style)
    if any(pair.when == "unknown" for pair in joined.pairs):
        yield _fill(
            "Times without year or zone were not compared; journalctl -k -o json gives both.",
            style,
        )


def _pair(pair: "Pair") -> dict[str, str]:
    notes = {
        "before": "first trapped before the recording",
        "after": "perhaps another thread: TIDs are reused",
    }
    note = [notes[pair.when]] if pair.when in notes else []
    if pair.same_name is False:
        note.append(f"recorded as {pair.recorded.who.thread}")
    if pair.same_address is False:
        note.append("trapped elsewhere in the recording")
    name = escape.comm(pair.logged.comm) or "(no name)"
    return _line(name, pair.logged.tid, f"{pair.recorded.traps:,}", pair.when, "; ".join(note) or "the same")


def _unlogged(thread: "Trapping") -> dict[str, str]:
    name = thread.who.thread or thread.who.process or "(no name)"
    return _line(
        name, thread.who.tid, f"{thread.traps:,}", "none", "suppressed, or not in this part of the log"
    )


def _untrapped(thread: Thread, place: str) -> dict[str, str]:
    note = "other boot or host, or lost?" if place == "during" else "did not trap while recorded"
    return _line(escape.comm(thread.comm) or "(no name)", thread.tid, "0", place, note)


def _line(name: str, tid: int, traps: str, line: str, note: str) -> dict[str, str]:
    return {"thread": name, "TID": str(tid), "traps": traps, "line": line, "note": note}


def _oopses(survey: Survey, style: Style) -> Iterator[str]:
    yield "Split locks of the host's kernel (oops)"
    for oops in survey.oopses[:_ROWS]:
        where = f" in {escape.escape(oops.function)}" if oops.function else ""
        yield _fill(f"{when(oops.stamp, otherwise='time not known')}{where}{_host(oops.host)}", style)
    if survey.matched["oops"] > _ROWS:
        yield f"  ... and {survey.matched['oops'] - _ROWS:,} more"


def _boots(survey: Survey, style: Style) -> Iterator[str]:
    told = [(number, each) for number, each in enumerate(survey.boots, 1) if each.modes or each.option]
    for number, boot in islice(told, _ROWS):
        release = f"Linux {boot.kernel}" if boot.kernel else "kernel not named"
        option = f", split_lock_detect={boot.option}" if boot.option else ""
        yield _fill(escape.escape(f"boot {number}: {release}{option}") + _host(boot.host), style)
        for mode in boot.modes:
            meaning = verdicts.meaning(mode.name, bus_lock=mode.text.startswith("#DB"))
            yield _fill(f"  {escape.escape(mode.text)}", style)
            yield textwrap.fill(f"{mode.name}: {meaning}", style.width, initial_indent=" " * 6,
                                subsequent_indent=" " * 6)  # fmt: skip
    if len(told) > _ROWS:
        yield f"  ... and {len(told) - _ROWS:,} more boots"


def _advice(verdict: Verdict, style: Style) -> Iterator[str]:
    yield "What to do"
    for what, command in verdict.advice:
        yield _fill(what, style)
        yield f"    {command}"


def _accounts(survey: Survey, read: list[Source], style: Style) -> Iterator[str]:
    for source in read:
        yield _fill(f"Read: {source.name}{', ' if source.note else ''}{source.note}", style).removeprefix(
            "  "
        )
    counts: Any = [f"{survey.matched[key]:,} {name}" for key, name in _MATCHED.items() if survey.matched[key]]
    yield _fill(
        f"{wording.plural(survey.tally.lines, 'line')} = {' + '.join([*counts, f'{survey.other:,} other'])}",
        style,
    )
    for count, text in (
        (survey.beyond, "of traps of further threads, which are not shown: too many"),
        (survey.tally.cut, "too long; only the beginning was looked at"),
    ):
        if count:
            yield _fill(f"{wording.plural(count, 'line')} {text}", style)
    for sample in survey.samples:
        yield _fill(f"unknown form: {escape.escape(sample)}", style)
    if any(_as_it_stands(thread.first) for thread in survey.traps()):
        yield _fill("Times without UTC are as the log has them: its year or zone is not known.", style)


def _as_it_stands(stamp: Stamp) -> bool:
    return bool(stamp.text) and stamp.wall_ns is None and (stamp.boot_ns is None or ":" in stamp.text)


def _host(name: str) -> str:
    return f" on {escape.escape(name)}" if name else ""


def _fill(text: str, style: Style) -> str:
    return textwrap.fill(text, style.width, initial_indent="  ", subsequent_indent="  ")


def _indent(text: str) -> str:
    return textwrap.indent(text, "  ")
