"""Whole runs in processes of their own: on a real KVM where there is one, and what happens when they die."""

import os
import pty
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sldtrace.errors import SldtraceError, UsageError
from sldtrace.host import split_lock
from sldtrace.vmm import children, guests, memory
from sldtrace.vmm.children import Children
from sldtrace.vmm.kicks import Kind
from sldtrace.vmm.kvm import DEVICE
from sldtrace.vmm.plan import Plan, Result
from tests import leftovers
from tests.waiting import HANG_S, until

MS = 1_000_000
CPUS = tuple(sorted(os.sched_getaffinity(0)))
HOUR = 3600 * 1000 * MS

needs_kvm = pytest.mark.skipif(
    not os.access(DEVICE, os.R_OK | os.W_OK), reason=f"{DEVICE} is missing or may not be opened"
)
nothing_traps = pytest.mark.skipif(
    split_lock.read().detects_split_locks, reason="split locks may trap on this host"
)


def plan(name: str = "split-bts", duration_ns: int = 60 * MS, **changes: object) -> Plan:
    return replace(Plan(guests.load(name), duration_ns), **changes)  # type: ignore[arg-type]


def run(*plans: Plan) -> list[Result]:
    files, before = leftovers.files(), leftovers.children()
    try:
        return Children(plans).run(lambda number, pid, tids: None)
    finally:
        assert leftovers.files().items() <= files.items()
        assert leftovers.children() <= before  # none is left, not even dead


def run_until(enough: Callable[[Result], object], wanted: Plan) -> Result:
    """Runs ever longer until it is enough, or a minute was not: others may leave a short run no time."""
    for factor in (1, 10, 100, 1000):
        (result,) = run(replace(wanted, duration_ns=factor * wanted.duration_ns))
        if enough(result):
            break
    return result


def looped(result: Result) -> bool:
    """Did all vCPUs finish a loop?"""
    return all(vcpu.loops > 0 for vcpu in result.vcpus)


@needs_kvm
@nothing_traps
def test_a_process_with_many_open_files_runs_guests_too() -> None:
    # select(2) would take no descriptor above 1023.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    open_files: list[int] = []
    try:
        while not open_files or open_files[-1] < 1100:
            open_files.append(os.open(os.devnull, os.O_RDONLY))
        result = run_until(looped, plan())
    finally:
        for each in open_files:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert result.vcpus[0].loops > 0


@needs_kvm
@nothing_traps
@pytest.mark.parametrize("name", guests.names())
def test_every_guest_makes_progress_where_nothing_traps(name: str) -> None:
    result = run_until(looped, plan(name))
    (vcpu,) = result.vcpus
    assert vcpu.loops > 0
    assert vcpu.kvm_runs == vcpu.eintr + vcpu.io_exits > 1
    assert result.ran_ns >= 60 * MS
    assert vcpu.longest_run_ns > 0
    assert not result.interrupted
    assert vcpu.rip is not None
    assert memory.CODE < vcpu.rip < memory.CODE_LIMIT


@needs_kvm
@nothing_traps
@pytest.mark.parametrize("name", ["split-bts", "split-xadd", "split-cmpxchg", "split-xchg"])
def test_progress_at_every_offset(name: str) -> None:
    guest = guests.load(name)
    for offset in (0, 1, *range(64 - guest.width + 1, 64)):
        assert looped(run_until(looped, plan(name, 4 * MS, guest=guest.adjusted(offset)))), offset


@needs_kvm
@nothing_traps
def test_a_guest_that_reports_knows_how_far_it_is() -> None:
    guest = guests.load("report-split").adjusted(every=50)
    result = run_until(lambda result: result.vcpus[0].io_exits, plan(guest=guest))
    (vcpu,) = result.vcpus
    assert vcpu.reported is not None
    assert vcpu.reported == 50 * vcpu.io_exits
    assert vcpu.reported <= vcpu.loops <= vcpu.reported + 50
    assert vcpu.reported_ns is not None
    assert vcpu.reported_ns > 0


