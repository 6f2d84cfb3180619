"""Which half of KVM is there."""

from pathlib import Path

import pytest

from sldtrace.host import kvm


@pytest.mark.parametrize(
    ("modules", "builtin", "flags", "expected"),
    [
        ("kvm_intel 1 0 - Live 0x0\nkvm 1 0 - Live 0x0\n", [], {"vmx"}, "kvm_intel"),
        ("kvm_amd 1 0 - Live 0x0\n", [], {"svm"}, "kvm_amd"),
        ("kvm 1 0 - Live 0x0\n", ["kvm"], {"vmx"}, None),
        ("", ["kvm", "kvm_intel", "kvm_amd"], {"vmx"}, "kvm_intel"),
        ("", ["kvm", "kvm_intel", "kvm_amd"], {"svm"}, "kvm_amd"),
        ("", ["kvm", "kvm_intel", "kvm_amd"], set(), None),
        (None, ["kvm_pvm"], set(), "kvm_pvm"),
        (None, [], {"vmx"}, None),
    ],
)
def test_module(
    modules: str | None, builtin: list[str], flags: set[str], expected: str | None, tmp_path: Path
) -> None:
    if modules is not None:
        (tmp_path / "modules").write_text(modules)
    for name in builtin:
        (tmp_path / "module" / name).mkdir(parents=True)
    assert kvm.module(flags, tmp_path, tmp_path) == expected
