"""Finding bcc where the distribution put it, and keeping what libbcc says off the terminal."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sldtrace import resources
from sldtrace.capture.bpf import bcc
from sldtrace.errors import SldtraceError
from tests import leftovers


def package(folder: Path, text: str) -> Path:
    """A package named bcc in that folder."""
    (folder / "bcc").mkdir(parents=True)
    (folder / "bcc" / "__init__.py").write_text(text)
    return folder


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python without any bcc, whatever this machine has."""
    monkeypatch.delitem(sys.modules, "bcc", raising=False)
    monkeypatch.setattr(
        sys, "path", [path for path in sys.path if not os.path.isdir(os.path.join(path, "bcc"))]
    )
    monkeypatch.setattr(bcc, "_DISTRIBUTION_PATHS", ())


def refused() -> str:
    before = list(sys.path)
    with pytest.raises(SldtraceError) as caught:
        bcc.load()
    assert sys.path == before
    assert "bcc" not in sys.modules
    text = str(caught.value)
    assert "\n" not in text
    assert "apt install python3-bpfcc" in text
    assert text.startswith("the Python module bcc cannot be used (")
    return text


@pytest.mark.usefixtures("nowhere")
def test_found_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(package(tmp_path, "class BPF: pass\n"))
    module = bcc.load()
    assert module.__file__ == str(tmp_path / "bcc" / "__init__.py")
    assert bcc.load() is module


@pytest.mark.usefixtures("nowhere")
def test_found_where_a_virtual_environment_does_not_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = package(tmp_path, "class BPF: pass\n")
    monkeypatch.setattr(bcc, "_DISTRIBUTION_PATHS", ("/nowhere/at/all", str(folder)))
    before = list(sys.path)
    assert hasattr(bcc.load(), "BPF")
    assert sys.path == before


@pytest.mark.usefixtures("nowhere")
def test_the_path_comes_before_the_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(package(tmp_path / "path", "class BPF: where = 'path'\n"))
    folder = package(tmp_path / "distribution", "class BPF: where = 'distribution'\n")
    monkeypatch.setattr(bcc, "_DISTRIBUTION_PATHS", (str(folder),))
    assert bcc.load().BPF.where == "path"


@pytest.mark.usefixtures("nowhere")
def test_not_found() -> None:
    assert refused()


@pytest.mark.usefixtures("nowhere")
def test_another_package_of_that_name_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyPI's bcc is about body-centred cubic crystals."""
    monkeypatch.syspath_prepend(package(tmp_path, "def lattice(): return 'cubic'\n"))
    assert f"{tmp_path}/bcc/__init__.py is another package of that name" in refused()


@pytest.mark.usefixtures("nowhere")
def test_an_empty_folder_of_that_name_is_not_bcc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bcc").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert "(not found)" in refused()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise OSError('libbcc.so.0: cannot open shared object file')\n", "libbcc.so.0: cannot open shared"),
        ("import a_module_that_is_not_there\n", "No module named 'a_module_that_is_not_there'"),
        ("from bcc import libbcc\n", "libbcc"),
    ],
)
@pytest.mark.usefixtures("nowhere")
def test_bcc_that_cannot_be_imported_says_why(
    text: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(package(tmp_path, text))
    assert reason in refused()


# Chatter


def open_files() -> int:
    return len(leftovers.files())


def test_what_is_written_to_descriptor_2_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    before = os.fstat(2)
    with bcc.quiet() as lines:
        os.write(2, b"libbpf: one\n\xff two\n")
        assert lines == []
    assert lines == ["libbpf: one", "\ufffd two"]
    after = os.fstat(2)
    assert (after.st_dev, after.st_ino) == (before.st_dev, before.st_ino)
    os.write(2, b"heard\n")
    assert capfd.readouterr().err == "heard\n"


def test_also_when_it_fails() -> None:
    before = os.fstat(2)
    kept: list[str] = []

    def fail() -> None:
        nonlocal kept
        with bcc.quiet() as kept:
            os.write(2, b"why\n")
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()
    assert kept == ["why"]
    assert os.fstat(2).st_ino == before.st_ino


def test_what_python_had_still_to_write_is_not_swallowed(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(2, "w", closefd=False) as buffered:
        monkeypatch.setattr(sys, "stderr", buffered)
        buffered.write("before ")
        with bcc.quiet() as lines:
            os.write(2, b"inside")
            buffered.flush()
        monkeypatch.undo()
    assert lines == ["inside"]
    assert capfd.readouterr().err == "before "


def test_no_descriptor_is_left_open() -> None:
    with bcc.quiet():
        pass
    before = open_files()
    for _ in range(5):
        with bcc.quiet() as outer:
            with bcc.quiet() as inner:
                os.write(2, b"inner")
            os.write(2, b"outer")
        assert (outer, inner) == (["outer"], ["inner"])
    assert open_files() == before


def test_a_short_kallsyms_is_for_this_process_only() -> None:
    """Where mounting is refused, the file stays as it is."""
    before = Path("/proc/kallsyms").read_bytes()
    program = (
        "from sldtrace.capture.bpf import bcc\n"
        "print(bcc.shorten_kallsyms())\n"
        "print(open('/proc/kallsyms').read(), end='')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    short, content = done.stdout.split("\n", 1)
    expected = (resources.bpf() / "stub" / "kallsyms").read_bytes() if short == "True" else before
    assert content.encode() == expected
    assert b" bpf_probe_read_kernel\n" in expected
    assert Path("/proc/kallsyms").read_bytes() == before
