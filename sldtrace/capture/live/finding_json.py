"""A finding of the live detector as JSON: the keys of `sldtrace report --format json` that are known."""

import json
from typing import Any

from sldtrace.engine.loops import Loop
from sldtrace.host import facts
from sldtrace.model import early_returns as rule
from sldtrace.model.penalty import Penalty
from sldtrace.text.escape import escape
from sldtrace.text.phrases import address


def finding_json(loop: Loop, process: dict[str, Any], penalty: Penalty, path: str) -> bytes:
    """One line of JSON, ASCII only, for a command's standard input.

    Keys mean the same as in `sldtrace report --format json`: kind, severity, verdict, subject (process, tgid,
    tid, vcpu or null), rip, start_ns, end_ns, start_wall_ns, end_wall_ns, numbers (guest, loops, in_loops_ns,
    longest_ns, early_returns, always_early_below_ns, always_completes_above_ns, sleep_shortest_ns,
    sleep_longest_ns). They describe the loop so far; it may continue. `process`: see
    host.vms.process.describe. `recording`: the file that is being written.
    """
    verdict, severity = rule.verdict(loop.livelock)
    clock = facts.clock()
    offset = clock["realtime_ns"] - clock["monotonic_ns"]
    content = {
        "kind": loop.kind,
        "severity": severity,
        "verdict": verdict,
        "subject": {
            "process": escape(str(process.get("comm", ""))),
            "tgid": loop.tgid,
            "tid": loop.tid,
            "vcpu": loop.vcpu if loop.vcpu >= 0 else None,
        },
        "rip": address(loop.rip),
        "start_ns": loop.start_ns,
        "end_ns": loop.end_ns,
        "start_wall_ns": loop.start_ns + offset,
        "end_wall_ns": loop.end_ns + offset,
        "numbers": {
            "guest": loop.guest,
            "loops": loop.loops,
            "in_loops_ns": loop.in_loops_ns,
            "longest_ns": loop.longest_ns,
            "early_returns": loop.early_returns,
            "always_early_below_ns": penalty.always_early_below_ns,
            "always_completes_above_ns": penalty.always_completes_above_ns,
            "sleep_shortest_ns": penalty.shortest_sleep_ns,
            "sleep_longest_ns": penalty.longest_sleep_ns,
        },
        "process": process,
        "recording": path,
    }
    return json.dumps(content).encode() + b"\n"
