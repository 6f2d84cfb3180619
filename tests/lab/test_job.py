"""Jobs: what is refused, what is packed, and how the result disk is read."""

import io
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from lab import job
from lab.failures import LabError
from lab.image import Cpio
from lab.job import Job, ResultHeader


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"command": []}, "no command"),
        ({"kernel": "5.4"}, "no kernel"),
        ({"cpus": 3}, "1 or 2"),
        ({"memory": 64}, "512 to 3072"),
        ({"timeout": 0}, "more than 0"),
        ({"machine_time": 0}, "more than 0"),
        ({"stalled": -1}, "more than 0"),
        ({"mitigate": 2}, "0 or 1"),
        ({"split_lock_detect": "on"}, "is not a mode"),
        ({"split_lock_detect": "ratelimit:0"}, "is not a mode"),
        ({"split_lock_detect": "warn quiet"}, "is not a mode"),
        ({"fetch": ["/x"]}, "--out"),
        ({"fetch": ["/x", "/y/x"], "out": Path("o")}, "same name"),
        ({"fetch": ["/"], "out": Path("o")}, "same name"),
        ({"fetch": ["a\nb"], "out": Path("o")}, "cannot be a path"),
        ({"put": {"relative": Path("x")}}, "absolute"),
        ({"put": {"/a/../b": Path("x")}}, "absolute"),
        ({"put_kernel": "vmlinuz"}, "absolute"),
        ({"environment": {"A B": "1"}}, "is not the name"),
    ],
)
def test_invalid_fields_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(LabError, match=message):
        Job(**{"command": ["true"], **fields})


def test_the_command_line_holds_what_was_asked_for() -> None:
    line = Job(["true"], split_lock_detect="ratelimit:20", append="nosmt loglevel=7").command_line.split()
    assert {"quiet", "idle=halt", "split_lock_detect=ratelimit:20", "nosmt"} <= set(line)
    assert line[-1] == "loglevel=7"
    assert not any(word.startswith("split_lock_detect") for word in Job(["true"]).command_line.split())


def test_the_packed_script_passes_words_as_they_are(tmp_path: Path) -> None:
    words = ["one two", "it's", "$HOME `id`", "", "back\\slash", "line\nbreak", "\udcff"]
    files = packed(Job(["printf", "%s\\0", *words], environment={"MARK": "a'b c"}, tree=tmp_path))
    script = files["job/run"].replace(b"cd /sldtrace", b"cd /")
    out = subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout
    assert out.split(b"\0")[:-1] == [word.encode("utf-8", "surrogateescape") for word in words]
    assert b"export MARK='a'\"'\"'b c'\n" in script


def test_tracked_and_new_files_are_packed_and_ignored_ones_are_not(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text("ignored\n")
    (tmp_path / "gone").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "tracked").write_text("tracked")
    subprocess.run(["git", "-C", tmp_path, "add", "."], check=True)
    (tmp_path / "gone").unlink()
    (tmp_path / "ignored").write_text("x")
    (tmp_path / "new").write_text("new")
    files = packed(Job(["true"], tree=tmp_path))
    tree = {name for name in files if name.startswith("job/tree/")}
    assert tree == {"job/tree/.gitignore", "job/tree/folder", "job/tree/folder/tracked", "job/tree/new"}
    assert files["job/tree/folder/tracked"] == b"tracked"


def test_a_folder_without_git_is_packed_without_caches(tmp_path: Path) -> None:
    for name in ("a.py", "__pycache__/a.pyc", "sub/b.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert sorted(job.tree_files(tmp_path)) == ["a.py", "sub/b.py"]


def test_put_files_keep_their_place_and_content(tmp_path: Path) -> None:
    (tmp_path / "tool").write_bytes(b"\0\xff")
    files = packed(Job(["true"], tree=tmp_path, put={"/opt/x/tool": tmp_path / "tool"}))
    assert files["job/put/opt/x/tool"] == b"\0\xff"


def test_a_file_to_put_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="none cannot be read"):
        packed(Job(["true"], tree=tmp_path, put={"/x": tmp_path / "none"}))


