"""Every output of a recording, in one place: what is damaged goes through all of them.

A new output is a function here and a line in OUTPUTS.
"""

import io
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import sldtrace
from sldtrace import api
from sldtrace.comparison import compare
from sldtrace.comparison.measure import measure
from sldtrace.dataset import trace as traces
from sldtrace.dataset.between import Between
from sldtrace.dataset.trace import Trace
from sldtrace.errors import SldtraceError
from sldtrace.export import parquet, perfetto, text_tables
from sldtrace.fleet import hosts
from sldtrace.kernlog import sources, verdict
from sldtrace.kernlog.survey import Survey
from sldtrace.prediction import predict
from sldtrace.recording import collect
from sldtrace.recording.redacted import Redactor
from sldtrace.reporters import compare as compare_report
from sldtrace.reporters import fleet, log, what_if
from sldtrace.reporters.document import Report
from sldtrace.reporters.formats import FORMATS
from sldtrace.reporters.style import Style
from sldtrace.top import replay
from sldtrace.top.viewer import Options, Viewer
from tests.reporters import rendering

CHANGES = ("timer=20ms", "timer=none", "mitigate=0", "fix=remaining")


@contextmanager
def _opened(path: Path) -> Iterator[Trace]:
    trace = traces.load(path)
    try:
        yield trace
    finally:
        trace.recording.close()


def _rendered(report: Report) -> None:
    for form in FORMATS.values():
        text = form.render(report, Style())
        assert text
        text.encode()
        if form.name == "json":
            json.loads(text, parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def rendered(path: Path) -> list[str]:
    """The report in all formats."""
    with _opened(path) as trace:
        content = rendering.built(trace)
        return [form.render(content, Style()) for form in FORMATS.values()]


def report(path: Path) -> None:
    """`sldtrace report`."""
    with _opened(path) as trace:
        _rendered(rendering.built(trace))


def prediction(path: Path) -> None:
    """`sldtrace report --what-if`."""
    with _opened(path) as trace:
        changes = [predict.parse(text) for text in CHANGES]
        _rendered(what_if.build(trace, [(change, predict.run(trace, change)) for change in changes]))


def timeline(path: Path) -> None:
    """`sldtrace report DIRECTORY`: joined with what else of the same boot is there."""
    with collect.open_all(collect.find([path.parent]).files) as collection:
        for each in collection.timelines:
            _rendered(rendering.built(Trace(each)))


def fleet_of_one(path: Path) -> None:
    """`sldtrace fleet`."""
    with collect.open_all([path]) as collection:
        _rendered(fleet.build(hosts.summarize("host", collection), 0))


def frames(path: Path) -> None:
    """`sldtrace.open`: all DataFrames, with their documented columns."""
    with sldtrace.open(path) as recording:
        for name in _FRAMES:
            frame = getattr(recording, name)
            described = api.columns(name)
            assert list(frame.columns)[: len(described)] == list(described)
            assert repr(frame)
        assert all(line.isprintable() for line in recording.warnings)


def redacted(path: Path) -> None:
    """`sldtrace report --redact`."""
    with _opened(path) as trace:
        _rendered(rendering.built(Trace(Redactor().timeline(trace.recording))))


def part(path: Path) -> None:
    """`sldtrace report --since ... --until ...`: the middle half."""
    with _opened(path) as trace:
        start, end = trace.span_ns
        limits = [trace.wall_ns(start + (end - start) * quarter // 4) for quarter in (1, 3)]
        found = Between(*limits).part(trace.recording)
        if found is not None:
            _rendered(rendering.built(Trace(found)))


def comparison(path: Path) -> None:
    """`sldtrace compare` of the file with itself."""
    with _opened(path) as trace:
        before, after = measure(trace), measure(trace)
        _rendered(compare_report.build(compare.compare(before, after), before, after))


def export(path: Path) -> None:
    """`sldtrace export` in all formats."""
    with _opened(path) as trace, TemporaryDirectory() as folder:
        text_tables.write_csv(trace, Path(folder))
        parquet.write(trace, Path(folder))
        with io.StringIO() as lines:
            text_tables.write_json_lines(trace, lines)
            for line in lines.getvalue().splitlines():
                json.loads(line, parse_constant=_refuse)
        perfetto.write(trace, io.BytesIO())


def top(path: Path) -> None:
    """`sldtrace top FILE --speed max --json`."""
    with _opened(path) as trace, redirect_stdout(io.StringIO()) as output:
        replay.play(trace, Viewer(Options(1_000_000_000, as_json=True), "", ""), None)
    for line in output.getvalue().splitlines():
        json.loads(line, parse_constant=_refuse)


_FRAMES = (
    *("traps", "detection", "exits", "user_exits", "signals", "migrations", "stalls", "detail"),
    *("names", "lost", "exit_counts", "threads", "findings_table"),
)

OUTPUTS: Mapping[str, Callable[[Path], None]] = {
    "report": report,
    "what-if": prediction,
    "timeline": timeline,
    "fleet": fleet_of_one,
    "api": frames,
    "redacted": redacted,
    "part": part,
    "compare": comparison,
    "export": export,
    "top": top,
}


def check_log(path: Path) -> None:
    """Makes the report of `sldtrace log` of the file in all formats; raises as `check` does."""
    with warnings.catch_warnings(), suppress(SldtraceError):
        warnings.simplefilter("error")
        survey = Survey()
        read = []
        for source, stream in sources.file(path):
            survey.read(stream)
            read.append(source)
        _rendered(log.build(survey, read, None, verdict.conclude(survey)))
        assert all(source.damage.isprintable() for source in read)


def check(path: Path, names: tuple[str, ...] = tuple(OUTPUTS)) -> None:
    """Makes these outputs of the file; raises what no user may see: warnings, errors but SldtraceError."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in names:
            with suppress(SldtraceError):
                OUTPUTS[name](path)
