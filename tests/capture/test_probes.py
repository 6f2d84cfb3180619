"""How the probes are attached: in which order, by which backend, and that nothing is left behind."""

import os

import pytest

from sldtrace.capture import probes
from sldtrace.capture.program import Sizes
from sldtrace.errors import SldtraceError
from tests.capture import fakes
from tests.capture.fakes import EARLY_TRACEPOINTS, FUNCTIONS, LATE_TRACEPOINTS, Host

SIZES = Sizes()


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return fakes.install(monkeypatch)


def backends(loaded: probes.Probes) -> dict[str, str]:
    return {probe.name: probe.backend for probe in loaded.attached}


def test_inner_functions_first_and_the_return_before_the_entry(host: Host) -> None:
    """A run that is seen to begin is seen whole: its inner probes and its return are there by then."""
    loaded = probes.load(None, SIZES, None)
    expected = [("compile", "")]
    expected += [("attach tracepoint", name) for name in EARLY_TRACEPOINTS]
    for name in FUNCTIONS:
        expected += [("attach kretfunc", name), ("attach kfunc", name)]
    expected += [("load", name) for name in LATE_TRACEPOINTS]
    assert host.log == expected
    assert FUNCTIONS[-1] == "handle_guest_split_lock"
    assert backends(loaded) == dict.fromkeys(EARLY_TRACEPOINTS, "tracepoint") | dict.fromkeys(
        FUNCTIONS, "fentry"
    )


def test_what_fires_often_is_attached_on_the_first_trap(host: Host) -> None:
    loaded = probes.load(None, SIZES, None)
    before = len(host.log)
    added = loaded.arm()
    assert host.log[before:] == [("attach tracepoint", name) for name in LATE_TRACEPOINTS]
    assert [probe.name for probe in added] == list(LATE_TRACEPOINTS)
    assert loaded.attached[-3:] == added


def test_detached_in_reverse(host: Host) -> None:
    loaded = probes.load(None, SIZES, None)
    loaded.arm()
    attached = [(entry.removeprefix("attach "), name) for entry, name in host.log if "attach" in entry]
    before = len(host.log)
    loaded.close()
    assert host.log[before:] == [(f"detach {what}", name) for what, name in reversed(attached)] + [
        ("close", "")
    ]
    loaded.detach()
    assert host.log[-1] == ("close", "")


@pytest.mark.parametrize("prefix", ["vmlinux__", ""])
def test_both_of_bccs_names_for_fentry(host: Host, prefix: str) -> None:
    host.prefix = prefix
    probes.load(None, SIZES, None)
    assert host.done("attach kfunc") == list(FUNCTIONS)


def test_the_order_reaches_the_program(host: Host) -> None:
    probes.load(4711, Sizes(1, 2, 4), "kprobe")
    (program,) = host.programs
    assert (program.tgid, program.sizes, program.kprobes) == (4711, Sizes(1, 2, 4), set(FUNCTIONS))


# Falling back


@pytest.mark.parametrize("refused", FUNCTIONS)
@pytest.mark.parametrize("end", ["kfunc", "kretfunc"])
def test_a_function_that_refuses_fentry_gets_a_kprobe_and_no_other_does(
    host: Host, refused: str, end: str
) -> None:
    host.refusals[f"{end} {refused}"] = "libbpf: no direct calls\nmore\n"
    loaded = probes.load(None, SIZES, None)
    assert host.done("compile") == ["", refused]
    assert len(host.done("close")) == 1
    found = {probe.name: probe for probe in loaded.attached}
    assert found[refused] == probes.Probe(refused, "kprobe", "fentry: libbpf: no direct calls")
    assert all(found[name] == probes.Probe(name, "fentry") for name in FUNCTIONS if name != refused)
    # Of the first program nothing is left, of the second everything.
    start = host.log.index(("close", ""))
    first, second = Host(), Host()
    first.log, second.log = host.log[:start], host.log[start + 1 :]
    assert first.left_attached() == set()
    assert ("kprobe", refused) in second.left_attached()
    assert len(second.left_attached()) == len(EARLY_TRACEPOINTS) + 2 * len(FUNCTIONS)


def test_each_refusal_costs_one_more_compilation(host: Host) -> None:
    for name in ("split_lock_warn", "down_interruptible"):
        host.refusals[f"kfunc {name}"] = ""
    loaded = probes.load(None, SIZES, None)
    assert host.done("compile") == ["", "down_interruptible", "down_interruptible split_lock_warn"]
    assert backends(loaded)["msleep_interruptible"] == "fentry"


def test_without_words_of_libbcc_the_reason_is_that_of_bcc(host: Host) -> None:
    host.refusals["kfunc split_lock_warn"] = "\n  \n"
    loaded = probes.load(None, SIZES, None)
    (probe,) = [each for each in loaded.attached if each.name == "split_lock_warn"]
    assert probe.detail == "fentry: Failed to attach BPF program to kfunc split_lock_warn"


def test_a_function_that_btf_lacks_is_not_tried(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes.kernel, "in_btf", lambda names: set(names) - {"split_lock_warn"})
    loaded = probes.load(None, SIZES, None)
    assert host.done("compile") == ["split_lock_warn"]
    (probe,) = [each for each in loaded.attached if each.name == "split_lock_warn"]
    assert probe == probes.Probe("split_lock_warn", "kprobe", "fentry: not in the kernel's BTF")


