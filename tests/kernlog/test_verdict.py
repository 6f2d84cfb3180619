"""The sentence that comes first, and what has to be said beside it."""

import pytest

from sldtrace.kernlog import verdict
from tests.kernlog.test_survey import LINUX, surveyed, trap

BUS = "#DB: game/9 took a bus_lock trap at address: 0x1"
OOPS = "Oops: Split lock detected"


VM = "GUEST SPLIT LOCKS: "
KERNEL_LINE = "[    1.000000] usb 1-1: new device"


@pytest.mark.parametrize(
    ("lines", "kind", "sentence"),
    [
        ([], "unknown", "COULD NOT TELL: the log is empty"),
        (["x"], "unknown", "COULD NOT TELL: none of 1 line is known to be of a kernel's log"),
        ([KERNEL_LINE], "nothing", "NO SPLIT LOCK in 1 line"),
        ([trap()], "guest-split-locks", VM + "vCPU 0, CPU 0/KVM (TID 7), one address (0x7c40)"),
        (
            [trap(), trap("CPU 1/KVM", 8), trap("dosemu", 9, 0x400306), BUS, OOPS],
            "guest-split-locks",
            VM + "2 vCPUs of probably one VM, one address (0x7c40); and 1 thread of dosemu; and 1 thread of "
            "game with bus locks (#DB)",
        ),
        (
            [trap(f"CPU {vcpu}/KVM", 1000 * vcpu) for vcpu in range(5)],
            "guest-split-locks",
            VM + "5 vCPUs of probably 5 VMs, one address (0x7c40)",
        ),
        (
            [trap("CPU 0/KVM", 5), trap("CPU 0/KVM", 6)],
            "guest-split-locks",
            VM + "2 vCPUs of probably 2 VMs, one address (0x7c40)",
        ),
        (
            [trap("game", 9, 0x400306), trap("game", 9, 0x400307), OOPS],
            "split-locks",
            "SPLIT LOCKS OF A PROGRAM, not of a guest: game (TID 9), 2 addresses",
        ),
        (
            [trap("game", 9, 0x400306), trap("zoom", 900, 0x400307)],
            "split-locks",
            "SPLIT LOCKS OF PROGRAMS, not of a guest: 2 threads of game, zoom, 2 addresses",
        ),
        (
            [BUS],
            "bus-locks",
            "BUS LOCKS of programs on this host (#DB), no split lock (#AC): game (TID 9), one address (0x1)",
        ),
        (
            [OOPS, BUS],
            "kernel-split-lock",
            "KERNEL SPLIT LOCK: the host's own kernel executed one, no guest did",
        ),
        (
            [KERNEL_LINE, "[ 2.0] x86/split lock detection: #AC: gam"],
            "unknown",
            "COULD NOT TELL: 1 message looks like split-lock detection, but could not be read",
        ),
        (
            [trap(), "[ 2.0] x86/split lock detection: #AC: gam"],
            "guest-split-locks",
            "NOT ALL IS UNDERSTOOD (1 message looks like split-lock detection, but could not be read). " + VM
            + "vCPU 0, CPU 0/KVM (TID 7), one address (0x7c40)",
        ),
        (
            ["Mar 26 11:13:52 h kernel: [87B blob data]"],
            "unknown",
            "COULD NOT TELL: 1 message of the kernel are shown as blob data: use journalctl --all",
        ),
        (
            [trap(before="Mar 26 11:13:52 h mallory: ")],
            "unknown",
            "COULD NOT TELL: 1 line about split locks, by another program than the kernel, and none by the "
            "kernel",
        ),
        (
            ["[ 1.0] x86/split lock detection: disabled"],
            "detection-off",
            "DETECTION IS OFF: split locks do not trap on this boot, and are not logged",
        ),
        (
            ["[ 1.0] handle_bus_lock: 9 callbacks suppressed"],
            "suppressed",
            "BUS LOCKS, BUT NOT WHOSE: only suppressed messages (9 of handle_bus_lock)",
        ),
    ],
)  # fmt: skip
def test_sentences(lines: list[str], kind: str, sentence: str) -> None:
    found = verdict.conclude(surveyed(*lines))
    assert (found.kind, found.sentence) == (kind, sentence)
    assert found.understood is not ("COULD NOT" in sentence or "NOT ALL" in sentence)


def limits(*lines: str) -> list[str]:
    return verdict.conclude(surveyed(*lines)).limits


def test_that_lines_are_not_traps_is_always_said() -> None:
    assert limits(trap()) == [verdict.NEVER_RATES]
    assert limits(BUS) == [verdict.BUS_LINES]
    assert limits("x") == [verdict.ABSENCE]


def test_what_else_has_to_be_known() -> None:
    suppressed = "split_lock_warn: 1234 callbacks suppressed"
    assert verdict.SUPPRESSED.format(count="1,234") in limits(trap(), suppressed)
    assert verdict.CALLS in limits("  x-7 [000] 1.000000: split_lock_warn <-handle_guest_split_lock")
    assert verdict.COMM in limits(trap("qemu-system-x86"))
    assert verdict.FATAL in matters(trap().replace("took a", "fatal"))
    assert verdict.OOPS in matters(OOPS)


