"""Tells of a finding while it happens: on the screen, to a command, and by ending the recording."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sldtrace.capture.live.announcing import announcement
from sldtrace.capture.live.detector import Detector, Loop
from sldtrace.capture.live.on_finding import OnFinding
from sldtrace.host.vms.names import display_name
from sldtrace.model import early_returns as rule
from sldtrace.model.penalty import Penalty
from sldtrace.recording.layout import Records
from sldtrace.text.escape import escape

LOOP, LIVELOCK = rule.SLEEP, "livelock"
UNTIL = (LOOP, LIVELOCK)
"""What a recording can be ended by: any loop of early returns, or one with the verdict livelock."""


@dataclass(frozen=True)
class Alarms:
    """What to do about a finding.

    until: one of UNTIL; None: go on. tail_ns: how much is still recorded after that. command: for
    `--on-finding`.
    """

    until: str | None = None
    tail_ns: int = 5_000_000_000
    command: str | None = None


class Alarm:
    """Watches the records of one recording as they are drained.

    say: takes a line of news; describe: what is known of a process (host.vms.process.describe), by TGID.
    """

    def __init__(
        self,
        alarms: Alarms,
        penalty: Penalty,
        cores: Mapping[int, int],
        say: Callable[[str], None],
        describe: Callable[[int], Mapping[str, Any]],
    ) -> None:
        self._alarms = alarms
        self._detector = Detector(penalty, cores)
        self._say = say
        self._describe = describe
        self._command = OnFinding(alarms.command, say) if alarms.command is not None else None
        self.end_ns: int | None = None
        """When the recording is to end (CLOCK_MONOTONIC), once what it waited for has been found."""

    def take(self, kind: str, records: Records) -> None:
        """Records of that kind, as drained; traps before the detection records of the same round."""
        self._detector.take(kind, records)

    def round(self, now_ns: int, path: str) -> None:
        """To be called after each round of draining; path: the file that is being written."""
        for loop in self._detector.advance(now_ns):
            self._found(loop, now_ns, path)
        if self._command is not None:
            self._command.poll()

    def close(self, now_ns: int, path: str) -> None:
        """Judges what is left, and lets the command end."""
        for loop in self._detector.finish():
            self._found(loop, now_ns, path)
        if self._command is not None:
            self._command.close()

    def _found(self, loop: Loop, now_ns: int, path: str) -> None:
        process = dict(self._describe(loop.tgid))
        self._say(_news(loop, process))
        if self._command is not None:
            _, severity = rule.verdict(loop.livelock)
            finding = announcement(loop, process, self._detector.penalty, path)
            self._command.offer(loop.tgid, loop.tid, severity, finding)
        wanted = self._alarms.until
        if self.end_ns is None and (wanted == LOOP or (wanted == LIVELOCK and loop.livelock)):
            self.end_ns = now_ns + self._alarms.tail_ns


def _news(loop: Loop, process: Mapping[str, Any]) -> str:
    verdict, _ = rule.verdict(loop.livelock)
    vcpu = f"vCPU {loop.vcpu}" if loop.vcpu >= 0 else f"thread {loop.tid}"
    vm = process.get("vm")
    name = (display_name(vm) if vm else "") or str(process.get("comm", ""))
    who = f"{vcpu} of {escape(name, 64)} (PID {loop.tgid})" if name else f"{vcpu} of PID {loop.tgid}"
    return f"found: {verdict}: {who} at address {loop.rip:#x}"
