"""The report of `sldtrace log`: verdict, threads in order, limitations, what to do."""

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from sldtrace.kernlog import attribution
from sldtrace.kernlog import verdict as verdicts
from sldtrace.kernlog.parties import Party
from sldtrace.kernlog.prefix import Stamp
from sldtrace.kernlog.sources import Source
from sldtrace.kernlog.survey import Survey, Thread
from sldtrace.kernlog.verdict import Verdict
from sldtrace.reporters import log_content, wording
from sldtrace.reporters.document import (
    Block,
    Cell,
    Column,
    Report,
    Section,
    Step,
    Steps,
    Table,
    Text,
    Tone,
    Unit,
)
from sldtrace.text.escape import comm, escape
from sldtrace.text.phrases import address

if TYPE_CHECKING:  # it needs pandas, which the log alone does not
    from sldtrace.kernlog.join import Join, Pair, Trapping

_ROWS = 40  # of a table; JSON has all
_PLACES = 3  # addresses that are named
_TONES = {
    verdicts.NOTHING: Tone.GOOD,
    verdicts.OFF: Tone.NOTICE,
    verdicts.UNKNOWN: Tone.UNKNOWN,
    verdicts.BUS_LOCKS: Tone.WARNING,
    verdicts.PROGRAMS: Tone.WARNING,
    verdicts.SUPPRESSED_ONLY: Tone.WARNING,
}
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
    "hypervisor": "about a hypervisor",
    "oops": "of oopses",
    "unknown": "not understood",
    "blob": "not shown by journalctl",
    "not_kernel": "by another program than the kernel",
}
_NO_NAME = "(no name)"


def build(survey: Survey, read: list[Source], joined: "Join | None", verdict: Verdict) -> Report:
    """The whole report; `joined` where the log was compared with a recording."""
    content = log_content.content(survey, read, joined, verdict)
    return Report(content, list(_sections(survey, read, joined, verdict)))


def _sections(
    survey: Survey, read: list[Source], joined: "Join | None", verdict: Verdict
) -> Iterator[Section]:
    tone = _TONES.get(verdict.kind, Tone.CRITICAL) if verdict.understood else Tone.CRITICAL
    yield Section(verdict.sentence, tone=tone)
    if verdict.parties:
        yield Section("To whom it happened", list(_parties(survey, verdict.parties)))
    if verdict.matters:
        yield Section("Does it matter", [Text(text) for text in verdict.matters])
    if verdict.remedies:
        steps = tuple(Step(each.what, each.cost, each.command or None) for each in verdict.remedies)
        yield Section("What to do", [Steps(steps)])
    if threads := list(survey.traps()):
        yield Section("Threads, in the order of the log", list(_threads(survey, threads)))
    if joined:
        yield Section("Compared with the recording", list(_joined(joined)))
    if verdict.limits:
        yield Section("Limitations", [Text(text) for text in verdict.limits])
    if survey.oopses:
        yield Section("Split locks of the host's kernel (oops)", list(_oopses(survey)))
    if boots := list(_boots(survey)):
        yield Section("Logged at boot", boots)
    yield Section("Read", list(_accounts(survey, read)))


# One paragraph for each VM or program.
def _parties(survey: Survey, parties: list[Party]) -> Iterator[Block]:
    for party in parties[:_ROWS]:
        host = _host(party.host) if len(survey.hosts) > 1 else ""
        yield Text(f"{party.name}{host}: {'; '.join(_about(party))}")
    if len(parties) > _ROWS:
        yield Text(f"... and {len(parties) - _ROWS:,} more: see --format json")


def _about(party: Party) -> Iterator[str]:
    tids = party.tids
    which = f"TID {min(tids)}" if len(tids) == 1 else f"TIDs {min(tids)} to {max(tids)}"
    yield f"{party.count} ({which}{', together by ' + party.by if party.by else ''})"
    places = party.addresses.most_common(_PLACES)
    shown = [
        f"{address(where)} ({attribution.place(where, party.attribution.who == attribution.GUEST)})"
        for where, _ in places
    ]
    more = f" and {len(party.addresses) - _PLACES} more" if len(party.addresses) > _PLACES else ""
    if shown:
        yield f"at {', '.join(shown)}{more}"
    first, last = when(party.first), when(party.last)
    if first and (party.lines == 1 or first == last):
        yield first
    elif first:
        span = party.span_ns
        yield f"{first} to {last}{f' ({wording.length(span)})' if span else ''}"
    yield wording.plural(party.lines, "line")
    who = {
        attribution.GUEST: "an instruction of the guest",
        attribution.EITHER: "an instruction of the guest, or of the VMM itself",
        attribution.VMM: "an instruction of the VMM itself, not of a guest",
        attribution.PROGRAM: "an instruction of a program",
    }[party.attribution.who]
    yield f"{who}, {party.attribution.certainty}: {party.attribution.reason}"


