"""What a recording attaches and takes off as it goes on, and what its `detail` records say of that."""

import errno
import itertools

import pytest

from sldtrace.capture import recorder
from sldtrace.capture.governor import Governor, Limits, Step
from sldtrace.recording import schema
from tests.analyzers.synthetic import MS, START_NS
from tests.capture.fakes import EARLY, FUNCTIONS, LATE, programs, stop
from tests.capture.session import Session, then, traps

LEVELS = schema.current().enums["level"].values
REASONS = schema.current().enums["reason"].values


def steps(session: Session) -> list[tuple[str, str]]:
    """Level and reason of each `detail` record."""
    with session.opened() as recording:
        return [
            (
                schema.current().enums["level"].name_of(int(each["level"])),
                schema.current().enums["reason"].name_of(int(each["reason"])),
            )
            for each in recording.records("detail")
        ]


def test_the_late_probes_are_attached_once_and_with_the_first_trap(session: Session) -> None:
    host = session.host
    early = {function for name in (*EARLY, *FUNCTIONS) for function in programs(name)}
    late = {function for name in LATE for function in programs(name)}

    def nothing_yet() -> None:
        assert host.attached() == early
        assert (host.control_value("EXITS"), host.control_value("MSR"), host.control_value("LEVEL")) == (
            0,
            0,
            LEVELS["TRAPS"],
        )

    def armed() -> None:
        assert host.attached() == early | late
        assert host.control_value("EXITS") == host.control_value("MSR") > 0
        assert host.control_value("LEVEL") == LEVELS["EXITS"]

    session.rings(
        trap=[
            then(nothing_yet),
            then(nothing_yet, traps(1)),
            then(armed, traps(1, MS)),
            then(stop, traps(1, 2 * MS)),
        ]
    )
    session.run()
    assert (
        host.done("control EXITS") == host.done("control MSR") == host.done("control LOCKS") == ["time", "0"]
    )
    assert steps(session) == [("traps", "start"), ("exits", "trap")]
    with session.opened() as recording:
        (update,) = recording.updates
        assert [probe["name"] for probe in update["probes"]] == [*EARLY, *FUNCTIONS, *LATE]
        assert recording.records("detail")["probes"].tolist() == [len(early), len(early | late)]
        assert (recording.records("detail")["ns"] > 0).all()


def test_the_probes_watch_before_the_level_says_so(session: Session) -> None:
    session.rings(trap=[traps(1), then(stop)])
    session.run()
    log = session.host.log
    last_link = max(index for index, (verb, _) in enumerate(log) if verb == "attach")
    assert (
        last_link < log.index(("control EXITS", "time")) < log.index(("control LEVEL", str(LEVELS["EXITS"])))
    )


def test_waits_count_from_before_the_first_of_their_probes_is_there(session: Session) -> None:
    """What began before, and whose end a probe sees, is none of theirs."""
    session.rings(trap=[traps(1), then(stop)])
    session.run()
    log = session.host.log
    probes = {
        ("attach", function) for name in LATE if name.startswith("lock:") for function in programs(name)
    }
    assert log.index(("control LOCKS", "time")) < min(map(log.index, probes))


def test_without_a_trap_nothing_is_armed(session: Session) -> None:
    session.rings(trap=[then(stop)])
    session.run()
    assert "time" not in session.host.done("control EXITS") + session.host.done("control MSR")
    assert not set(programs("kvm:kvm_exit")) & set(session.host.done("attach"))
    assert steps(session) == [("traps", "start")]


@pytest.mark.parametrize(("exits", "level"), [("all", "exits"), ("counts", "counts")])
def test_what_the_user_asks_for_is_armed_from_the_start(session: Session, exits: str, level: str) -> None:
    session.rings(trap=[traps(1), then(stop)])
    session.run(exits=exits)
    log = session.host.log
    armed = log.index(("attach", "tracepoint__kvm__kvm_exit"))
    assert armed < log.index(("control OPEN", "time"))
    assert steps(session) == [(level, "start")]


def test_with_no_exits_wanted_nothing_is_ever_armed(session: Session) -> None:
    session.rings(trap=[traps(1), then(stop)])
    session.run(exits="none")
    assert not set(programs("kvm:kvm_exit")) & set(session.host.done("attach"))
    assert steps(session) == [("traps", "start")]


