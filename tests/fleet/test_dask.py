"""On a real Dask cluster of three processes on this machine: the same summary, also when a worker is killed.

Analyzing 1,000 hosts takes a minute. So 24 are analyzed here, and the summaries of four of them stand for
1,000 hosts: the workers give them other names, and merge them.
"""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from distributed import Client, LocalCluster

from sldtrace.commands.fleet import fleet as command
from sldtrace.fleet import run, sources
from sldtrace.fleet.run import Dask, Here
from sldtrace.fleet.summary import Example, Problem, Summary, Top, merge_all
from tests.fleet import fleets

HOSTS = 24


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    made = LocalCluster(
        n_workers=3, threads_per_worker=1, processes=True, dashboard_address=":0", host="127.0.0.1"
    )
    with made:
        yield made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fleets.fleet(tmp_path_factory.mktemp("fleet"), HOSTS)


@pytest.fixture(scope="module")
def expected(folder: Path) -> Summary:
    return run.summarize(sources.find([str(folder)]), Here(), lambda *_: None, lambda _: None)


def renamed(given: tuple[Summary, int]) -> Summary:
    """The summary of one host under another name; runs on the workers."""
    summary, number = given
    name = f"copy-{number:04}"
    problems = {
        key: Problem(each.tally, each.severity, Example(**{**vars_of(each.example), "host": name}))
        for key, each in summary.problems.items()
    }
    return replace(
        summary,
        problems=problems,
        top_hosts=Top.of(replace(each, name=name) for each in summary.top_hosts.entries),
        top_vms=Top.of(replace(each, host=name) for each in summary.top_vms.entries),
    )


def vars_of(example: Example) -> dict[str, Any]:
    return {name: getattr(example, name) for name in Example.__dataclass_fields__}


def test_a_worker_that_is_killed_loses_nothing(
    cluster: LocalCluster, folder: Path, expected: Summary
) -> None:
    done: list[int] = []
    killed: list[int] = []

    def on_host(count: int) -> None:
        done.append(count)
        if len(done) == 1 + 5:  # after the files
            nanny = next(iter(cluster.workers.values()))
            killed.append(nanny.pid)
            os.kill(nanny.pid, signal.SIGKILL)

    with Client(cluster, set_as_default=False) as client:
        found = run.summarize(sources.find([str(folder)]), Dask(client), lambda *_: None, on_host)
        assert found == expected
        assert done == [HOSTS] + [1] * HOSTS
        assert found.hosts == HOSTS
        client.wait_for_workers(3, timeout=60)
        assert killed[0] not in {nanny.pid for nanny in cluster.workers.values()}


def test_a_thousand_hosts_are_merged_by_the_workers(cluster: LocalCluster, folder: Path) -> None:
    works = run.plan({file: sources.identify(file) for file in sources.find([str(folder)]).files})  # type: ignore[misc]
    few = [run.summarize_host(work) for work in works[:4]]
    given = [(few[number % 4], number) for number in range(1000)]
    with Client(cluster, set_as_default=False) as client:
        level = client.map(renamed, given, pure=False)
        while len(level) > 1:
            groups = [level[start : start + run.FAN_IN] for start in range(0, len(level), run.FAN_IN)]
            level = [client.submit(merge_all, group, pure=False) for group in groups]
        found = level[0].result()
    assert found == merge_all(map(renamed, given))
    assert (found.hosts, found.affected) == (1000, 500)
    assert (found.top_hosts.count, found.top_vms.count) == (1000, 500)
    assert {key: each.hosts for key, each in found.kernels.items()} == {
        (name,): 500 for name in fleets.KERNELS
    }


def test_the_command_uses_the_scheduler(cluster: LocalCluster, folder: Path) -> None:
    rack = folder / "rack-0"
    result = CliRunner().invoke(command, ["--scheduler", cluster.scheduler_address, str(rack)])
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.output == CliRunner().invoke(command, ["--jobs", "1", str(rack)]).output
    assert "HOSTS ARE AFFECTED" in result.output


def test_a_scheduler_without_workers_is_one_line() -> None:
    with LocalCluster(n_workers=0, dashboard_address=":0", host="127.0.0.1") as empty:
        result = CliRunner().invoke(command, ["--scheduler", empty.scheduler_address, "/dev/null"])
    assert "has no workers" in str(result.exception)
