"""How the probes are attached: in which order, by which backend, and that nothing is left behind."""

import errno
import logging
import os

import pytest

from sldtrace.capture.bpf import probes, syscalls
from sldtrace.capture.bpf.filters import Filters
from sldtrace.capture.bpf.sources import RECENT, Sizes
from sldtrace.errors import SldtraceError
from tests.capture.fakes import DESCRIBED, EARLY, ENDS, FUNCTIONS, KPROBED, LATE, RAW, Host, programs

SIZES = Sizes(*[1] * 8)

MODULE = "sldtrace.capture.bpf.probes"


def load(force: str | None = None) -> probes.Probes:
    return probes.load(Filters(), RECENT, SIZES, force)


def found(loaded: probes.Probes) -> dict[str, probes.Probe]:
    return {probe.name: probe for probe in loaded.attached}


def functions(*names: str, kprobe: bool = False) -> list[str]:
    return [function for name in names for function in programs(name, kprobe)]


def test_inner_functions_first_and_the_return_before_the_entry(host: Host) -> None:
    """A run that is seen to begin is seen whole: its inner probes and its return are there by then."""
    loaded = load()
    assert host.log == [("compile", "")] + [("attach", name) for name in functions(*EARLY, *FUNCTIONS)]
    backends = {name: probe.backend for name, probe in found(loaded).items()}
    assert backends == dict.fromkeys(EARLY, "tracepoint") | dict.fromkeys(KPROBED, "kprobe") | dict.fromkeys(
        FUNCTIONS, "fentry"
    ) | dict.fromkeys(RAW & {*EARLY}, "raw_tracepoint")
    assert loaded.count == len(functions(*EARLY, *FUNCTIONS))


def test_what_fires_often_is_attached_and_taken_off_as_often_as_one_likes(host: Host) -> None:
    loaded = load()
    early, before = host.attached(), len(host.log)
    for _ in range(2):
        added = loaded.arm()
        assert host.log[before:] == [("attach", name) for name in functions(*LATE)]
        assert [probe.name for probe in added] == list(LATE)
        backends = {probe.name: probe.backend for probe in added}
        assert {name for name, backend in backends.items() if backend == "raw_tracepoint"} == RAW & {*LATE}
        assert "kprobe" not in backends.values()
        assert loaded.attached[-len(LATE) :] == added
        assert loaded.count == len(host.attached()) == len(early) + len(functions(*LATE))
        before = len(host.log)
        loaded.disarm()
        assert host.log[before:] == [("detach", name) for name in reversed(functions(*LATE))]
        assert host.attached() == early
        assert loaded.count == len(early)
        before = len(host.log)


def test_detached_in_reverse(host: Host) -> None:
    loaded = load()
    loaded.arm()
    attached, before = host.done("attach"), len(host.log)
    loaded.close()
    assert host.log[before:] == [("detach", name) for name in reversed(attached)] + [("close", "")]
    loaded.detach()
    assert host.log[-1] == ("close", "")


@pytest.mark.parametrize("prefix", ["vmlinux__", ""])
def test_both_of_bccs_names_for_fentry(host: Host, prefix: str) -> None:
    host.prefix = prefix
    load()
    assert [name for name in host.done("attach") if name.startswith("kfunc")] == [
        f"kfunc__{prefix}{name}" for name in FUNCTIONS if "" in ENDS.get(name, [""])
    ]


def test_the_order_reaches_the_loader(host: Host) -> None:
    filters = Filters(tgids=(4711,))
    probes.load(filters, "counts", SIZES, "kprobe")
    assert host.orders == [(filters, "counts", SIZES, set(FUNCTIONS))]


def test_an_interruption_while_compiling_is_passed_on(host: Host) -> None:
    with pytest.raises(KeyboardInterrupt):
        probes.load(Filters(), RECENT, SIZES, None, lambda: True)
    assert host.log == []


# Falling back


@pytest.mark.parametrize("refused", FUNCTIONS)
@pytest.mark.parametrize("end", [0, -1])
def test_a_function_that_refuses_fentry_gets_a_kprobe_and_no_other_does(
    host: Host, refused: str, end: int
) -> None:
    host.refusals[programs(refused)[end]] = errno.EINVAL
    loaded = load()
    assert host.done("compile") == ["", refused]
    assert len(host.done("close")) == 1
    probe = found(loaded)[refused]
    assert (probe.backend, probe.detail) == ("kprobe", "fentry: Invalid argument")
    assert all(found(loaded)[name] == probes.Probe(name, "fentry") for name in FUNCTIONS if name != refused)
    # Of the first program nothing is left, of the second everything.
    first = host.log[: host.log.index(("close", ""))]
    assert sorted(name for verb, name in first if verb == "attach") == sorted(
        name for verb, name in first if verb == "detach"
    )
    others = [name for name in FUNCTIONS if name != refused]
    assert host.attached() == {*functions(*EARLY, *others), *functions(refused, kprobe=True)}