@pytest.mark.parametrize(
    ("missing", "attached"),
    [
        ("msr:write_msr", ["EXITS"]),
        ("kvm:kvm_exit", ["MSR"]),
        ("kvm:kvm_entry", ["MSR"]),
        ("lock:contention_end", ["EXITS", "MSR"]),
    ],
)
def test_a_late_probe_that_is_missing_is_a_warning(
    session: Session, missing: str, attached: list[str]
) -> None:
    """And the records must not say that it watched."""
    session.host.refusals[programs(missing)[0]] = errno.ENOENT
    session.rings(trap=[traps(1), then(stop)])
    session.run()
    warnings = [line for line in session.messages if "warning" in line]
    assert warnings == [f"warning: {missing} is not attached: No such file or directory"]
    assert [name for name in ("EXITS", "MSR") if "time" in session.host.done(f"control {name}")] == attached


def test_when_it_is_calm_the_late_probes_come_off_until_the_next_trap(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "_ACCOUNT_NS", 1)
    host = session.host
    seen = []

    def look() -> None:
        seen.append((host.control_value("EXITS") > 0, host.control_value("LEVEL"), len(host.attached())))

    session.rings(trap=[then(look, traps(1)), then(look), then(look, traps(1, MS)), then(look), then(stop)])
    # Calm at once: each second without a trap.
    session.run(limits=Limits(cpu=1e9, idle_ns=0))
    early, all_of_them = seen[0][2], seen[0][2] + sum(len(programs(name)) for name in LATE)
    assert seen == [(False, LEVELS["TRAPS"], early)] * 4
    assert host.done("attach").count("tracepoint__kvm__kvm_exit") == 2
    assert host.done("detach").count("tracepoint__kvm__kvm_exit") == 2
    assert steps(session) == [
        *[("traps", "start"), ("exits", "trap"), ("traps", "idle")],
        *[("exits", "trap"), ("traps", "idle")],
    ]
    with session.opened() as recording:
        probes = recording.records("detail")["probes"].tolist()
        assert probes == [early, all_of_them, early, all_of_them, early]
        assert [[*update] for update in recording.updates] == [["probes"], ["probes"]]


def test_too_many_records_lower_the_level_and_it_is_said(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = iter([Step(LEVELS["COUNTS"], LEVELS["EXITS"], "EVENTS", 50_000, 20_000)])
    monkeypatch.setattr(Governor, "each_second", lambda *_: next(given, None))
    monkeypatch.setattr(recorder, "_ACCOUNT_NS", 1)
    session.rings(trap=[traps(1), then(stop)])
    session.run()
    assert "50,000 records a second, more than 20,000: now recording counts only" in session.messages
    assert session.host.done("control LEVEL") == [str(LEVELS[name]) for name in ("TRAPS", "EXITS", "COUNTS")]
    assert session.host.attached() == set()
    assert "detach" not in [
        verb for verb, _ in session.host.log[: session.host.log.index(("control OPEN", "0"))]
    ]
    with session.opened() as recording:
        last = recording.records("detail")[-1]
        values = [int(last[name]) for name in ("measured", "limit", "level", "previous", "reason")]
        assert values == [50_000, 20_000, LEVELS["COUNTS"], LEVELS["EXITS"], REASONS["EVENTS"]]


def test_the_governor_learns_of_records_and_of_losses(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []

    def each_second(self: Governor, now_ns: int, events: float, cpu: float) -> None:
        rates.append(events)

    monkeypatch.setattr(Governor, "each_second", each_second)
    clock = itertools.count(START_NS, 500 * MS)
    monkeypatch.setattr("sldtrace.capture.recorder.time.monotonic_ns", lambda: next(clock))
    session.host.count(trap_RING_FULL=40)
    session.rings(trap=[traps(100), then(stop)])
    session.run(exits="none", duration_ns=None)
    # 100 records and 40 losses in a second or two of this clock.
    assert rates
    assert 140 / 3 <= rates[0] <= 140


def test_exits_without_an_entry_are_counted_when_the_probes_come_off(session: Session) -> None:
    def pending() -> None:
        session.host.followed[[3, 4]] = 1
        session.host.vcpus["pending"]["ns"][[3, 4]] = 77
        session.host.vcpus["entry_ns"][3] = 55

    session.rings(trap=[traps(1), then(pending), then(stop)])
    session.run()
    with session.opened() as recording:
        assert recording.closing is not None
        assert recording.closing["unfinished"]["exit"] == 2
    assert not session.host.vcpus["pending"]["ns"].any()
    assert not session.host.vcpus["entry_ns"].any()
