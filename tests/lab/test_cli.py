"""The command line: arguments reach the job, failures are one line and a documented status."""

from pathlib import Path

import pytest

from lab import cli, machine
from lab.failures import LabError, LabTimeout
from lab.job import Job
from lab.kernel import KERNELS
from lab.rootfs import ROOTS


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Jobs that would have been run; every one of them ends with status 7."""
    jobs: list[Job] = []

    def run(job: Job, *_: object) -> machine.Result:
        jobs.append(job)
        timings = machine.Timings(0, 0, 0, 0)
        return machine.Result(7, b"", "", {}, ("/lost",), timings, Path("logs"))

    monkeypatch.setattr(machine, "run", run)
    return jobs


def test_run_passes_what_was_given(asked: list[Job], capfd: pytest.CaptureFixture[str]) -> None:
    line = "run --kernel 7.x --root tracers --cpus 2 --split-lock-detect fatal --mitigate 0"
    line += " --append a=b --memory 2048 --machine-time 7 --stalled 8 --timeout 9.5"
    more = " --env A=b=c --put f.bin:/opt/f --put dir/g.bin --put-kernel /tmp/k"
    more += " --fetch /tmp/r --fetch s --out o -- sh -c"
    assert cli.main([*(line + more).split(), "exit 1 -- x"]) == 7
    (job,) = asked
    assert (job.kernel, job.cpus, job.split_lock_detect, job.mitigate) == ("sid", 2, "fatal", 0)
    assert job.root == "tracers"
    assert (job.append, job.memory, job.environment) == ("a=b", 2048, {"A": "b=c"})
    assert (job.machine_time, job.stalled, job.timeout) == (7, 8, 9.5)
    assert job.put == {"/opt/f": Path("f.bin"), "/tmp/g.bin": Path("dir/g.bin")}
    assert job.put_kernel == "/tmp/k"
    assert (job.fetch, job.out) == (["/tmp/r", "s"], Path("o"))
    assert list(job.command) == ["sh", "-c", "exit 1 -- x"]
    assert "the machine has no /lost" in capfd.readouterr().err


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("run", "no command"),
        ("run --kernel 4.4 -- true", "no kernel '4.4'"),
        ("run --root tractors -- true", "no root file system 'tractors'"),
        ("run --env A -- true", "NAME=VALUE"),
        ("run --fetch /x -- true", "--out"),
    ],
)
def test_a_failure_is_one_line(line: str, message: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(line.split()) == 125
    error = capfd.readouterr().err
    assert message in error
    assert error.startswith("lab: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("failure", "status"),
    [(LabError("x"), 125), (LabTimeout("x"), 124), (KeyboardInterrupt(), 130)],
)
def test_statuses(failure: BaseException, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object) -> machine.Result:
        raise failure

    monkeypatch.setattr(machine, "run", run)
    assert cli.main(["run", "--", "true"]) == status


@pytest.mark.parametrize("line", ["", "nonsense", "run --cpus x -- true", "run --mitigate 2 -- true"])
def test_usage_errors_are_2(line: str) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(line.split())
    assert caught.value.code == 2


def test_status_of_an_empty_cache_needs_nothing(own_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status"]) == 0
    out = capsys.readouterr().out
    assert str(own_cache) in out
    assert out.count("not built") == 1 + len(ROOTS) + 2 * len(KERNELS)


def test_clean_removes_the_cache_and_nothing_beside_it(own_cache: Path) -> None:
    (own_cache / "rootfs").mkdir(parents=True)
    (own_cache.parent / "other").touch()
    assert cli.main(["clean"]) == 0
    assert not own_cache.exists()
    assert (own_cache.parent / "other").exists()
