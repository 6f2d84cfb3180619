"""Summaries are merged in any order and grouping, keep what is worst, and are plain data."""

import json
import pickle
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sldtrace.fleet import summary as module
from sldtrace.fleet.summary import (
    OTHERS,
    Advice,
    Example,
    Host,
    Merger,
    Problem,
    Summary,
    Tally,
    Top,
    Unread,
    Vm,
    merge_all,
)

amounts = st.integers(0, 1 << 50)
names = st.sampled_from(["", "qemu", "6.12", "x\\x1b"])
tallies = st.builds(Tally, st.just(1), st.integers(0, 1), amounts, amounts, amounts)
keys: st.SearchStrategy[tuple[str, ...]] = st.one_of(st.just(OTHERS), st.tuples(names, names))
maps: st.SearchStrategy[dict[tuple[str, ...], Tally]] = st.dictionaries(keys, tallies, max_size=3)
examples = st.builds(
    Example, amounts, names, names, names, names, names, st.tuples(st.builds(Advice, names, names, names))
)
problems = st.dictionaries(keys, st.builds(Problem, tallies, st.integers(1, 3), examples), max_size=3)


@st.composite
def fleets(draw: st.DrawFn) -> list[Summary]:
    """Summaries of different hosts."""
    found = []
    for number in range(draw(st.integers(0, 6))):
        host = f"host-{number}"
        lost, severity = draw(st.integers(0, 3)), draw(st.integers(0, 3))
        vms = [
            Vm(host, f"vm-{each}", "qemu", 1, lost, 1, "delayed") for each in range(draw(st.integers(0, 3)))
        ]
        files = [Unread(f"{host}/{each}", "is empty") for each in range(draw(st.integers(0, 3)))]
        mine = draw(problems)
        # The example of a host names it.
        own = {key: replace(each, example=replace(each.example, host=host)) for key, each in mine.items()}
        found.append(
            Summary(
                hosts=1,
                severity=severity,
                lost_ns=lost,
                recorded_ns=draw(amounts),
                kernels=draw(maps),
                vmms=draw(maps),
                addresses=draw(maps),
                timers=draw(maps),
                problems=own,
                top_hosts=Top.of([Host(host, "6.12", lost, 1, severity, False)]),
                top_vms=Top.of(vms),
                unreadable=Top.of(files),
            )
        )
    return found


@settings(max_examples=40)
@given(fleets(), st.randoms(use_true_random=False), st.sampled_from([1, 2, 1000]))
def test_order_and_grouping_do_not_matter(fleet: list[Summary], chance: random.Random, most: int) -> None:
    before, module.MOST = module.MOST, most
    try:
        fleet = [
            replace(
                each,
                top_hosts=Top.of(each.top_hosts.entries),
                top_vms=Top.of(each.top_vms.entries),
                unreadable=Top.of(each.unreadable.entries),
            )
            for each in fleet
        ]
        whole = Summary()
        for each in fleet:
            whole = whole.merge(each)
        parts = list(fleet)
        while len(parts) > 1:
            chance.shuffle(parts)
            parts.append(parts.pop().merge(parts.pop()))
        assert (parts or [Summary()])[0] == whole
        assert merge_all(fleet) == whole
        assert json.dumps(merge_all(fleet[::-1]).to_json()) == json.dumps(whole.to_json())
    finally:
        module.MOST = before


@settings(max_examples=40)
@given(fleets())
def test_a_summary_is_plain_data(fleet: list[Summary]) -> None:
    whole = merge_all(fleet)
    assert Summary.from_json(json.loads(json.dumps(whole.to_json()))) == whole
    assert pickle.loads(pickle.dumps(whole)) == whole


def test_of_many_the_worst_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    hosts = [Host(f"h{number}", "6.12", number, 0, 1, False) for number in range(10)]
    merged = merge_all(Summary(hosts=1, top_hosts=Top.of([each])) for each in hosts)
    assert [each.name for each in merged.top_hosts.entries] == ["h9", "h8", "h7"]
    assert (merged.top_hosts.more, merged.top_hosts.count) == (7, 10)


def test_the_example_is_the_most_expensive_one() -> None:
    def problem(lost: int, host: str) -> Problem:
        return Problem(Tally(1, 1, 1, 0, lost), 2, Example(lost, host, "vm", "0x1", "delayed", "f"))

    both = problem(5, "a") + problem(7, "b")
    assert (both.example.host, both.tally.lost_ns, both.tally.hosts) == ("b", 12, 2)


def test_a_merger_keeps_few_partial_summaries() -> None:
    merger = Merger()
    for _ in range(1000):
        merger.add(Summary(hosts=1))
        assert len(merger._partial) <= 10
    assert merger.merged() == Summary(hosts=1000)
    assert Merger().merged() == Summary()


def test_what_is_no_summary_is_refused() -> None:
    with pytest.raises((KeyError, TypeError)):
        Summary.from_json({"hosts": 1})
