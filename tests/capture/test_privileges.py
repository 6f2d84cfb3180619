"""What the recorder keeps of its rights, in a child that really gives them up."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from sldtrace.capture import privileges
from sldtrace.host.access import CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, effective_capabilities

BPF, PERFMON, ADMIN = 1 << CAP_BPF, 1 << CAP_PERFMON, 1 << CAP_SYS_ADMIN
CAP_SETPCAP = 8
HELD = effective_capabilities()
NEEDED = BPF | PERFMON | ADMIN | 1 << CAP_SETPCAP

pytestmark = pytest.mark.skipif(HELD & NEEDED != NEEDED, reason="needs the capabilities of root")


def in_child(work: Any) -> dict[str, Any]:
    """What a child finds after `work`: its result, its status by name, or the error."""
    there, here = os.pipe()
    child = os.fork()
    if not child:
        try:
            answer: dict[str, Any] = {"result": work()}
            status = Path("/proc/self/status").read_text()
            answer |= dict(re.findall(r"^(Cap\w+|NoNewPrivs):\s*(\w+)$", status, re.MULTILINE))
        except BaseException as error:
            answer = {"error": repr(error)}
        os.write(here, json.dumps(answer).encode())
        os._exit(0)
    os.close(here)
    with os.fdopen(there) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return dict(json.loads(text))


def paranoid(folder: Path, text: str | None) -> Path:
    path = folder / "perf_event_paranoid"
    if text is not None:
        path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("-1\n", BPF | PERFMON),
        ("2\n", BPF | PERFMON),
        ("3\n", BPF | PERFMON | ADMIN),
        ("4\n", BPF | PERFMON | ADMIN),
        (None, BPF | PERFMON),
        ("garbage", BPF | PERFMON),
    ],
)
def test_nothing_is_kept_but_what_attaching_takes(text: str | None, kept: int, tmp_path: Path) -> None:
    path = paranoid(tmp_path, text)
    found = in_child(lambda: privileges.drop(paranoid=path))
    assert found.get("error") is None
    assert found["result"] == kept
    assert int(found["CapEff"], 16) == int(found["CapPrm"], 16) == kept
    assert int(found["CapInh"], 16) == int(found["CapAmb"], 16) == 0
    assert int(found["CapBnd"], 16) & ~kept == 0
    assert found["NoNewPrivs"] == "1"


def test_a_right_that_was_given_up_is_gone(tmp_path: Path) -> None:
    (tmp_path / "locked").write_text("")
    (tmp_path / "locked").chmod(0)
    os.chown(tmp_path / "locked", 12345, 12345)

    def work() -> str:
        privileges.drop(paranoid=paranoid(tmp_path, "2"))
        try:
            open(tmp_path / "locked").close()
        except PermissionError:
            return "refused"
        return "opened"

    assert in_child(work)["result"] == "refused"


def test_twice_is_as_good_as_once(tmp_path: Path) -> None:
    path = paranoid(tmp_path, "2")
    found = in_child(lambda: [privileges.drop(paranoid=path), privileges.drop(paranoid=path)])
    assert found["result"] == [BPF | PERFMON] * 2


def test_a_kernel_without_the_two_keeps_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 5.8 CAP_SYS_ADMIN is what it takes."""
    old = HELD & ~(BPF | PERFMON)
    monkeypatch.setattr(privileges, "effective_capabilities", lambda: old)
    found = in_child(lambda: privileges.drop(paranoid=paranoid(tmp_path, "2")))
    assert found["result"] == int(found["CapEff"], 16) == ADMIN


def test_nothing_is_asked_for_that_it_does_not_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileges, "effective_capabilities", lambda: BPF | PERFMON)
    found = in_child(lambda: privileges.drop(paranoid=paranoid(tmp_path, "4")))
    assert found["result"] == int(found["CapEff"], 16) == BPF | PERFMON


def test_a_refusal_is_an_oserror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A capability that the process does not have any more cannot be had back."""

    def work() -> int:
        privileges.drop(paranoid=paranoid(tmp_path, "2"))
        monkeypatch.setattr(privileges, "effective_capabilities", lambda: HELD)
        return privileges.drop(paranoid=paranoid(tmp_path, "4"))

    assert "PermissionError" in in_child(work)["error"]


@pytest.mark.parametrize(("mode", "owner", "kept"), [(0o700, 0, 0), (0o755, 65534, 1), (0o777, 65534, 0)])
def test_files_that_are_made_later_take_the_right_to_if_it_is_needed(
    mode: int, owner: int, kept: int, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(mode)
    os.chown(folder, owner, owner)

    def work() -> int:
        privileges.drop([folder], paranoid(tmp_path, "2"))
        (folder / "later").touch()
        return 0

    found = in_child(work)
    assert "error" not in found
    assert int(found["CapEff"], 16) == BPF | PERFMON | kept << privileges.CAP_DAC_OVERRIDE
