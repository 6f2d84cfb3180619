"""The part of a timeline between two times of the day."""

from dataclasses import dataclass

from sldtrace.dataset.trace import Trace
from sldtrace.errors import SldtraceError
from sldtrace.recording.joined import JoinedRecording
from sldtrace.recording.target import shown
from sldtrace.recording.timeline import Timeline
from sldtrace.recording.window import Window


@dataclass(frozen=True)
class Between:
    """From `since_ns` on and before `until_ns`: ns since 1970, UTC; None: from the beginning, to the end."""

    since_ns: int | None = None
    until_ns: int | None = None

    def part(self, recording: Timeline) -> Timeline | None:
        """What the recording has of that time; itself if that is all of it, None if there is nothing.

        Raises SldtraceError if the recording does not say what time it was.
        """
        trace = Trace(recording)
        begin, end = trace.span_ns
        start, stop = self._clock(trace, self.since_ns, begin), self._clock(trace, self.until_ns, end + 1)
        if start <= begin and stop > end:
            return recording
        start, stop = max(start, begin), min(stop, end + 1)
        if start >= stop:
            return None
        if isinstance(recording, JoinedRecording):
            # The other files need not be read.
            parts = zip(recording.recordings, recording.parts, strict=True)
            kept = [each for each, one in parts if one.start_ns < stop and one.end_ns > start]
            recording = JoinedRecording(kept or recording.recordings[:1])
        return Window(recording, (start, trace.wall_ns(start)), (stop, trace.wall_ns(stop)))

    @staticmethod
    def _clock(trace: Trace, wall_ns: int | None, otherwise: int) -> int:
        if wall_ns is None:
            return otherwise
        found = trace.monotonic_ns(wall_ns)
        if found is None:
            raise SldtraceError(
                f"{shown(trace.recording.path)} does not say what time it was",
                "leave out --since and --until",
            )
        return found