def test_a_program_that_the_kernel_does_not_load_is_a_refusal_with_its_reason(host: Host) -> None:
    host.refused["kfunc__vmlinux__split_lock_warn"] = "func 'split_lock_warn' is not traceable"
    assert found(load())["split_lock_warn"] == probes.Probe(
        "split_lock_warn", "kprobe", "fentry: func 'split_lock_warn' is not traceable"
    )


def test_a_kernel_without_bus_lock_detection_lacks_no_probe(host: Host) -> None:
    host.lacks.add("handle_bus_lock")
    host.filtered["bus_lock.bpf.c"] = "this kernel does not have it"
    loaded = load()
    assert "handle_bus_lock" not in found(loaded)
    assert loaded.program.bus_locks is None


def test_each_refusal_costs_one_more_compilation(host: Host) -> None:
    for name in ("split_lock_warn", "down_interruptible"):
        host.refusals[programs(name)[-1]] = errno.EBUSY
    loaded = load()
    assert host.done("compile") == ["", "down_interruptible", "down_interruptible split_lock_warn"]
    assert found(loaded)["msleep_interruptible"].backend == "fentry"


def test_a_function_that_btf_lacks_is_not_tried(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{MODULE}.btf.names", lambda names: set(names) - {"split_lock_warn"})
    loaded = load()
    assert host.done("compile") == ["split_lock_warn"]
    assert found(loaded)["split_lock_warn"] == probes.Probe(
        "split_lock_warn", "kprobe", "fentry: not in the kernel's BTF"
    )


def test_forced_kprobes(host: Host) -> None:
    loaded = load("kprobe")
    assert host.done("attach") == functions(*EARLY) + functions(*FUNCTIONS, kprobe=True)
    assert {found(loaded)[name].detail for name in FUNCTIONS} == {"asked for"}


def test_forced_fentry_does_not_fall_back(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{MODULE}.btf.names", lambda names: set())
    first = load("fentry")
    assert found(first)["split_lock_warn"].backend == "fentry"
    first.close()
    host.log.clear()
    host.refusals[programs("split_lock_warn")[0]] = errno.EPERM
    with pytest.raises(
        SldtraceError, match="fentry is refused for split_lock_warn: Operation not permitted; "
    ):
        load("fentry")
    assert len(host.done("compile")) == len(host.done("close")) == 1
    assert host.attached() == set()


# What is missing


@pytest.mark.parametrize("missing", ["handle_guest_split_lock", "msleep_interruptible"])
@pytest.mark.parametrize("end", ["ret", ""])
def test_what_nothing_can_do_without(host: Host, missing: str, end: str) -> None:
    host.mode = "fatal"
    host.refusals[f"k{end}probe__{missing}"] = errno.ENOENT
    with pytest.raises(SldtraceError) as caught:
        load("kprobe")
    assert str(caught.value).startswith(f"{missing} cannot be probed: No such file or directory; ")
    assert "\n" not in str(caught.value)
    assert host.attached() == set()
    assert host.log[-1] == ("close", "")


GUEST = "handle_guest_split_lock"


@pytest.mark.parametrize("kprobe", [False, True])
def test_where_split_lock_warn_begins_all_runs_its_caller_only_ends_them(host: Host, kprobe: bool) -> None:
    load("kprobe" if kprobe else None)
    assert {name for name in host.attached() if GUEST in name} == set(programs(GUEST, kprobe))
    assert len(programs(GUEST, kprobe)) == 1


@pytest.mark.parametrize("mode", ["fatal", "off", "ratelimit:5"])
def test_a_guests_run_that_may_not_come_by_split_lock_warn_begins_in_its_caller(
    host: Host, mode: str
) -> None:
    host.mode = mode
    loaded = load()
    assert host.done("attach")[-2:] == [f"kretfunc__vmlinux__{GUEST}", f"kfunc__vmlinux__{GUEST}"]
    assert [probe.name for probe in loaded.attached].count(GUEST) == 1


def test_nor_does_it_where_split_lock_warn_is_inlined(host: Host) -> None:
    host.refusals["kfunc__vmlinux__split_lock_warn"] = errno.ENOENT
    host.refusals["kprobe__split_lock_warn"] = errno.ENOENT
    loaded = load()
    assert found(loaded)["split_lock_warn"].backend == ""
    assert host.done("attach")[-2:] == [f"kretfunc__vmlinux__{GUEST}", f"kfunc__vmlinux__{GUEST}"]


def test_a_beginning_that_is_refused_fentry_gets_a_kprobe(host: Host) -> None:
    host.mode = "fatal"
    host.refusals[f"kfunc__vmlinux__{GUEST}"] = errno.EINVAL
    assert found(load())[GUEST].backend == "kprobe"
    assert {f"kretprobe__{GUEST}", f"kprobe__{GUEST}"} <= host.attached()


@pytest.mark.parametrize("missing", ["down_interruptible", "split_lock_warn"])
def test_a_probe_that_is_not_required_is_a_warning(host: Host, missing: str) -> None:
    *others, entry = programs(missing, kprobe=True)
    host.refusals[entry] = errno.EINVAL
    loaded = load("kprobe")
    assert probes.Probe(missing, "", "Invalid argument") in loaded.attached
    # A return is attached first, and taken off again.
    assert set(others) <= set(host.done("attach")) & set(host.done("detach"))
    assert not {*others, entry} & host.attached()
    loaded.close()
    assert host.attached() == set()


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("signal:signal_generate", "signal.bpf.c"),
        ("kvm:kvm_entry", "vcpu.bpf.c"),
        ("kvm:kvm_exit", "vcpu.bpf.c"),
        ("kvm:kvm_userspace_exit", "vcpu.bpf.c"),
        ("msr:write_msr", "detection.bpf.c"),
        ("sched:sched_migrate_task", "migrate.bpf.c"),
        ("sched:sched_process_exec", "end.bpf.c"),
        ("sched:sched_process_exit", "end.bpf.c"),
        ("lock:contention_begin", "stall.bpf.c"),
        ("synchronize_srcu", "stall.bpf.c"),
    ],
)
def test_a_probe_whose_source_was_left_out_says_why(
    host: Host, name: str, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.lacks.add(name)
    host.filtered[file] = "here kvm:x has no field y"
    monkeypatch.setattr(f"{MODULE}.tracepoints.identifier", lambda each: (*EARLY, *LATE).index(each))
    loaded = load()
    loaded.arm()
    names = KPROBED if name in KPROBED else (name,)
    assert [probe for probe in loaded.attached if not probe.backend] == [
        probes.Probe(each, "", "here kvm:x has no field y") for each in names
    ]


@pytest.mark.parametrize("name", ["signal:signal_generate", "kvm:kvm_exit", "lock:contention_begin"])
def test_tracepoints_that_the_kernel_lacks(host: Host, name: str) -> None:
    host.lacks.add(name)
    loaded = load()
    loaded.arm()
    assert found(loaded)[name] == probes.Probe(name, "", "this kernel does not have it now")
    assert len([probe for probe in loaded.attached if not probe.backend]) == 1


def test_without_btf_what_reads_a_task_is_no_raw_tracepoint(host: Host) -> None:
    host.described = False
    loaded = load()
    loaded.arm()
    for name in DESCRIBED:
        assert found(loaded)[name] == probes.Probe(name, "tracepoint")
        assert set(programs(name, described=False)) <= host.attached()
    assert found(loaded)["kvm:kvm_entry"].backend == "raw_tracepoint"


def test_a_raw_tracepoint_that_does_not_load_where_btf_tells_the_layout(host: Host) -> None:
    host.refused["raw_tracepoint__signal_generate"] = "invalid indirect read"
    assert [probe for probe in load().attached if not probe.backend] == [
        probes.Probe("signal:signal_generate", "", "invalid indirect read")
    ]


def test_a_tracepoint_that_refuses(host: Host) -> None:
    host.refusals["tracepoint__kvm__kvm_exit"] = errno.EACCES
    loaded = load()
    assert [probe for probe in loaded.arm() if not probe.backend] == [
        probes.Probe("kvm:kvm_exit", "", "Permission denied")
    ]


def test_a_tracepoint_whose_program_does_not_load(host: Host) -> None:
    host.refused["raw_tracepoint__kvm_entry"] = "invalid indirect read"
    loaded = load()
    assert [probe for probe in loaded.arm() if not probe.backend] == [
        probes.Probe("kvm:kvm_entry", "", "invalid indirect read")
    ]


def test_an_interruption_while_attaching_leaves_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(descriptor: int, name: str | None = None) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(syscalls, "attach_traced", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load()
    assert host.attached() == set()
    assert host.log[-1] == ("close", "")


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
    monkeypatch.setattr(f"{MODULE}.kernel.lockdown", lambda: mode)
    monkeypatch.setattr(f"{MODULE}.os.geteuid", lambda: uid)
    host.refusals["kretprobe__handle_guest_split_lock"] = errno.EPERM
    with pytest.raises(SldtraceError) as caught:
        load("kprobe")
    assert advice in str(caught.value.hint)


def test_nothing_but_the_links_is_closed_by_disarm(host: Host) -> None:
    loaded = load()
    loaded.arm()
    loaded.disarm()
    for descriptor in loaded.program.functions.values():
        os.fstat(descriptor)
    loaded.close()
    assert loaded.program.functions == {}


def test_a_probe_as_a_fact() -> None:
    assert probes.Probe("f", "kprobe", "why").fact() == {"name": "f", "backend": "kprobe", "detail": "why"}


def test_each_probe_is_logged_with_its_backend(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("sldtrace"), "propagate", True)
    caplog.set_level(logging.INFO, "sldtrace")
    host.refused["kprobe__synchronize_srcu"] = "no such function"
    loaded = load()
    loaded.arm()
    lines = [record.getMessage() for record in caplog.records]
    for probe in loaded.attached:
        detail = f" ({probe.detail})" if probe.detail else ""
        assert f"{probe.name}: {probe.backend or 'not attached'}{detail}" in lines
    assert [line for line in lines if line.startswith("attach the probes: ")]