@needs_kvm
@nothing_traps
@pytest.mark.parametrize("kick", list(Kind))
@pytest.mark.parametrize("vcpus", [1, 2])
def test_every_kick_interrupts_every_vcpu(kick: Kind, vcpus: int) -> None:
    signo = signal.SIGALRM if kick is Kind.ITIMER else signal.SIGRTMIN + 3

    # SIGALRM comes to the process: which vCPU it interrupts is the kernel's choice.
    def enough(result: Result) -> bool:
        return looped(result) and sum(vcpu.eintr for vcpu in result.vcpus) > 2 * vcpus

    wanted = plan("aligned-bts", 60 * MS, kick=kick, signo=int(signo), vcpus=vcpus)
    result = run_until(enough, wanted)
    assert len({vcpu.tid for vcpu in result.vcpus}) == vcpus
    assert enough(result)


@needs_kvm
def test_without_kicks_a_guest_is_left_alone_until_the_end() -> None:
    (result,) = run(plan("aligned-bts", timeout_ns=0, vcpus=2))
    assert [(vcpu.kvm_runs, vcpu.eintr) for vcpu in result.vcpus] == [(1, 1)] * 2


@needs_kvm
def test_the_timer_is_relative_to_each_run() -> None:
    # However slow the host is, no KVM_RUN but the last is ended by the timer before its time.
    (result,) = run(plan("aligned-bts", 100 * MS, timeout_ns=20 * MS))
    (vcpu,) = result.vcpus
    assert vcpu.kvm_runs <= result.ran_ns // (20 * MS) + 1
    assert vcpu.longest_run_ns > 19 * MS


