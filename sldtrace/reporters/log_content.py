"""What `sldtrace log --format json` prints: one frozen dataclass for each object."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from sldtrace.kernlog import verdict as verdicts
from sldtrace.kernlog.attribution import Attribution
from sldtrace.kernlog.parties import Party
from sldtrace.kernlog.prefix import Stamp
from sldtrace.kernlog.sources import Source
from sldtrace.kernlog.survey import Boot, Survey, Thread
from sldtrace.kernlog.verdict import Verdict
from sldtrace.text.escape import comm, escape
from sldtrace.text.phrases import address

if TYPE_CHECKING:  # it needs pandas, which the log alone does not
    from sldtrace.kernlog.join import Join

VERSION = 2
"""Grows when a key changes its meaning or goes away."""


@dataclass(frozen=True)
class VerdictContent:
    """What the log amounts to."""

    kind: Annotated[
        str,
        "`guest-split-locks`, `split-locks` (of programs), `bus-locks`, `kernel-split-lock`, `suppressed` "
        "(only suppressed messages), `detection-off`, `nothing` or `unknown` (it cannot be said)",
    ]
    sentence: str
    understood: Annotated[
        bool, "all that looks like split-lock detection was, and the logs have lines of a kernel"
    ]
    matters: Annotated[Sequence[str], "does it matter, and why"]


@dataclass(frozen=True)
class TimeContent:
    """A time in the log; null: not known."""

    text: Annotated[str | None, "as the log has it"]
    wall_ns: Annotated[int | None, "since 1970, UTC"]
    local: Annotated[str | None, "ISO 8601 without zone"]
    boot_ns: Annotated[int | None, "since boot"]


@dataclass(frozen=True)
class AddressContent:
    """An address at which a thread took a split lock."""

    address: Annotated[str, "hexadecimal"]
    lines: int


@dataclass(frozen=True)
class AttributionContent:
    """Whose instruction it was."""

    who: Annotated[str, "`guest`, `guest or VMM`, `VMM` (its own code) or `program`"]
    certainty: Annotated[str, "`certain`, `probable` or `possible`"]
    reason: str
    vmm: Annotated[str | None, "of the thread, by its name; null: not known"]


@dataclass(frozen=True)
class PartyContent:
    """Threads of one VM or one program, as far as the log shows."""

    name: str
    host: str
    boot: Annotated[int, "index into `boots`"]
    bus_lock: Annotated[bool, "#DB, not #AC"]
    attribution: AttributionContent
    threads: Annotated[Sequence[int], "indexes into `threads`"]
    together_by: Annotated[str | None, "why they belong together; null: it is one thread"]
    addresses: Sequence[AddressContent]
    lines: int
    span_ns: Annotated[int | None, "from the first line to the last one; null: not known"]


@dataclass(frozen=True)
class ThreadContent:
    """The lines of one thread: the same host, boot, kind, name, TID and origin."""

    host: str
    boot: Annotated[int, "index into `boots`"]
    comm: str
    tid: int
    vm: Annotated[str | None, "of the running system only; null: it has ended, or is no VM"]
    vcpu: Annotated[int | None, "null: not known"]
    guest: Annotated[bool, "it was an instruction of a guest, or may have been"]
    attribution: AttributionContent
    kind: str
    origin: Annotated[str | None, "`guest`, `user` or null: not known"]
    addresses: Annotated[Sequence[AddressContent], "at most 16"]
    lines: Annotated[int, "how many"]
    line: Annotated[int, "number of the first"]
    first: TimeContent
    last: TimeContent


@dataclass(frozen=True)
class ModeContent:
    """What the kernel logged at boot about split-lock detection."""

    mode: str
    message: str
    meaning: str


@dataclass(frozen=True)
class BootContent:
    """One boot of one host."""

    host: str
    id: Annotated[str, "of the journal"]
    kernel: str
    hypervisor: Annotated[str | None, "that this kernel runs under: the log is a guest's"]
    split_lock_detect: Annotated[str | None, "the option on the kernel's command line"]
    modes: Sequence[ModeContent]


@dataclass(frozen=True)
class OopsContent:
    """A split lock of the host's own kernel."""

    host: str
    boot: Annotated[int, "index into `boots`"]
    at: TimeContent
    function: str | None