def when(stamp: Stamp, otherwise: str | None = None) -> str | None:
    """A time as well as the log has it, safe to print: in UTC, as the log writes it, or since boot."""
    if stamp.wall_ns is not None:
        return wording.utc(stamp.wall_ns)
    if stamp.local:
        return stamp.local.replace("T", " ")
    if stamp.boot_ns is not None and stamp.text[:1].isdigit() and ":" not in stamp.text:
        return f"{stamp.boot_ns / 1e9:.3f} s after boot"
    return escape(stamp.text) or otherwise


# Columns in which there is nothing are left out.
def _threads(survey: Survey, threads: list[Thread]) -> Iterator[Block]:
    rows = [_row(survey, thread) for thread in threads[:_ROWS]]
    columns = [column for column in rows[0] if any(row[column] is not None for row in rows)]
    cells = tuple(tuple(row[column] for column in columns) for row in rows)
    yield Table(tuple(columns), cells, stacked=True)
    if rest := len(threads) - len(rows):
        yield Text(f"... and {wording.plural(rest, 'thread')} more: see --format json")


def _row(survey: Survey, thread: Thread) -> dict[Column, Cell]:
    others = f" +{len(thread.addresses) - 1}" if len(thread.addresses) > 1 else ""
    where = f"{thread.addresses.most_common(1)[0][0]:#x}{others}" if thread.addresses else None
    vcpu = None if not thread.guest else thread.vcpu if thread.vcpu is not None else "?"
    return {
        Column("thread"): comm(thread.comm) or _NO_NAME,
        Column("TID", Unit.NUMBER): thread.tid,
        Column("host"): escape(thread.host) or None if len(survey.hosts) > 1 else None,
        Column("boot", Unit.NUMBER): thread.boot + 1 if len(survey.boots) > len(survey.hosts) else None,
        Column("VM"): escape(thread.vm) or None,
        Column("vCPU", Unit.NUMBER): vcpu,
        Column("kind"): _KINDS[thread.kind] + (f" ({thread.origin})" if thread.origin else ""),
        Column("address"): where,
        Column("lines", Unit.COUNT): thread.lines,
        Column("first"): when(thread.first),
        Column("last"): when(thread.last) if thread.lines > 1 else None,
    }


def _joined(joined: "Join") -> Iterator[Block]:
    yield Text(
        f"{wording.plural(len(joined.pairs), 'logged thread')} trapped in the recording, "
        f"{len(joined.without_trap):,} did not; {wording.plural(len(joined.without_line), 'thread')} trapped "
        "and the log has no line of it."
    )
    rows = [_pair(pair) for pair in joined.pairs]
    rows += [_unlogged(thread) for thread in joined.without_line]
    rows += [_untrapped(thread, place) for thread, place in joined.without_trap]
    columns = (
        Column("thread"),
        Column("TID", Unit.NUMBER),
        Column("traps", Unit.COUNT),
        Column("line"),
        Column("note"),
    )
    if rows:
        yield Table(columns, tuple(rows[:_ROWS]), stacked=True)
    if len(rows) > _ROWS:
        yield Text(f"... and {len(rows) - _ROWS:,} more: see --format json")
    if joined.by_boot_clock:
        yield Text("Times since boot were compared as if log and recording were of the same boot.")
    if any(pair.when == "unknown" for pair in joined.pairs):
        yield Text("Times without year or zone were not compared; journalctl -k -o json gives both.")


def _pair(pair: "Pair") -> tuple[Cell, ...]:
    notes = {
        "before": "first trapped before the recording",
        "after": "perhaps another thread: TIDs are reused",
    }
    note = [notes[pair.when]] if pair.when in notes else []
    if pair.same_name is False:
        note.append(f"recorded as {pair.recorded.who.thread}")
    if pair.same_address is False:
        note.append("trapped elsewhere in the recording")
    name = comm(pair.logged.comm) or _NO_NAME
    return name, pair.logged.tid, pair.recorded.traps, pair.when, "; ".join(note) or "the same"