@needs_kvm
@nothing_traps
@pytest.mark.parametrize("shared", [False, True])
def test_vcpus_have_their_own_counters_and_operands_as_wanted(
    monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    # The operand of split-xadd holds the sum of the loops of all that share it: no update is lost.
    seen: list[int] = []
    real = memory.GuestMemory.close

    def look(self: memory.GuestMemory) -> None:
        guest = guests.load("split-xadd")
        seen.extend(self.quadword(guest.operand + index * memory.AREA) for index in range(2))
        os.write(write, f"{seen[0]} {seen[1]}".encode())
        real(self)

    read, write = os.pipe()
    monkeypatch.setattr(memory.GuestMemory, "close", look)
    (result,) = Children([plan("split-xadd", vcpus=2, shared=shared, cpus=CPUS[:2])]).run(lambda *_: None)
    operands = [int(number) for number in os.read(read, 100).split()]
    for descriptor in (read, write):
        os.close(descriptor)
    loops = [vcpu.loops for vcpu in result.vcpus]
    # A vCPU may have been stopped between the lock and its counter.
    expected = [sum(loops), 0] if shared else loops
    assert all(0 <= operand - loop <= 2 for operand, loop in zip(operands, expected, strict=True)), (
        operands,
        loops,
    )


@needs_kvm
@nothing_traps
def test_threads_that_are_moved_are_where_they_were_moved_to() -> None:
    if len(CPUS) < 2:
        pytest.skip("one CPU only")

    def enough(result: Result) -> bool:
        return result.migrations > 10 and all(vcpu.cpu_checks > 10 for vcpu in result.vcpus)

    result = run_until(enough, plan("split-bts", 60 * MS, vcpus=2, cpus=CPUS, migrate_ns=2 * MS))
    assert enough(result)
    assert all(vcpu.cpu_mismatches == 0 for vcpu in result.vcpus)


@needs_kvm
@nothing_traps
def test_memory_slots_come_and_go_while_the_guest_runs() -> None:
    result = run_until(
        lambda result: looped(result) and result.slot_updates > 10, plan("split-bts", slots_ns=MS)
    )
    assert result.slot_updates > 10
    assert 0 < result.longest_slot_update_ns < result.ran_ns
    assert result.vcpus[0].loops > 0


@needs_kvm
@nothing_traps
def test_four_vms_at_once_beside_a_load() -> None:
    for duration in (200 * MS, 2_000 * MS, 20_000 * MS):  # others may leave a short run no time
        four = [plan(duration_ns=duration)] * 4
        results = Children(four, load=2, load_cpus=CPUS[:1]).run(lambda *_: None)
        if all(looped(result) for result in results):
            break
    assert len({result.tgid for result in results}) == 4
    assert all(result.vcpus[0].loops > 0 for result in results)


@nothing_traps
@pytest.mark.parametrize("kick", [Kind.TIMER, Kind.ITIMER, Kind.TGKILL])
@pytest.mark.parametrize("name", [name for name in guests.names() if not guests.load(name).privileged])
def test_a_guest_as_a_program(name: str, kick: Kind) -> None:
    signo = signal.SIGALRM if kick is Kind.ITIMER else signal.SIGUSR1
    result = run_until(looped, plan(name, program=True, kick=kick, signo=int(signo), vcpus=2))
    assert looped(result)
    assert result.locked % memory.PAGE == guests.load(name).locked % memory.PAGE


@pytest.mark.parametrize(
    "changes", [{"guest": guests.load("own-ac")}, {"kick": Kind.IMMEDIATE_EXIT}, {"slots_ns": MS}]
)
def test_what_a_program_cannot_do_is_a_usage_error(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"program"):
        run(plan(program=True, **changes))


@needs_kvm
@pytest.mark.parametrize(
    ("code", "words"),
    [
        (b"\x0f\x0b", "triple fault"),  # ud2, and there is no handler
        (b"\xf4", "KVM_EXIT_HLT"),
        (
            b"\x48\xc7\xc0\x00\x00\x10\x00\x48\x89\x18",
            "accessed 0x100000",
        ),  # mov $1<<20, %rax; mov %rbx, (%rax)
    ],
)
def test_a_guest_that_leaves_ends_the_run_at_once_and_is_explained(code: bytes, words: str) -> None:
    bundled = guests.load("split-bts")
    image = bundled.image[: bundled.start - memory.CODE] + code
    begin = time.monotonic()
    with pytest.raises(SldtraceError, match=words):
        run(plan(duration_ns=HOUR, guest=replace(bundled, image=image), vcpus=2))
    assert time.monotonic() - begin < HANG_S  # not the hour


@nothing_traps
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_early_with_the_results_so_far(number: int) -> None:
    handler = signal.getsignal(number)

    def end(*_: object) -> None:
        threading.Timer(0.05, os.kill, (os.getpid(), number)).start()

    (result,) = Children([plan(duration_ns=HOUR, program=True)]).run(end)
    assert result.interrupted
    assert result.vcpus[0].loops > 0
    assert signal.getsignal(number) is handler
    assert number not in signal.pthread_sigmask(signal.SIG_BLOCK, set())


@nothing_traps
def test_with_nohup_a_lost_terminal_does_not_end_it() -> None:
    def hang_up(number: int, pid: int, tids: list[int]) -> None:
        for one in (pid, os.getpid()):
            os.kill(one, signal.SIGHUP)

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        plans = [plan(duration_ns=50 * MS, program=True)]
        (result,) = Children(plans, load=1).run(hang_up)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert not result.interrupted
    assert result.ran_ns >= 50 * MS


@pytest.mark.parametrize("changes", [{"program": True}, {"vcpus": 2, "kick": Kind.TGKILL}])
def test_a_host_that_allows_no_more_threads_is_one_line(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not changes.get("program") and not os.access(DEVICE, os.R_OK | os.W_OK):
        pytest.skip(f"{DEVICE} is missing or may not be opened")
    real = threading.Thread.start

    def start(self: threading.Thread) -> None:
        if self.name in ("program 0", "kicks"):
            raise RuntimeError("can't start new thread")
        real(self)

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(SldtraceError, match=r"no thread '.*' for the guest; see ulimit -u, and pids.max"):
        run(plan(duration_ns=HOUR, **changes))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (
            signal.SIGBUS,
            r"by SIGBUS at a split lock of guest split-bts.*; the kernel's command line has split_lock_d",
        ),
        (signal.SIGKILL, "was killed by SIGKILL"),
    ],
)
def test_a_process_that_is_killed_is_explained_and_the_other_ended(number: int, words: str) -> None:
    pids: list[int] = []
    before = leftovers.children()

    def kill(index: int, pid: int, tids: list[int]) -> None:
        pids.append(pid)
        if len(pids) == 2:
            for one in pids:
                os.kill(one, number)

    with pytest.raises(SldtraceError, match=words):
        Children([plan(duration_ns=HOUR, program=True)] * 2).run(kill)
    assert leftovers.children() <= before