def matters(*lines: str) -> list[str]:
    return verdict.conclude(surveyed(*lines)).matters


@pytest.mark.parametrize(
    ("release", "said"), [("5.18.19", True), ("5.19.0", False), ("6.1.0-26-amd64", False)]
)
def test_before_the_penalty(release: str, said: bool) -> None:
    lines = LINUX.format(release), trap()
    assert any("has no penalty" in text for text in matters(*lines)) is said
    assert (verdict.EARLIER_LINES.format(kernel=release) in limits(*lines)) is said


def test_an_old_kernel_counts_only_if_threads_trapped_on_it() -> None:
    assert limits(LINUX.format("5.10.1"), LINUX.format("6.1.1"), trap()) == [verdict.NEVER_RATES]


BUS_MODE = "x86/split lock detection: #DB: {}"


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("warning on user-space bus_locks", "never puts the thread to sleep"),
        ("sending SIGBUS on user-space bus_locks", "gets SIGBUS"),
        ("setting system wide bus lock rate limit to 5/sec", "waits 20 ms at a time"),
    ],
)
def test_what_a_bus_lock_costs(mode: str, said: str) -> None:
    (text,) = matters(BUS_MODE.format(mode), BUS)
    assert said in text


def test_a_sysctl_on_the_command_line() -> None:
    assert any(
        "has no effect: it is a sysctl" in text for text in matters("Command line: split_lock_mitigate=0")
    )


def advised(*lines: str, recorded: bool = False) -> list[str]:
    remedies = verdict.conclude(surveyed(*lines), recorded=recorded).remedies
    return [
        each.command.split()[1] for each in remedies if each.command.startswith("s") and " " in each.command
    ]


HYPERVISOR = "[    0.0] Hypervisor detected: KVM"


@pytest.mark.parametrize(
    ("lines", "commands"),
    [
        ([trap()], ["kernel.split_lock_mitigate=0", "record"]),
        ([trap("game", 9, 0x400306)], ["kernel.split_lock_mitigate=0", "record"]),
        (["x"], ["record"]),
        ([KERNEL_LINE], ["record"]),
        ([BUS], []),
        ([HYPERVISOR], ["probe"]),
        ([HYPERVISOR, BUS], ["probe"]),
        ([LINUX.format("5.15.1"), trap()], []),
        ([LINUX.format("5.15.1")], []),
        (["[ 1.0] x86/split lock detection: disabled"], []),
        ([trap().replace("took a", "fatal")], []),
    ],
)
def test_what_is_advised_can_help(lines: list[str], commands: list[str]) -> None:
    assert advised(*lines) == commands


def test_beside_a_recording_none_is_advised() -> None:
    assert advised(trap(), recorded=True) == ["report", "kernel.split_lock_mitigate=0"]


@pytest.mark.parametrize(
    ("line", "holds"),
    [
        (trap(), {"guest-split-lock", "split-lock"}),
        (trap("game", 9, 0x400306), {"split-lock"}),
        (BUS, {"bus-lock"}),
        (OOPS, {"kernel-split-lock"}),
        ("handle_bus_lock: 9 callbacks suppressed", {"bus-lock"}),
        (KERNEL_LINE, set()),
    ],
)
def test_conditions_of_fail_on(line: str, holds: set[str]) -> None:
    assert verdict.conclude(surveyed(line)).holds == holds


@pytest.mark.parametrize(
    ("name", "bus_lock", "text"),
    [
        ("warn", False, "penalized"),
        ("warn", True, "without a penalty"),
        ("fatal", False, "VMM"),
        ("fatal", True, "program"),
        ("ratelimit:5", True, "limited to that rate"),
        ("off", False, "off"),
        ("no-access", False, "cannot"),
    ],
)
def test_what_modes_mean(name: str, bus_lock: bool, text: str) -> None:
    assert text in verdict.meaning(name, bus_lock)


def test_vcpus_are_called_so_only_where_all_threads_are_some() -> None:
    lines = [trap(), trap("qemu-kvm", 9000)]
    assert verdict.conclude(surveyed(*lines)).sentence.startswith(f"{VM}2 threads of probably 2 VMs")


OPTION = "[    0.0] Command line: split_lock_detect=off"


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        ([OPTION], verdict.OFF),
        ([OPTION, BUS_MODE.format("warning on user-space bus_locks")], verdict.NOTHING),
        ([KERNEL_LINE, BUS_MODE.format("warning on user-space bus_locks")], verdict.NOTHING),
        (["[    0.0] Command line: split_lock_detect=warn"], verdict.NOTHING),
    ],
)
def test_the_option_counts_only_where_the_kernel_says_no_mode(lines: list[str], kind: str) -> None:
    assert verdict.conclude(surveyed(*lines)).kind == kind


@pytest.mark.parametrize(
    ("lines", "only"),
    [
        ([BUS], True),
        ([trap()], False),
        ([BUS, trap()], False),
        ([BUS, "split_lock_warn: 9 callbacks suppressed"], False),
    ],
)
def test_what_detection_that_is_off_costs(lines: list[str], only: bool) -> None:
    remedies = verdict.conclude(surveyed(*lines)).remedies
    (off,) = (each for each in remedies if each.command == "split_lock_detect=off")
    assert ("bus locks are no longer logged" in off.cost) is only