def test_forced_kprobes(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = probes.load(None, SIZES, "kprobe")
    assert host.done("attach kfunc") == []
    assert host.done("attach kprobe") == list(FUNCTIONS)
    assert host.log.index(("attach kretprobe", FUNCTIONS[0])) < host.log.index(
        ("attach kprobe", FUNCTIONS[0])
    )
    assert {probe.detail for probe in loaded.attached if probe.backend == "kprobe"} == {"asked for"}


def test_forced_fentry_does_not_fall_back(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes.kernel, "in_btf", lambda names: set())
    assert backends(probes.load(None, SIZES, "fentry"))["split_lock_warn"] == "fentry"
    host.log.clear()
    host.refusals["kfunc split_lock_warn"] = "no"
    with pytest.raises(SldtraceError, match="fentry is refused for split_lock_warn: no; "):
        probes.load(None, SIZES, "fentry")
    assert len(host.done("compile")) == len(host.done("close")) == 1
    assert host.left_attached() == set()


# What is missing


@pytest.mark.parametrize("missing", ["handle_guest_split_lock", "msleep_interruptible"])
@pytest.mark.parametrize("end", ["kprobe", "kretprobe"])
def test_what_nothing_can_do_without(host: Host, missing: str, end: str) -> None:
    host.refusals[f"{end} {missing}"] = "cannot attach kprobe, probe entry may not exist\n"
    with pytest.raises(SldtraceError) as caught:
        probes.load(None, SIZES, "kprobe")
    assert str(caught.value).startswith(
        f"{missing} cannot be probed: cannot attach kprobe, probe entry may not exist; "
    )
    assert "\n" not in str(caught.value)
    assert host.left_attached() == set()
    assert host.log[-1] == ("close", "")


@pytest.mark.parametrize("missing", ["down_interruptible", "split_lock_warn"])
def test_what_can_be_done_without_is_told(host: Host, missing: str) -> None:
    host.refusals[f"kprobe {missing}"] = "blacklisted"
    loaded = probes.load(None, SIZES, "kprobe")
    assert probes.Probe(missing, "", "blacklisted") in loaded.attached
    # Its return was attached first, and is taken off again.
    assert ("kretprobe", missing) not in host.left_attached()
    assert ("detach kretprobe", missing) in host.log
    loaded.close()
    assert host.left_attached() == set()


def test_tracepoints_that_the_kernel_lacks(host: Host) -> None:
    host.tracepoints -= {"signal:signal_generate", "kvm:kvm_exit", "kvm:kvm_entry"}
    loaded = probes.load(None, SIZES, None)
    loaded.arm()
    assert host.done("load") == ["msr:write_msr"]
    missing = [probe for probe in loaded.attached if not probe.backend]
    assert [probe.name for probe in missing] == ["signal:signal_generate", "kvm:kvm_entry", "kvm:kvm_exit"]
    assert {probe.detail for probe in missing} == {"this kernel does not have it now"}


def test_a_tracepoint_that_refuses(host: Host) -> None:
    host.refusals["tracepoint kvm:kvm_exit"] = "Permission denied"
    loaded = probes.load(None, SIZES, None)
    added = loaded.arm()
    assert [probe.backend for probe in added] == ["tracepoint", "", "tracepoint"]
    assert added[1].detail == "Permission denied"


def test_a_program_that_cannot_be_loaded_early_is_attached_all_the_same(host: Host) -> None:
    host.unloadable.add("tracepoint__kvm__kvm_exit")
    loaded = probes.load(None, SIZES, None)
    assert host.done("load") == ["kvm:kvm_entry", "msr:write_msr"]
    assert [probe.backend for probe in loaded.arm()] == ["tracepoint"] * 3


def test_an_interruption_while_attaching_leaves_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: fakes.FakeModule, fn_name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fakes.FakeModule, "attach_kfunc", interrupted)
    with pytest.raises(KeyboardInterrupt):
        probes.load(None, SIZES, None)
    assert host.left_attached() - {("kretfunc", FUNCTIONS[0])} == set()
    assert host.log[-1] == ("close", "")  # which unloads the program, and with it what is attached


def test_nothing_of_libbcc_reaches_the_terminal(host: Host, capfd: pytest.CaptureFixture[str]) -> None:
    host.refusals["kfunc split_lock_warn"] = "libbpf: long story\n"
    probes.load(None, SIZES, None).close()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("mode", "uid", "advice"),
    [
        ("integrity", 0, "the kernel is locked down"),
        ("confidentiality", 1000, "the kernel is locked down"),
        ("none", 1000, "run it as root"),
        ("unknown", 1000, "run it as root"),
        ("none", 0, "CONFIG_BPF_EVENTS"),
    ],
)
def test_the_advice(mode: str, uid: int, advice: str, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes.kernel, "lockdown", lambda: mode)
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    host.refusals["kprobe handle_guest_split_lock"] = "no"
    with pytest.raises(SldtraceError) as caught:
        probes.load(None, SIZES, "kprobe")
    assert advice in str(caught.value.hint)


def test_a_probe_as_a_fact() -> None:
    assert probes.Probe("f", "kprobe", "why").fact() == {"name": "f", "backend": "kprobe", "detail": "why"}