def test_nothing_runs_before_all_are_there_and_the_run_has_begun() -> None:
    steps: list[str] = []
    waited: list[int] = []

    def announce(number: int, pid: int, tids: list[int]) -> None:
        steps.append(f"there {pid}")

    def begin(pids: list[int]) -> None:
        steps.append(f"begin {pids}")
        begun = time.monotonic_ns()
        time.sleep(0.3)
        waited.append(time.monotonic_ns() - begun)

    before = time.monotonic_ns()
    short = plan(duration_ns=10 * MS, program=True)
    results = Children([short, short]).run(announce, begin)
    pids = [result.tgid for result in results]
    assert sorted(steps[:2]) == sorted(f"there {pid}" for pid in pids)
    assert steps[2:] == [f"begin {pids}"]
    after = time.monotonic_ns() - before - waited[0]
    assert all(10 * MS <= result.ran_ns <= after for result in results)


def test_one_that_cannot_begin_ends_the_others_that_wait_for_it() -> None:
    many = plan(duration_ns=HOUR, program=True)
    with pytest.raises(UsageError, match="program"):
        run(many, replace(many, slots_ns=1), many)


def test_a_signal_while_the_run_begins_is_seen_and_ends_it() -> None:
    def begin(pids: list[int]) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        assert runner.interrupted

    runner = Children([plan(duration_ns=HOUR, program=True)])
    (result,) = runner.run(lambda number, pid, tids: None, begin)
    assert result.interrupted


def test_a_run_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "GRACE_S", 0.2)
    before = leftovers.children()

    def stop(number: int, pid: int, tids: list[int]) -> None:
        os.kill(pid, signal.SIGSTOP)

    with pytest.raises(SldtraceError, match="did not end"):
        Children([plan(duration_ns=500 * MS, program=True)]).run(stop)
    assert leftovers.children() <= before


def test_they_end_with_a_parent_that_is_killed() -> None:
    code = (
        "from sldtrace.vmm.children import Children; from sldtrace.vmm.plan import Plan;"
        "from sldtrace.vmm import guests;"
        f"Children([Plan(guests.load('split-bts'), {HOUR}, program=True)], 1)"
        ".run(lambda number, pid, tids: print(pid, flush=True))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = Path("/proc", parent.stdout.readline().strip())
        # The load's process, too: it holds the pipe, so that this read ends only when it has gone.
        parent.kill()
        assert parent.stdout.read() == ""
    until(lambda: not child.exists() or "\nState:\tZ" in (child / "status").read_text(), "the guest's end")


def test_a_lost_terminal_ends_everything() -> None:
    command = [sys.executable, "-m", "sldtrace", "guest", "run", "--program", "--duration", "1h"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(command[0], command)
    said = b""
    while not (match := re.search(rb"in process (\d+), thread", said)):
        said += os.read(terminal, 4096)
    os.close(terminal)
    statuses: list[int] = []

    def over() -> bool:
        ended, status = os.waitpid(pid, os.WNOHANG)
        statuses.extend([status] * bool(ended))
        return bool(ended)

    try:
        until(over, "the end of the command")
    finally:
        if not statuses:
            os.kill(pid, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(statuses[0]) == 1  # the results cannot be printed any more
    assert not Path("/proc", match[1].decode()).exists()