def test_a_header_is_read_back(tmp_path: Path) -> None:
    disk = result_disk(tmp_path, "status 7\nfound /tmp/a b\nmissing x\n", {})
    assert job.read_header(disk) == ResultHeader(7, ("/tmp/a b",), ("x",))


@pytest.mark.parametrize(
    "text", ["", "sldtrace-lab 1\nstatus 7\n", "status 0\nend\n", "sldtrace-lab 2\nstatus 0\nend\n"]
)
def test_a_disk_without_a_complete_header_has_no_result(tmp_path: Path, text: str) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(text.encode().ljust(job.HEADER_SIZE, b"\0"))
    assert job.read_header(disk) is None


def test_files_and_folders_come_out_under_their_last_name(tmp_path: Path) -> None:
    members = {"tmp/rec.sld": b"\1\2", "var/x/one": b"1", "var/x/deep/two": b"2", "etc/not-asked": b"no"}
    disk = result_disk(tmp_path, "status 0\nfound /tmp/rec.sld\nfound /var/x\n", members)
    header = job.read_header(disk)
    assert header is not None
    out = tmp_path / "out"
    assert job.extract_files(disk, header, out) == {"/tmp/rec.sld": out / "rec.sld", "/var/x": out / "x"}
    assert (out / "rec.sld").read_bytes() == b"\1\2"
    assert (out / "x/deep/two").read_bytes() == b"2"
    assert sorted(p.name for p in out.rglob("*")) == ["deep", "one", "rec.sld", "two", "x"]


def test_nothing_is_written_outside_the_folder(tmp_path: Path) -> None:
    disk = result_disk(
        tmp_path, "status 0\nfound /x\n", {"x/../../escaped": b"!", "../x": b"!", "x/fine": b"ok"}
    )
    header = job.read_header(disk)
    assert header is not None
    job.extract_files(disk, header, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").rglob("*") if p.is_file()] == ["fine"]
    assert not (tmp_path / "escaped").exists()


def test_an_archive_that_is_cut_is_one_line(tmp_path: Path) -> None:
    disk = result_disk(tmp_path, "status 0\nfound /x\n", {"x": b"d" * 5000})
    with disk.open("r+b") as file:
        file.truncate(job.HEADER_SIZE + 2000)
    with pytest.raises(LabError, match="cannot be read from the result disk"):
        job.extract_files(disk, ResultHeader(0, ("/x",), ()), tmp_path / "out")


@pytest.mark.parametrize(("root", "systemd"), [("plain", 0), ("tracers", 0), ("systemd", 1)])
def test_systemd_is_the_first_process_where_it_is_there(root: str, systemd: int, tmp_path: Path) -> None:
    settings = packed(Job(["true"], root=root, tree=tmp_path))["job/settings"].decode()
    assert f"\nLAB_SYSTEMD={systemd}\n" in settings


def packed(what: Job) -> dict[str, bytes]:
    """The regular files and folders of the job's archive."""
    archive = Cpio()
    job.pack(what, archive)
    data, at = archive.finish(), 0
    found: dict[str, bytes] = {}
    while True:
        size, length = (int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in (6, 11))
        name = data[at + 110 : at + 109 + length].decode()
        at += -(-(110 + length) // 4) * 4
        if name == "TRAILER!!!":
            return found
        found[name] = data[at : at + size]
        at += -(-size // 4) * 4


def result_disk(folder: Path, lines: str, members: dict[str, bytes]) -> Path:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    disk = folder / "disk"
    header = f"sldtrace-lab 1\n{lines}end\n".encode()
    disk.write_bytes(header.ljust(job.HEADER_SIZE, b"\0") + archive.getvalue())
    return disk
