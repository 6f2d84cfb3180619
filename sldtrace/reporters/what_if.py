"""The report of `sldtrace report --what-if`: predictions of the model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from sldtrace.dataset import subject
from sldtrace.dataset.subject import Subject
from sldtrace.dataset.trace import Trace
from sldtrace.host import signals
from sldtrace.model.sources import Kind
from sldtrace.prediction import recorded_penalty
from sldtrace.prediction.modes import Audit, Outlook
from sldtrace.prediction.predict import Prediction, WhatIf
from sldtrace.prediction.thread_profile import Profile
from sldtrace.reporters import wording
from sldtrace.reporters.document import Block, Cell, Column, Report, Section, Table, Text, Unit
from sldtrace.text.phrases import plural

Answers = Sequence[tuple[WhatIf, list[Prediction]]]

VERSION = 1
"""Of the JSON; grows when a key changes its meaning or goes away."""

_ASSUMED = (
    "Predicted by the model of the penalty (docs/model.md) for threads that do nothing but what they did "
    "when they were recorded, on CPUs that are free. A timer's time is that from KVM_RUN to its signal."
)
_MODES = (
    "off: nothing is detected, and a bus lock slows down memory for all.",
    "warn (kernel.split_lock_mitigate=1): each split lock that traps has the penalty; a livelock is a thread "
    "whose signals always end it. Where the CPU has no #AC for split locks, bus locks of programs are only "
    "logged.",
    "fatal: SIGBUS at the first split lock: to the VMM, with all its vCPUs, or to the program.",
    "ratelimit:N: programs have N bus locks a second, all together, and sleep otherwise; no signal ends that "
    "sleep. Bus locks of guests are not detected.",
    "There may be more split locks: where a trap switches detection off, the next ones are not seen.",
)
_COLUMNS = (
    Column("thread"),
    Column("signal"),
    Column("progress"),
    Column("traps/s", Unit.RATE),
    Column("recorded", Unit.RATE),
    Column("completed/s", Unit.RATE),
    Column("penalized", Unit.SHARE),
)


@dataclass(frozen=True)
class KernelContent:
    """The penalty of the recorded kernel."""

    generation: str
    known: Annotated[bool, "false: the version is not known, and the longest penalty is assumed"]
    always_early_below_ns: Annotated[int, "signals with shorter periods end every penalty early"]
    always_completes_above_ns: Annotated[int, "with longer periods every penalty completes"]
    sleep_shortest_ns: int
    sleep_longest_ns: int


@dataclass(frozen=True)
class ProfileContent:
    """What was recorded of a thread."""

    traps: int
    early_returns: int
    detection_off: int
    span_ns: Annotated[int, "from the first trap to the last"]
    penalty_share: Annotated[float, "share of that time"]
    signal: Annotated[int | None, "null: none was seen"]
    source: Annotated[Kind, "what decides when the next signal comes"]
    period_ns: int | None
    jitter_ns: int
    signals_used: Annotated[int, "signals that the source was worked out from"]


@dataclass(frozen=True)
class PredictionContent:
    """What one thread would do."""

    subject: Subject
    recorded: ProfileContent
    progress: Annotated[str, "`yes`, `no` or `chance`"]
    reason: str
    traps_per_s: float
    detection_off_per_s: Annotated[float, "penalties after which the thread makes progress"]
    penalty_share: Annotated[float, "share of the time"]


@dataclass(frozen=True)
class ChangeContent:
    """One change, and what it would do."""

    change: str
    assumed: Annotated[str | None, "what the prediction assumes beside the change"]
    threads: Sequence[PredictionContent]


@dataclass(frozen=True)
class OutlookContent:
    """A VM or a program, and what each mode of split_lock_detect= would do to it."""

    subject: Subject
    guest: bool
    threads: int
    traps_per_s: Annotated[float, "recorded, #AC"]
    bus_locks_per_s: Annotated[float, "recorded, #DB of a program or VM exits"]
    livelocked: Annotated[int, "warn: threads that would make no progress"]
    chance: Annotated[int, "warn: threads for which chance decides"]
    penalty_share: Annotated[float | None, "warn: mean share of their time; null: split locks do not trap"]
    fatal: Annotated[bool, "fatal: the VMM or the program would get SIGBUS"]
    asleep: Annotated[float | None, "ratelimit:N: share of the time; null: it does not apply"]


@dataclass(frozen=True)
class ModesContent:
    """`--what-if modes`."""

    limit: Annotated[int, "N of ratelimit:N"]
    outlooks: Sequence[OutlookContent]


@dataclass(frozen=True)
class WhatIfContent:
    """What `sldtrace report --what-if ... --format json` prints."""

    version: Annotated[int, "1; grows when a key changes its meaning or goes away"]
    simulated: bool
    kernel: KernelContent
    what_if: Sequence[ChangeContent]
    modes: Sequence[ModesContent]


def build(trace: Trace, answers: Answers, audits: Sequence[Audit] = ()) -> Report:
    """One section for each change: a table of threads, with the reasons below; and one for each audit."""
    return Report(_content(trace, answers, audits), list(_sections(trace, answers, audits)))


def _sections(trace: Trace, answers: Answers, audits: Sequence[Audit]) -> Iterator[Section]:
    if trace.simulated:
        yield Section(blocks=[Text(wording.SIMULATED)])
    for audit in audits:
        yield _audit(trace, audit)
    for change, predictions in answers:
        title = f"WHAT IF {change.text}"
        if not predictions:
            yield Section(title, [Text("This recording has no split-lock trap.")])
            continue
        parts = [Section(blocks=list(_reasons(predictions)))]
        if change.assumed:
            parts.append(Section(blocks=[Text(change.assumed)]))
        yield Section(title, [_table(trace, predictions)], parts)
    notes = [*wording.host(trace), _ASSUMED]
    if not recorded_penalty.penalty(trace).known:
        notes.append("The kernel's version is not known: the longest penalty is assumed.")
    yield Section("Assumed", [Text(line) for line in notes])


def _audit(trace: Trace, audit: Audit) -> Section:
    limited = f"ratelimit:{audit.limit}"
    title = f"WHAT IF split_lock_detect=off, warn, fatal, {limited}"
    if not audit.outlooks:
        return Section(title, [Text("This recording has no split-lock trap and no bus lock.")])
    columns = (
        Column("VM or program"),
        Column("traps/s", Unit.RATE),
        Column("bus locks/s", Unit.RATE),
        *(Column(name) for name in ("off", "warn", "fatal", limited)),
    )
    rows: list[tuple[Cell, ...]] = [
        (
            subject.process(trace.subject(each.tgid, each.tgid, None)),
            each.traps_per_s,
            each.bus_locks_per_s,
            "not detected",
            _warned(each),
            ("VMM killed" if each.guest else "killed") if each.fatal else "not detected",
            _limited(each),
        )
        for each in audit.outlooks
    ]
    return Section(title, [Table(columns, tuple(rows), stacked=True), *(Text(line) for line in _MODES)])


def _warned(each: Outlook) -> str:
    if not each.trapping:
        return "not detected" if each.guest else "logged"
    found = [f"{100 * each.penalty_share:.0f} % penalized"]
    if each.livelocked:
        found.append(f"livelock: {each.livelocked} of {plural(each.threads, 'thread')}")
    if each.chance:
        found.append(f"livelock by chance: {each.chance} of {plural(each.threads, 'thread')}")
    return ", ".join(found)


def _limited(each: Outlook) -> str:
    if each.asleep is None:
        return "not detected"
    return f"{100 * each.asleep:.0f} % asleep" if each.asleep else "logged"


def _table(trace: Trace, predictions: list[Prediction]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for number, each in enumerate(predictions, 1):
        profile = each.profile
        who = trace.subject(profile.tgid, profile.tid, profile.vcpu)
        recorded = profile.traps / (profile.span_ns / 1e9) if profile.span_ns else None
        rows.append(
            (
                f"{number} {wording.thread(who)}",
                _signal(profile),
                each.progress,
                each.traps_per_s,
                recorded,
                each.detection_off_per_s,
                each.penalty_share,
            )
        )
    return Table(_COLUMNS, tuple(rows), stacked=True)


def _signal(profile: Profile) -> str:
    source = profile.source
    if source.kind is Kind.NONE:
        return "none seen"
    name = signals.name(source.signo) if source.signo else "not seen"
    return f"{name} {source.kind.value} {wording.length(source.period_ns)}"


# Each reason once, with the threads that it holds for.
def _reasons(predictions: list[Prediction]) -> Iterator[Block]:
    who: dict[tuple[str, str], list[int]] = {}
    for number, each in enumerate(predictions, 1):
        who.setdefault((each.progress, each.reason), []).append(number)
    for (progress, reason), numbers in who.items():
        some = ", ".join(str(number) for number in numbers[:8]) + (", ..." if len(numbers) > 8 else "")
        yield Text(f"{some}: {progress}: {reason}")


def _content(trace: Trace, answers: Answers, audits: Sequence[Audit]) -> WhatIfContent:
    penalty = recorded_penalty.penalty(trace)
    return WhatIfContent(
        version=VERSION,
        simulated=trace.simulated,
        kernel=KernelContent(
            generation=penalty.generation.name,
            known=penalty.known,
            always_early_below_ns=penalty.always_early_below_ns,
            always_completes_above_ns=penalty.always_completes_above_ns,
            sleep_shortest_ns=penalty.shortest_sleep_ns,
            sleep_longest_ns=penalty.longest_sleep_ns,
        ),
        what_if=[
            ChangeContent(
                change=change.text,
                assumed=change.assumed,
                threads=[_prediction(trace, each) for each in predictions],
            )
            for change, predictions in answers
        ],
        modes=[
            ModesContent(audit.limit, [_outlook(trace, each) for each in audit.outlooks]) for audit in audits
        ],
    )


def _outlook(trace: Trace, each: Outlook) -> OutlookContent:
    return OutlookContent(
        subject=trace.subject(each.tgid, each.tgid, None),
        guest=each.guest,
        threads=each.threads,
        traps_per_s=round(each.traps_per_s, 3),
        bus_locks_per_s=round(each.bus_locks_per_s, 3),
        livelocked=each.livelocked,
        chance=each.chance,
        penalty_share=round(each.penalty_share, 4) if each.trapping else None,
        fatal=each.fatal,
        asleep=None if each.asleep is None else round(each.asleep, 4),
    )


def _prediction(trace: Trace, each: Prediction) -> PredictionContent:
    profile, source = each.profile, each.profile.source
    return PredictionContent(
        subject=trace.subject(profile.tgid, profile.tid, profile.vcpu),
        recorded=ProfileContent(
            traps=profile.traps,
            early_returns=profile.early_returns,
            detection_off=profile.detection_off,
            span_ns=profile.span_ns,
            penalty_share=round(profile.penalty_share, 4),
            signal=source.signo or None,
            source=source.kind,
            period_ns=source.period_ns or None,
            jitter_ns=source.jitter_ns,
            signals_used=profile.signals_used,
        ),
        progress=each.progress,
        reason=each.reason,
        traps_per_s=round(each.traps_per_s, 3),
        detection_off_per_s=round(each.detection_off_per_s, 3),
        penalty_share=round(each.penalty_share, 4),
    )
