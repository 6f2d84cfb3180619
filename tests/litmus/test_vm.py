"""A guest that times its own locks; on a host with KVM it runs, elsewhere its refusal is one line."""

import os
import subprocess
from pathlib import Path

import pytest

from sldtrace.errors import SldtraceError
from sldtrace.litmus import code, vm
from sldtrace.litmus.plan import Plan
from sldtrace.litmus.run import End, run
from sldtrace.vmm import kvm

needs_kvm = pytest.mark.skipif(not os.access(kvm.DEVICE, os.R_OK | os.W_OK), reason="no /dev/kvm")


def test_the_image_is_the_programs_code_in_a_loop(tmp_path: Path) -> None:
    text = "again:" + code.CODE.replace("ret\n", "out %eax, $0x5d\n.byte 0xe9\n.long again - . - 4\n")
    (tmp_path / "code.s").write_text(text)
    source, compiled, image = (str(tmp_path / name) for name in ("code.s", "code.o", "code.bin"))
    subprocess.run(["as", "--64", "-o", compiled, source], check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", compiled, image], check=True)
    assert (tmp_path / "code.bin").read_bytes() == vm._IMAGE


@needs_kvm
def test_each_call_executes_one_lock_of_its_operand() -> None:
    with vm.VmLock() as lock:
        for _ in range(3):
            before, after = lock.execute(False)
            assert after > before
        lock.execute(True)
        assert (lock.executed(False), lock.executed(True)) == (3, 1)


@needs_kvm
def test_a_plan_runs_in_a_vm() -> None:
    outcome = run(Plan(locks=7, spacings_ns=(100_000, 0)), vm.VmLock)
    assert outcome.end is End.FINISHED
    assert [len(outcome.durations_ns(split)) for split in (True, False)] == [7, 7]
    assert all(duration > 0 for duration in outcome.durations_ns(True))


def test_without_kvm_it_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvm, "DEVICE", "/nowhere/kvm")
    with pytest.raises(SldtraceError, match="cannot open /nowhere/kvm"):
        run(Plan(locks=1), vm.VmLock)