@dataclass(frozen=True)
class LinesContent:
    """The account of lines: read = with_message + other."""

    read: int
    with_message: int
    other: int
    matched: Annotated[Mapping[str, int], "messages by class; a line may have several"]
    forms: Annotated[Mapping[str, int], "messages by the kind of line that they were read from"]
    without_time: Annotated[int, "lines of traps"]
    without_address: Annotated[int, "lines of traps, where it is cut off or damaged"]
    cut: Annotated[int, "longer than 64 KiB: only their beginning was read"]
    beyond_threads: Annotated[int, "of traps of threads after the first 20,000, which are not listed"]


@dataclass(frozen=True)
class SourceContent:
    """Where the log was read from."""

    name: str
    note: Annotated[str, "what may be missing from it"]
    packing: Annotated[Sequence[str], "what was undone to read it, outermost first"]
    damage: Annotated[str | None, "why the rest of it was not read; null: all of it was"]
    lines: int


@dataclass(frozen=True)
class RemedyContent:
    """What to do, the command or option for it, and what it costs."""

    what: str
    command: str | None
    cost: str


@dataclass(frozen=True)
class PairContent:
    """A thread of the log and the thread of the recording with the same TID."""

    thread: Annotated[int, "index into `threads`"]
    tgid: int
    tid: int
    vm: str | None
    traps: int
    when: Annotated[str, "`before`, `during`, `after` or `unknown`: the lines, by the recording's time"]
    same_name: Annotated[bool | None, "null: not known"]
    same_address: Annotated[bool | None, "null: not known"]


@dataclass(frozen=True)
class UnloggedContent:
    """A thread that trapped in the recording and has no line in the log."""

    process: str
    tgid: int
    thread: str
    tid: int
    vcpu: int | None
    vm: str
    vm_uuid: str
    vmm: str
    traps: int


@dataclass(frozen=True)
class UntrappedContent:
    """A thread of the log that did not trap in the recording."""

    thread: Annotated[int, "index into `threads`"]
    when: str


@dataclass(frozen=True)
class JoinContent:
    """The log compared with a recording."""

    pairs: Sequence[PairContent]
    without_line: Sequence[UnloggedContent]
    without_trap: Sequence[UntrappedContent]
    by_boot_clock: Annotated[bool, "times since boot were compared as if both were of the same boot"]


@dataclass(frozen=True)
class LogContent:
    """The whole object."""

    version: Annotated[int, "2; grows when a key changes its meaning or goes away"]
    verdict: VerdictContent
    parties: Annotated[Sequence[PartyContent], "VMs and programs, in the order of their first lines"]
    threads: Annotated[Sequence[ThreadContent], "in the order of their first lines"]
    boots: Sequence[BootContent]
    kernel_oopses: Sequence[OopsContent]
    suppressed: Annotated[Mapping[str, int], "messages that were not printed, by function"]
    lines: LinesContent
    unknown: Annotated[Sequence[str], "what was not understood, the first five"]
    sources: Sequence[SourceContent]
    limitations: Annotated[Sequence[str], "what to know to read this correctly"]
    remedies: Sequence[RemedyContent]
    recording: Annotated[JoinContent | None, "with --recording"]


