"""What a kernel log says, for programs: one JSON object; docs/kernel-log.md describes it."""

import json
from typing import TYPE_CHECKING, Any

from sldtrace.kernlog import verdict as verdicts
from sldtrace.kernlog.prefix import Stamp
from sldtrace.kernlog.sources import Source
from sldtrace.kernlog.survey import Survey, Thread
from sldtrace.kernlog.verdict import Verdict
from sldtrace.text import escape

if TYPE_CHECKING:  # it needs pandas, which the log alone does not
    from sldtrace.kernlog.join import Join


def render(survey: Survey, read: list[Source], joined: "Join | None", verdict: Verdict) -> str:
    """The object as text, ASCII only; `recording` is in it where the log was compared with one."""
    content: dict[str, Any] = {
        "verdict": {"kind": verdict.kind, "sentence": verdict.sentence},
        "threads": [_thread(thread) for thread in survey.traps()],
        "boots": [
            {
                "host": escape.escape(boot.host),
                "id": escape.escape(boot.id),
                "kernel": escape.escape(boot.kernel),
                "split_lock_detect": escape.escape(boot.option) or None,
                "modes": [
                    {
                        "mode": mode.name,
                        "message": escape.escape(mode.text),
                        "meaning": verdicts.meaning(mode.name, bus_lock=mode.text.startswith("#DB")),
                    }
                    for mode in boot.modes
                ],
            }
            for boot in survey.boots
        ],
        "kernel_oopses": [
            {
                "host": escape.escape(oops.host),
                "boot": oops.boot,
                "at": _stamp(oops.stamp),
                "function": escape.escape(oops.function) or None,
            }
            for oops in survey.oopses
        ],
        "suppressed": dict(survey.suppressed),
        "lines": {
            "read": survey.tally.lines,
            "matched": {name: survey.matched[name] for name in sorted(survey.matched)},
            "other": survey.other,
            "cut": survey.tally.cut,
            "beyond_threads": survey.beyond,
        },
        "unknown": [escape.escape(sample) for sample in survey.samples],
        "sources": [{"name": source.name, "note": source.note} for source in read],
        "limits": verdict.limits,
        "advice": [{"what": what, "command": command} for what, command in verdict.advice],
    }
    if joined:
        content["recording"] = _joined(survey, joined)
    return json.dumps(content, indent=2)


def _thread(thread: Thread) -> dict[str, Any]:
    return {
        "host": escape.escape(thread.host),
        "boot": thread.boot,
        "comm": escape.comm(thread.comm),
        "tid": thread.tid,
        "vm": escape.escape(thread.vm) or None,
        "vcpu": thread.vcpu,
        "guest": thread.guest,
        "kind": thread.kind,
        "origin": thread.origin or None,
        "addresses": [
            {"address": f"{address:#x}", "lines": lines} for address, lines in thread.addresses.most_common()
        ],
        "lines": thread.lines,
        "line": thread.line,
        "first": _stamp(thread.first),
        "last": _stamp(thread.last),
    }


def _stamp(stamp: Stamp) -> dict[str, Any]:
    return {
        "text": escape.escape(stamp.text) or None,
        "wall_ns": stamp.wall_ns,
        "local": stamp.local,
        "boot_ns": stamp.boot_ns,
    }


# A logged thread is named by its place in `threads`.
def _joined(survey: Survey, joined: "Join") -> dict[str, Any]:
    place = {id(thread): number for number, thread in enumerate(survey.traps())}
    return {
        "pairs": [
            {
                "thread": place[id(pair.logged)],
                "tgid": pair.recorded.who.tgid,
                "tid": pair.recorded.who.tid,
                "vm": pair.recorded.who.vm or None,
                "traps": pair.recorded.traps,
                "when": pair.when,
                "same_name": pair.same_name,
                "same_address": pair.same_address,
            }
            for pair in joined.pairs
        ],
        "without_line": [{**vars(thread.who), "traps": thread.traps} for thread in joined.without_line],
        "without_trap": [{"thread": place[id(thread)], "when": when} for thread, when in joined.without_trap],
        "by_boot_clock": joined.by_boot_clock,
    }
