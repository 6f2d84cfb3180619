"""The folder of a recording is looked at before anything is compiled or started."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from sldtrace.errors import SldtraceError
from sldtrace.recording import target


@pytest.mark.parametrize(
    ("flags", "words"), [(os.ST_RDONLY, "Read-only file system"), (0, "Permission denied")]
)
def test_a_folder_that_may_not_be_written_to_is_known_beforehand(
    flags: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.sld"
    target.check(path, force=False)
    # Root may write everywhere: the kernel's answers are played.
    monkeypatch.setattr(os, "access", lambda where, mode: False)
    monkeypatch.setattr(os, "statvfs", lambda where: SimpleNamespace(f_flag=flags))
    with pytest.raises(SldtraceError, match=f"cannot create .*a.sld: {words}; write the recording somewhere"):
        target.check(path, force=False)
