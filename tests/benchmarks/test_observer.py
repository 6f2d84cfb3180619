"""The benchmark's command line: what is asked of the lab, and what the lab's failures look like."""

import pytest

from benchmarks import observer
from lab import machine
from lab.failures import LabError
from lab.job import Job


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Jobs that would have been run; the lab fails at each."""
    asked: list[Job] = []

    def run(job: Job, *_: object) -> machine.Result:
        asked.append(job)
        raise LabError("no lab today")

    monkeypatch.setattr(machine, "run", run)
    return asked


@pytest.mark.parametrize(
    ("line", "root"), [("--only sldtrace", "plain"), ("--only bpftrace", "tracers"), ("", "tracers")]
)
def test_other_tracers_are_built_only_when_they_run(
    line: str, root: str, jobs: list[Job], capsys: pytest.CaptureFixture[str]
) -> None:
    assert observer.main(["--kernel", "6.1", *line.split()]) == LabError.exit_status
    (job,) = jobs
    assert (job.root, job.kernel) == (root, "6.1")
    assert capsys.readouterr().err == "lab: no lab today\n"
