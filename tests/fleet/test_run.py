"""How the work is divided: the same summary in this process and in several; failures stay with their host."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from sldtrace.errors import SldtraceError
from sldtrace.fleet import hosts, run, sources
from sldtrace.fleet.run import Executor, Here, Work
from sldtrace.fleet.summary import Summary
from sldtrace.recording.collect import Collection
from sldtrace.recording.identity import Identity, identify
from tests.fleet import fleets


def summarize(folder: Path, executor: Executor) -> tuple[Summary, list[int]]:
    counts: list[int] = []
    stages: list[tuple[str, int]] = []
    listing = sources.find([str(folder)])
    found = run.summarize(listing, executor, lambda *each: stages.append(each), counts.append)
    assert [name for name, _ in stages] == ["files", "hosts"]
    assert sum(counts) == sum(number for _, number in stages)
    return found, counts


def ended(work: Sequence[Work]) -> None:
    os._exit(9)


def test_files_are_divided_by_host() -> None:
    def of(name: str, number: int = 0, **more: object) -> Identity:
        return identify(number, {"host": {"name": name}, **more})

    known = {"b": of("web01"), "a": of("web01", 1), "c": of("web02"), "d": of(""), "e": of("", 1)}
    known |= {
        "copy of e": of("", 1),
        "f": of("", simulated={"timer": 1}),
        "g": of("", simulated={"timer": 2}),
    }
    assert run.plan(known) == [
        Work("copy of e", ("copy of e", "e")),
        Work("d", ("d",)),
        Work("f", ("f",)),
        Work("g", ("g",)),
        Work("web01", ("a", "b")),
        Work("web02", ("c",)),
    ]


def test_several_processes_find_the_same(tmp_path: Path) -> None:
    fleets.fleet(tmp_path, 8)
    (tmp_path / "rack-0/broken.sld").touch()
    alone, counts = summarize(tmp_path, Here())
    assert (alone.hosts, alone.files, alone.unreadable.count) == (8, 8, 1)
    assert counts == [9] + [1] * 8  # files, then hosts
    assert alone.affected == 4
    with run.local(2) as executor:
        together, counts = summarize(tmp_path, executor)
    assert together == alone
    assert counts == [9] + [1] * 8  # files, then hosts
    with run.local(1) as executor:
        assert isinstance(executor, Here)


def test_a_failure_stays_with_its_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fleets.fleet(tmp_path, 3)
    real = hosts.summarize

    def failing(name: str, collection: Collection) -> Summary:
        if name == "host-0001":
            raise ZeroDivisionError("a\nb\x1b")
        return real(name, collection)

    monkeypatch.setattr(hosts, "summarize", failing)
    found, _ = summarize(tmp_path, Here())
    assert found.hosts == 2
    (failed,) = found.unreadable.entries
    assert failed.path.endswith("host-0001.sld")
    assert failed.reason.endswith("host-0001.sld: sldtrace failed: ZeroDivisionError: a b\\x1b")


def test_a_worker_that_dies_is_one_line() -> None:
    with run.local(2) as executor, pytest.raises(SldtraceError, match="a worker process ended"):
        list(executor._run(ended, [[], []]))  # type: ignore[attr-defined]


def test_a_scheduler_that_is_not_there_is_one_line() -> None:
    with (
        pytest.raises(SldtraceError, match="there is no Dask scheduler at nonsense"),
        run.cluster("nonsense"),
    ):
        pass


def test_without_dask_a_scheduler_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SldtraceError, match="needs dask"), run.cluster("tcp://127.0.0.1:1"):
        pass
