"""Every thread that traps is followed, whatever its TID: the probes themselves, compiled as a program.

tests/bpf/native.h takes the place of bcc; the layouts of TIDs are those of hosts with many VMs.
"""

import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from sldtrace import resources
from sldtrace.capture.bpf import slots
from sldtrace.capture.bpf.filters import Filters
from sldtrace.host import kernel
from sldtrace.recording import schema

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")

HERE = Path(__file__).parent
SLOTS = 10_000
PID_MAX = 4 << 20  # PID_MAX_LIMIT, include/linux/threads.h
FUNCTIONS = ("handle_guest_split_lock", "split_lock_warn", "handle_user_split_lock")
OTHERS = ("msleep_interruptible", "down_interruptible", "handle_bus_lock")
SOURCES = (
    "events.h",
    "thread.bpf.c",
    "pending.bpf.c",
    "trap.bpf.c",
    "signal.bpf.c",
    "vcpu.bpf.c",
    "bus_lock.bpf.c",
    "end.bpf.c",
)
LOST = schema.current().enums["lost_cause"].values
KINDS = schema.current().enums["kind"].values

Thread = tuple[int, int]  # TGID and TID
Run = Callable[[str], list[list[str]]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs events (see threads.c) and returns the lines that are printed, each as words."""
    folder = tmp_path_factory.mktemp("threads")
    parts = ['#include "native.h"\n']
    for name in SOURCES:
        text = (resources.bpf() / name).read_text(encoding="utf-8")
        parts.append(text.replace("#include <uapi/linux/ptrace.h>", ""))
    (folder / "probes.c").write_text("".join(parts))
    flags = Filters().flags()
    flags += [f"-DSLD_SLOTS={SLOTS}", "-DSLD_CPUS=1"]
    flags += [f"-DSLD_HAS_{name}" for name in ("kvm", "vcpu_id", "bus_lock")]
    flags += ["-DSLD_ISA(args)=SLD_ISA_VMX", *(f"-DSLD_KPROBE_{name}" for name in FUNCTIONS + OTHERS)]
    command = ["gcc", "-O1", "-w", f"-I{HERE}", f"-I{folder}", *flags, str(HERE / "threads.c")]
    subprocess.run([*command, "-o", str(folder / "threads")], check=True)

    def events(text: str) -> list[list[str]]:
        done = subprocess.run([folder / "threads"], input=text, capture_output=True, text=True, check=True)
        return [line.split() for line in done.stdout.splitlines()]

    return events


def written(threads: Iterable[Thread], event: str) -> str:
    return "".join(f"{event} {tgid} {tid}\n" for tgid, tid in threads)


def rows(printed: list[list[str]], name: str) -> list[tuple[int, ...]]:
    return [tuple(map(int, words[1:])) for words in printed if words[0] == name]


def vm(first: int, vcpus: int) -> list[Thread]:
    """A VMM's process and its vCPUs, whose TIDs follow each other."""
    return [(first, first + 1 + number) for number in range(vcpus)]


def two_apart(distance: int) -> list[Thread]:
    """Two VMs whose TIDs are so far from each other."""
    return vm(5_000, 64) + vm(5_000 + distance, 64)


def many(seed: int, vms: int, vcpus: int, pid_max: int) -> list[Thread]:
    """VMs that were started at any time: each has contiguous TIDs somewhere."""
    chosen = random.Random(seed)
    found: list[Thread] = []
    taken: set[int] = set()
    while len(found) < vms * vcpus:
        first = chosen.randrange(300, pid_max - vcpus - 1)
        block = set(range(first, first + vcpus + 1))
        if not block & taken:
            taken |= block
            found += vm(first, vcpus)
    return found


LAYOUTS = {
    "4,096 apart": two_apart(4_096),
    "2,048 apart": two_apart(2_048),
    "65,536 apart": two_apart(65_536),
    "32 VMs a power of two apart": [each for number in range(32) for each in vm(1000 + (number << 16), 64)],
    "10 VMs of 64, small pid_max": many(1, 10, 64, 32_768),
    "10 VMs of 64": many(2, 10, 64, PID_MAX),
    "10,000 VMs of 1": many(3, 10_000, 1, PID_MAX),
    "625 VMs of 16": many(4, 625, 16, PID_MAX),
    "39 VMs of 256": many(5, 39, 256, PID_MAX),
    "the highest TIDs": vm(PID_MAX - 129, 128),
    "16 threads of which 5 clashed": vm(4_000, 8) + vm(8_096, 8),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_thread_is_lost(layout: str, run: Run) -> None:
    """Two rounds of traps and VM exits; each thread has its own and no others."""
    threads = LAYOUTS[layout]
    assert len(set(threads)) == len(threads) <= SLOTS
    events = f"F {SLOTS}\n" + (written(threads, "T") + written(threads, "X")) * 2
    printed = run(events)
    assert rows(printed, "lost") == []
    assert Counter(rows(printed, "trap")) == dict.fromkeys(threads, 2)
    assert Counter(rows(printed, "task")) == dict.fromkeys(threads, 1)
    assert sorted(rows(printed, "counts")) == sorted((*thread, 2, 0) for thread in threads)
    assert rows(printed, "free") == [(SLOTS - len(threads),)]


def test_what_is_beyond_the_table_is_lost_by_name_and_others_are_not(run: Run) -> None:
    threads = many(6, 700, 16, PID_MAX)
    inside, beyond = threads[:SLOTS], threads[SLOTS:]
    printed = run(f"F {SLOTS}\n" + written(threads, "T") * 3)
    assert Counter(rows(printed, "trap")) == dict.fromkeys(inside, 3)
    lost = (KINDS["TRAP"], LOST["TABLE_FULL"])
    assert Counter(rows(printed, "lost")) == {(*lost, *thread, 1): 3 for thread in beyond}
    assert Counter(rows(printed, "task")) == dict.fromkeys(threads, 1)


def test_a_thread_that_had_no_room_is_followed_when_another_has_ended(run: Run) -> None:
    first, second = (10, 11), (4106, 4107)
    printed = run("F 1\n" + written([first, second], "T") + written([first], "E") + written([second], "T"))
    assert rows(printed, "trap") == [first, second]
    assert rows(printed, "lost") == [(KINDS["TRAP"], LOST["TABLE_FULL"], *second, 1)]


def test_threads_that_come_and_go_need_no_more_slots_than_live_at_a_time(run: Run) -> None:
    """A program of the host that forks for each split lock."""
    threads = [(tid, tid) for tid in range(300, 30_300)]
    printed = run("F 4\n" + "".join(written([one], "T") + written([one], "E") for one in threads))
    assert rows(printed, "trap") == threads
    assert rows(printed, "lost") == []
    assert rows(printed, "free") == [(4,)]


def test_the_slot_of_a_vcpu_is_free_when_its_counters_have_been_read(run: Run) -> None:
    """Not at its end: the recorder frees it (counters.py)."""
    printed = run("F 4\n" + written([(10, 11)], "T") + written([(10, 11)], "X") + written([(10, 11)], "E"))
    assert rows(printed, "counts") == [(10, 11, 1, 1)]
    assert rows(printed, "free") == [(3,)]


def test_a_tid_that_is_used_again_is_another_thread(run: Run) -> None:
    printed = run("F 4\nT 10 11\nE 10 11\nT 20 11\n")
    assert rows(printed, "trap") == [(10, 11), (20, 11)]
    assert rows(printed, "task") == [(10, 11), (20, 11)]


def test_exits_of_other_vms_are_not_followed_until_one_of_their_threads_traps(run: Run) -> None:
    printed = run("F 4\nX 10 11\nX 10 11\nT 10 12\nX 10 11\nX 10 12\n")
    assert sorted(rows(printed, "counts")) == [(10, 11, 1, 0), (10, 12, 1, 0)]


def test_exits_after_a_bus_lock_are_counted_apart(run: Run) -> None:
    printed = run("F 4\nT 10 11\nX 10 11\nY 10 11\nX 10 11\nY 10 11\nY 10 11\n")
    assert sorted(rows(printed, "cell")) == [(11, 12, 2), (11, 12 | 1 << 26, 3)]


def test_an_unfinished_trap_is_lost_with_its_thread(run: Run) -> None:
    """Its end was not seen: the next trap shows it, or the end of the thread."""
    printed = run("F 4\nB 10 11\nB 10 11\nE 10 11\n")
    assert rows(printed, "lost") == [(KINDS["TRAP"], LOST["UNFINISHED"], 10, 11, 1)] * 2


def test_a_loss_without_room_for_its_record_is_counted(run: Run) -> None:
    printed = run("F 4\nT 10 11\nR 0\nT 10 11\nR 1\n")
    assert rows(printed, "trap") == [(10, 11)]
    seen, counted = (KINDS["TRAP"], LOST["NONE"], 2), (KINDS["TRAP"], LOST["RING_FULL"], 1)
    assert {seen, counted} <= set(rows(printed, "counted"))


def test_a_trap_that_the_ring_has_no_room_for_is_lost_with_its_thread(run: Run) -> None:
    printed = run("F 4\nD 1\n" + written([(10, 11)], "T") * 2)
    assert rows(printed, "trap") == [(10, 11)]
    assert rows(printed, "lost") == [(KINDS["TRAP"], LOST["RING_FULL"], 10, 11, 1)]
    assert (KINDS["TRAP"], LOST["NONE"], 2) in rows(printed, "counted")


@pytest.mark.parametrize(
    ("events", "penalty"),
    [
        ("S G s H", (9, 0, 23)),
        ("S s G H", (9, 0, 23)),  # the signal is seen after the return
        ("S s H", (9, 0, 0)),
        ("W G w H", (0, -4, 23)),
        ("W w G H", (0, -4, 23)),
        ("W w H", (0, -4, 0)),
        ("W G u H", (0, 0, 0)),  # it came, and did not end the wait
        ("W G w N H", (0, -4, 23)),  # a newer one after the return
        ("S G s N H", (9, 0, 23)),
    ],
)
def test_the_signal_that_ends_the_sleep_or_the_wait_for_the_semaphore(
    events: str, penalty: tuple[int, ...], run: Run
) -> None:
    numbers = {"G": "G 11 23", "N": "G 11 24"}
    steps = [numbers.get(event, f"{event} 10 11") for event in ["B", *events.split()]]
    assert rows(run("F 4\n" + "\n".join(steps)), "penalty") == [(11, *penalty)]


def bus_locks(address: int, threads: Iterable[Thread]) -> str:
    return f"A {address}\n" + written(threads, "L")


def test_bus_locks_are_counted_by_thread_and_address(run: Run) -> None:
    threads = [(10, 11), (10, 12), (20, 21)]
    printed = run("F 4\nC 9\n" + (bus_locks(0x1000, threads) + bus_locks(0x2000, threads[:1])) * 3)
    expected = {(*thread, 0x1000, 3, 1, 0) for thread in threads} | {(10, 11, 0x2000, 3, 1, 0)}
    assert set(rows(printed, "bus")) == expected
    assert (KINDS["BUS_LOCK"], LOST["NONE"], 12) in rows(printed, "counted")
    assert rows(printed, "lost") == []
    assert Counter(rows(printed, "task")) == dict.fromkeys(threads, 1)


def test_a_thread_with_bus_locks_may_trap_too(run: Run) -> None:
    printed = run("F 4\nC 9\nA 5\nL 10 11\nT 10 11\nL 10 11\nT 10 11\n")
    assert rows(printed, "bus") == [(10, 11, 5, 2, 1, 0)]
    assert rows(printed, "trap") == [(10, 11)] * 2
    assert rows(printed, "task") == [(10, 11)]


def test_more_addresses_than_a_thread_has_counters_for_share_one(run: Run) -> None:
    addresses = [0x1000 + number for number in range(40)]
    printed = run("F 4\nC 99\n" + "".join(bus_locks(each, [(10, 11)]) for each in addresses) * 2)
    found = rows(printed, "bus")
    assert sum(count for _, _, _, count, _, _ in found) == 80
    most = schema.enumeration("bus_locks").values["ADDRESSES"]
    assert {rip: count for _, _, rip, count, _, _ in found} == {0: 80 - 2 * (most - 1)} | dict.fromkeys(
        addresses[1:most], 2
    )
    assert rows(printed, "lost") == []


def test_bus_locks_without_a_free_counter_are_lost_by_thread(run: Run) -> None:
    printed = run("F 4\nC 1\n" + bus_locks(5, [(10, 11), (20, 21)]) * 2)
    assert rows(printed, "bus") == [(10, 11, 5, 2, 1, 0)]
    assert rows(printed, "lost") == [(KINDS["BUS_LOCK"], LOST["TABLE_FULL"], 20, 21, 1)] * 2


def test_the_time_of_a_bus_lock_is_known_when_its_handler_returns(run: Run) -> None:
    printed = run("F 4\nC 9\nA 5\nM 10 11\nL 20 21\n")
    assert set(rows(printed, "bus")) == {(10, 11, 5, 1, 0, 0), (20, 21, 5, 1, 1, 0)}


def test_the_counters_of_a_thread_that_ends_are_marked_and_the_next_one_gets_others(run: Run) -> None:
    printed = run("F 4\nC 9\nA 5\nL 10 11\nA 6\nL 10 11\nE 10 11\nL 10 11\n")
    assert set(rows(printed, "bus")) == {(10, 11, 5, 1, 1, 1), (10, 11, 6, 1, 1, 1), (10, 11, 6, 1, 1, 0)}
    assert rows(printed, "free") == [(3,)]


@pytest.mark.parametrize(
    ("cpus", "expected"), [(2, 2_048), (16, 2_048), (80, 10_240), (128, 16_384), (512, 16_384)]
)
def test_the_table_grows_with_the_host(cpus: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "possible_cpus", lambda: cpus)
    assert slots.count() == expected < 0x7FFF