def _unlogged(thread: "Trapping") -> tuple[Cell, ...]:
    name = thread.who.thread or thread.who.process or _NO_NAME
    return name, thread.who.tid, thread.traps, "none", "suppressed, or not in this part of the log"


def _untrapped(thread: Thread, place: str) -> tuple[Cell, ...]:
    note = "other boot or host, or lost?" if place == "during" else "did not trap while recorded"
    return comm(thread.comm) or _NO_NAME, thread.tid, 0, place, note


def _oopses(survey: Survey) -> Iterator[Block]:
    for oops in survey.oopses[:_ROWS]:
        where = f" in {escape(oops.function)}" if oops.function else ""
        yield Text(f"{when(oops.stamp, otherwise='time not known')}{where}{_host(oops.host)}")
    if survey.matched["oops"] > _ROWS:
        yield Text(f"... and {survey.matched['oops'] - _ROWS:,} more")


def _boots(survey: Survey) -> Iterator[Block]:
    logged = [
        (number, each)
        for number, each in enumerate(survey.boots, 1)
        if each.modes or each.option or each.hypervisor or each.kernel
    ]
    for number, boot in islice(logged, _ROWS):
        release = f"Linux {boot.kernel}" if boot.kernel else "kernel not named"
        option = f", split_lock_detect={boot.option}" if boot.option else ""
        yield Text(escape(f"boot {number}: {release}{option}") + _host(boot.host))
        if boot.hypervisor:
            yield Text(f"Hypervisor detected: {escape(boot.hypervisor)} (this log is a guest's)")
        for mode in boot.modes:
            meaning = verdicts.meaning(mode.name, bus_lock=mode.text.startswith("#DB"))
            yield Text(f"{escape(mode.text)} ({mode.name}: {meaning})")
    if len(logged) > _ROWS:
        yield Text(f"... and {len(logged) - _ROWS:,} more boots")


# What was read, by kind, and what was not.
def _accounts(survey: Survey, read: list[Source]) -> Iterator[Block]:
    for source in read:
        packing = f" ({', '.join(source.packing)})" if source.packing else ""
        lines = f": {wording.plural(source.lines, 'line')}" if len(read) > 1 else ""
        yield Text(f"{source.name}{packing}{lines}{', ' if source.note else ''}{source.note}")
        if source.damage:
            yield Text(f"NOT READ TO ITS END: {source.name}: {source.damage}")
    lines = wording.plural(survey.tally.lines, "line")
    yield Text(f"{lines} = {survey.matched_lines:,} about split locks or booting + {survey.other:,} other")
    counts = [f"{survey.matched[key]:,} {name}" for key, name in _MATCHED.items() if survey.matched[key]]
    if counts:
        yield Text(f"Messages: {', '.join(counts)}")
    for function, count in survey.suppressed.items():
        at = when(survey.suppressed_last[function])
        yield Text(
            f"Suppressed: {wording.plural(count, 'message')} of {escape(function)}, before {at or '?'}"
        )
    if survey.forms:
        forms = [f"{count:,} {form}" for form, count in survey.forms.most_common()]
        yield Text(f"Read as: {', '.join(forms)}")
    for count, text in (
        (survey.timeless, "of traps without a time"),
        (survey.no_address, "of traps without a whole address: cut off or damaged"),
        (survey.beyond, "of traps of further threads, which are not shown: too many"),
        (survey.tally.cut, "too long; only the beginning was read"),
    ):
        if count:
            yield Text(f"{wording.plural(count, 'line')} {text}")
    for sample in survey.samples:
        yield Text(f"not understood: {escape(sample)}")
    if any(_is_as_logged(thread.first) for thread in survey.traps()):
        yield Text("Times without UTC are as the log has them: its year or zone is not known.")


def _is_as_logged(stamp: Stamp) -> bool:
    return bool(stamp.text) and stamp.wall_ns is None and (stamp.boot_ns is None or ":" in stamp.text)


def _host(name: str) -> str:
    return f" on {escape(name)}" if name else ""
