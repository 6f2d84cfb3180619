"""Asking the kernel about programs."""

import errno
import os
from pathlib import Path

import pytest

from sldtrace.host import access, bpf
from tests import leftovers


def test_the_answer_is_one_of_the_kernels() -> None:
    before = leftovers.files()
    answer = bpf.refusal()
    assert answer is None or answer.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS)
    assert leftovers.files().items() <= before.items()


@pytest.mark.skipif(os.geteuid() == 0, reason="not for root")
def test_without_privilege_it_is_refused() -> None:
    if not access.may_trace(access.effective_capabilities()):
        assert bpf.refusal() is not None


@pytest.mark.parametrize(("text", "value"), [("2\n", 2), ("0\n", 0), ("", None), (None, None)])
def test_the_sysctl(text: str | None, value: int | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "x").write_text(text)
    assert bpf.unprivileged(tmp_path / "x") == value
