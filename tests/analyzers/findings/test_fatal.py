"""VMMs ended by SIGBUS: one trap is enough."""

from pathlib import Path

from sldtrace.analyzers.finding import Confidence, Severity
from sldtrace.analyzers.findings import fatal
from tests.analyzers.synthetic import FLAGS, GUEST, MS, completed, early, facts, not_penalized, trace


def test_one_fatal_trap_is_enough(tmp_path: Path) -> None:
    killed = not_penalized(0, flags=GUEST | FLAGS["MSR_WATCHED"])
    (finding,) = fatal.find(trace(tmp_path, [killed], opening=facts(split_lock={"mode": "fatal"})))
    assert (finding.severity, finding.confidence) == (Severity.CRITICAL, Confidence.CERTAIN)
    (finding,) = fatal.find(trace(tmp_path, [killed]))
    assert finding.confidence is Confidence.LIKELY
    assert fatal.find(trace(tmp_path, [completed(0), early(100 * MS)])) == []
