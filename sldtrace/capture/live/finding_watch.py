"""Reports a finding while the recording runs: in a message, to a command, and by ending the recording."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sldtrace.capture.live.detector import LONGEST_PAUSE_NS, Detector
from sldtrace.capture.live.finding_json import finding_json
from sldtrace.capture.live.on_finding import OnFinding
from sldtrace.engine.loops import Loop
from sldtrace.host.vms.names import process_label
from sldtrace.host.vms.threads import vcpu_of_thread
from sldtrace.model import early_returns as rule
from sldtrace.model.penalty import Penalty
from sldtrace.recording.layout import Records
from sldtrace.text.escape import escape
from sldtrace.text.phrases import address

LOOP, LIVELOCK = rule.SLEEP, "livelock"
UNTIL = (LOOP, LIVELOCK)
"""Values of --until: any early-return loop, or one with the verdict livelock."""


@dataclass(frozen=True)
class FindingOptions:
    """What to do when there is a finding."""

    until: str | None = None  # one of UNTIL: end the recording
    tail_ns: int = 5_000_000_000  # ... so much later
    command: str | None = None  # --on-finding


class FindingWatch:
    """Looks for findings in the records of one recording as they are read.

    on_message: called with a line of text; describe: host.vms.process.describe of a TGID, as far as known.
    """

    def __init__(
        self,
        findings: FindingOptions,
        penalty: Penalty,
        cores: Mapping[int, int],
        on_message: Callable[[str], None],
        describe: Callable[[int], Mapping[str, Any]],
        longest_pause_ns: int = LONGEST_PAUSE_NS,
    ) -> None:
        self._findings = findings
        self.detector = Detector(penalty, cores, longest_pause_ns=longest_pause_ns)
        self._on_message = on_message
        self._describe = describe
        self._command = OnFinding(findings.command, on_message) if findings.command is not None else None
        self.end_ns: int | None = None
        """When the recording has to end (CLOCK_MONOTONIC ns); None: no finding of `until` yet."""

    def add(self, kind: str, records: Records) -> None:
        """Takes records of that kind; traps before the detection records that were read with them."""
        self.detector.add(kind, records)

    def check(self, now_ns: int, path: str) -> None:
        """Reports new findings. Call it each time the rings have been read; path: the file being written."""
        for loop in self.detector.advance(now_ns):
            self._report(loop, now_ns, path)
        if self._command is not None:
            self._command.poll()

    def close(self, now_ns: int, path: str) -> None:
        """Reports the last findings, and waits for the command."""
        for loop in self.detector.finish():
            self._report(loop, now_ns, path)
        if self._command is not None:
            self._command.close()

    def _report(self, loop: Loop, now_ns: int, path: str) -> None:
        process = dict(self._describe(loop.tgid))
        # The records have the vCPU from its first VM exit on that was watched; its name is there before.
        if loop.vcpu < 0 and (named := vcpu_of_thread(loop.tgid, loop.tid)) is not None:
            loop = replace(loop, vcpu=named)
        self._on_message(_message(loop, process))
        if self._command is not None:
            _, severity = rule.verdict(loop.livelock)
            finding = finding_json(loop, process, self.detector.penalty, path)
            self._command.offer(loop.tgid, loop.tid, severity, finding)
        until = self._findings.until
        if self.end_ns is None and (until == LOOP or (until == LIVELOCK and loop.livelock)):
            self.end_ns = now_ns + self._findings.tail_ns


def _message(loop: Loop, process: Mapping[str, Any]) -> str:
    verdict, _ = rule.verdict(loop.livelock)
    vcpu = f"vCPU {loop.vcpu}" if loop.vcpu >= 0 else f"thread {loop.tid}"
    name = process_label(process)
    who = f"{vcpu} of {escape(name, 64)} (PID {loop.tgid})" if name else f"{vcpu} of PID {loop.tgid}"
    return f"found: {verdict}: {who} at address {address(loop.rip)}"