def content(survey: Survey, read: list[Source], joined: "Join | None", verdict: Verdict) -> LogContent:
    """The object; everything in it is escaped."""
    return LogContent(
        version=VERSION,
        verdict=VerdictContent(verdict.kind, verdict.sentence, verdict.understood, verdict.matters),
        parties=_parties(survey, verdict.parties),
        threads=[_thread(thread) for thread in survey.traps()],
        boots=[_boot(boot) for boot in survey.boots],
        kernel_oopses=[
            OopsContent(escape(oops.host), oops.boot, _time(oops.stamp), escape(oops.function) or None)
            for oops in survey.oopses
        ],
        suppressed=dict(survey.suppressed),
        lines=LinesContent(
            read=survey.tally.lines,
            with_message=survey.matched_lines,
            other=survey.other,
            matched={name: survey.matched[name] for name in sorted(survey.matched)},
            forms={name: survey.forms[name] for name in sorted(survey.forms)},
            without_time=survey.timeless,
            without_address=survey.no_address,
            cut=survey.tally.cut,
            beyond_threads=survey.beyond,
        ),
        unknown=[escape(sample) for sample in survey.samples],
        sources=[
            SourceContent(each.name, each.note, each.packing, each.damage or None, each.lines)
            for each in read
        ],
        limitations=verdict.limits,
        remedies=[RemedyContent(each.what, each.command or None, each.cost) for each in verdict.remedies],
        recording=_joined(survey, joined) if joined else None,
    )


def _parties(survey: Survey, parties: list[Party]) -> list[PartyContent]:
    place = {id(thread): number for number, thread in enumerate(survey.traps())}
    return [
        PartyContent(
            name=party.name,
            host=escape(party.host),
            boot=party.boot,
            bus_lock=party.bus_lock,
            attribution=_attribution(party.attribution),
            threads=[place[id(thread)] for thread in party.threads],
            together_by=party.by or None,
            addresses=_addresses(party.addresses),
            lines=party.lines,
            span_ns=party.span_ns,
        )
        for party in parties
    ]


def _attribution(given: Attribution) -> AttributionContent:
    return AttributionContent(given.who, given.certainty, given.reason, given.vmm or None)


def _addresses(given: Counter[int]) -> list[AddressContent]:
    return [AddressContent(address(where), lines) for where, lines in given.most_common()]


def _thread(thread: Thread) -> ThreadContent:
    return ThreadContent(
        host=escape(thread.host),
        boot=thread.boot,
        comm=comm(thread.comm),
        tid=thread.tid,
        vm=escape(thread.vm) or None,
        vcpu=thread.vcpu,
        guest=thread.guest,
        attribution=_attribution(thread.attribution),
        kind=thread.kind,
        origin=thread.origin or None,
        addresses=_addresses(thread.addresses),
        lines=thread.lines,
        line=thread.line,
        first=_time(thread.first),
        last=_time(thread.last),
    )


def _boot(boot: Boot) -> BootContent:
    modes = [
        ModeContent(
            mode.name,
            escape(mode.text),
            verdicts.meaning(mode.name, bus_lock=mode.text.startswith("#DB")),
        )
        for mode in boot.modes
    ]
    return BootContent(
        escape(boot.host),
        escape(boot.id),
        escape(boot.kernel),
        escape(boot.hypervisor) or None,
        escape(boot.option) or None,
        modes,
    )


def _time(stamp: Stamp) -> TimeContent:
    return TimeContent(escape(stamp.text) or None, stamp.wall_ns, stamp.local, stamp.boot_ns)


# A logged thread is named by its place in `threads`.
def _joined(survey: Survey, joined: "Join") -> JoinContent:
    place = {id(thread): number for number, thread in enumerate(survey.traps())}
    return JoinContent(
        pairs=[
            PairContent(
                thread=place[id(pair.logged)],
                tgid=pair.recorded.who.tgid,
                tid=pair.recorded.who.tid,
                vm=pair.recorded.who.vm or None,
                traps=pair.recorded.traps,
                when=pair.when,
                same_name=pair.same_name,
                same_address=pair.same_address,
            )
            for pair in joined.pairs
        ],
        without_line=[UnloggedContent(**vars(each.who), traps=each.traps) for each in joined.without_line],
        without_trap=[UntrappedContent(place[id(thread)], when) for thread, when in joined.without_trap],
        by_boot_clock=joined.by_boot_clock,
    )
