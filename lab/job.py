"""Jobs: what a machine runs, how that is packed into its initramfs, how its result disk is read."""

import os
import re
import shlex
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from lab import hosttools
from lab.failures import LabError
from lab.image import Cpio
from lab.kernel import DEFAULT, canonical
from lab.limits import MACHINE_TIME, STALLED, Limits
from lab.rootfs import DEFAULT as DEFAULT_ROOT
from lab.rootfs import SYSTEMD, known

REPOSITORY = Path(__file__).resolve().parent.parent
# The result disk: a header, and after it a tar archive.
HEADER_SIZE = 64 << 10
RESULT_DISK = 1 << 30

SKIPPED = ("cryptomgr.notests=1", "initcall_blacklist=load_system_certificate_list,jent_mod_init")
"""Half of the boot of a kernel and of no use here: self-tests of cryptography, the jitter random generator,
certificates for module signatures (the lab's modules come without)."""

_TREE_MAX = 64 << 20
_MODES = r"off|warn|fatal|ratelimit:([1-9]\d{0,2}|1000)"


@dataclass(frozen=True)
class Job:
    """One run of one machine. Wrong values raise LabError when the job is made.

    command: what runs, in /sldtrace, as root; standard input is /dev/null.
    kernel: a name of kernel.KERNELS or an alias. root: a root file system of rootfs.ROOTS.
    cpus: 1 or 2. memory: MB.
    machine_time, stalled, timeout: when it is ended; see limits.Limits.
    expected: seconds of the machine's own time that it usually takes, for the progress; None: not known.
    split_lock_detect: the boot parameter; None leaves the kernel's default (warn).
    mitigate: the sysctl kernel.split_lock_mitigate; None leaves the default (1).
    append: more of the kernel command line. environment: more variables for the command.
    tree: the folder put at /sldtrace (what git tracks or would track, when it is in a checkout).
    put: path in the machine (absolute): file of this host. put_kernel: where the machine finds the image of
    its own kernel, for a VM in it; None: nowhere. The modules that the lab loads are in PUT_KERNEL.modules,
    as 00-FIRST.ko and so on in the order of loading. fetch: paths in the machine (relative ones are below
    /sldtrace) to bring to the folder `out`, each under its last name.
    """

    command: Sequence[str]
    kernel: str = DEFAULT
    root: str = DEFAULT_ROOT
    cpus: int = 1
    split_lock_detect: str | None = None
    mitigate: int | None = None
    append: str = ""
    memory: int = 1024
    machine_time: float = MACHINE_TIME
    stalled: float = STALLED
    timeout: float | None = None
    expected: float | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    tree: Path = REPOSITORY
    put: Mapping[str, Path] = field(default_factory=dict)
    put_kernel: str | None = None
    fetch: Sequence[str] = ()
    out: Path | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel", canonical(self.kernel))
        known(self.root)
        if not self.command:
            raise LabError("no command to run", "put it after --")
        if self.cpus not in (1, 2):
            raise LabError(f"the machine cannot have {self.cpus} CPUs", "1 or 2")
        if not 512 <= self.memory <= 3072:
            raise LabError(f"the machine cannot have {self.memory} MB of memory", "512 to 3072")
        Limits(self.machine_time, self.stalled, self.timeout)  # raises LabError when one is not more than 0
        if self.mitigate not in (None, 0, 1):
            raise LabError(f"kernel.split_lock_mitigate cannot be {self.mitigate}", "0 or 1")
        if self.split_lock_detect is not None and not re.fullmatch(_MODES, self.split_lock_detect):
            raise LabError(
                f"split_lock_detect={self.split_lock_detect} is not a mode", "off, warn, fatal, ratelimit:N"
            )
        if self.fetch and self.out is None:
            raise LabError("--fetch needs a folder for the files", "add --out DIR")
        for path in self.fetch:
            _check_path(path)
        names = [PurePosixPath(path).name for path in self.fetch]
        if len(set(names)) != len(names) or "" in names:
            raise LabError("two fetched files have the same name", "fetch the folder that holds them")
        for path in (*self.put, *([self.put_kernel] if self.put_kernel is not None else [])):
            _check_path(path)
            if not path.startswith("/") or ".." in PurePosixPath(path).parts:
                raise LabError(f"{path} is not an absolute path in the machine", "--put FILE:/path")
        for name in self.environment:
            if not re.fullmatch(r"[A-Za-z_]\w*", name):
                raise LabError(f"{name!r} is not the name of an environment variable")

    @property
    def limits(self) -> Limits:
        """When the machine is ended."""
        return Limits(self.machine_time, self.stalled, self.timeout)

    @property
    def command_line(self) -> str:
        """The kernel's command line. idle=halt: Bochs sometimes loses a wake-up out of MWAIT."""
        parts = ["console=ttyS0,115200", "quiet", "idle=halt", *SKIPPED]
        if self.split_lock_detect is not None:
            parts.append(f"split_lock_detect={self.split_lock_detect}")
        return " ".join([*parts, self.append]).strip()


def pack(job: Job, archive: Cpio) -> None:
    """Puts the tree, the files, the command and the settings into the initramfs, below /job."""
    archive.folder("job/put")
    archive.folder("job/tree")
    pack_tree(job.tree, "job/tree", archive)
    for path, source in job.put.items():
        try:
            archive.file(
                f"job/put{path}", source.read_bytes(), 0o755 if os.access(source, os.X_OK) else 0o644
            )
        except OSError as error:
            raise LabError(f"{source} cannot be read: {error.strerror}") from None
    variables = {"PYTHONPATH": "/sldtrace", "PYTHONUNBUFFERED": "1", **job.environment}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    lines += ["cd /sldtrace", f"exec {shlex.join(job.command)}"]
    archive.file("job/run", ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))
    archive.file("job/fetch", "".join(f"{path}\n" for path in job.fetch).encode())
    mitigate = "" if job.mitigate is None else str(job.mitigate)
    systemd = int(job.root == SYSTEMD)
    archive.file("job/settings", f"LAB_MITIGATE={mitigate}\nLAB_SYSTEMD={systemd}\n".encode())


def pack_tree(tree: Path, where: str, archive: Cpio) -> None:
    """Puts what git tracks in a folder, or would track, into the archive; without git, all but caches."""
    if not tree.is_dir():
        raise LabError(f"{tree} is not a folder")
    total = 0
    for name in sorted(tree_files(tree)):
        path = tree / name
        if path.is_symlink():
            archive.link(f"{where}/{name}", os.readlink(path))
        elif path.is_file():
            data = path.read_bytes()
            total += len(data)
            if total > _TREE_MAX:
                raise LabError(
                    f"{tree} holds more than {_TREE_MAX >> 20} MB", "name a smaller folder with --tree"
                )
            archive.file(f"{where}/{name}", data, 0o755 if os.access(path, os.X_OK) else 0o644)


def tree_files(tree: Path) -> list[str]:
    """Relative paths of the files of a tree: what git tracks or would track; without git, all but caches."""
    try:
        listed = subprocess.run(
            # The checkout may belong to another user; it is only read.
            ["git", "-c", "safe.directory=*", "-C", tree, "ls-files", "-z", "-c", "-o", "--exclude-standard"],
            capture_output=True,
        )
    except FileNotFoundError:
        hosttools.require(["git"])
        raise
    if listed.returncode == 0:
        return [name.decode("utf-8", "surrogateescape") for name in set(listed.stdout.split(b"\0")) if name]
    found = []
    for base, folders, files in os.walk(tree):
        folders[:] = [name for name in folders if name not in (".git", "__pycache__", ".venv")]
        found += [os.path.relpath(os.path.join(base, name), tree) for name in files]
    return found


@dataclass(frozen=True)
class ResultHeader:
    """The header of the result disk: exit status of the command, paths found, paths missing."""

    status: int
    found: tuple[str, ...]
    missing: tuple[str, ...]


def read_header(disk: Path) -> ResultHeader | None:
    """The header; None when the machine ended before it was written."""
    with disk.open("rb") as file:
        text = file.read(HEADER_SIZE).rstrip(b"\0").decode("utf-8", "surrogateescape")
    lines = text.splitlines()
    if len(lines) < 3 or lines[0] != "sldtrace-lab 1" or lines[-1] != "end":
        return None
    fields = [line.partition(" ") for line in lines[1:-1]]
    if any(name == "full" for name, _, _ in fields):
        raise LabError(f"the files to fetch have more than {RESULT_DISK >> 20} MB")
    return ResultHeader(
        status=next(int(value) for name, _, value in fields if name == "status"),
        found=tuple(value for name, _, value in fields if name == "found"),
        missing=tuple(value for name, _, value in fields if name == "missing"),
    )


def extract_files(disk: Path, header: ResultHeader, out: Path) -> dict[str, Path]:
    """Writes the fetched files to the folder; returns {path as asked for: path on this host}.

    Only regular files and folders are taken, and nothing is written outside the folder.
    """
    if not header.found:
        return {}
    asked = {path.lstrip("/"): path for path in header.found}
    try:
        out.mkdir(parents=True, exist_ok=True)
        with disk.open("rb") as file:
            file.seek(HEADER_SIZE)
            with tarfile.open(fileobj=file, mode="r|") as tar:
                for member in tar:
                    target = _target(member.name, asked, out)
                    if target is None:
                        continue
                    if member.isdir():
                        target.mkdir(parents=True, exist_ok=True)
                    elif content := tar.extractfile(member):
                        target.parent.mkdir(parents=True, exist_ok=True)
                        with target.open("wb") as copy:
                            while block := content.read(1 << 20):
                                copy.write(block)
    except tarfile.TarError as error:
        raise LabError(f"the fetched files cannot be read from the result disk: {error}") from None
    except OSError as error:
        raise LabError(f"{error.filename or out} cannot be written: {error.strerror}") from None
    return {path: out / PurePosixPath(path).name for path in header.found}


def _target(member: str, asked: Mapping[str, str], out: Path) -> Path | None:
    parts = PurePosixPath(member).parts
    if ".." in parts:
        return None
    for path in asked:
        top = PurePosixPath(path).parts
        if parts[: len(top)] == top:
            return out.joinpath(top[-1], *parts[len(top) :])
    return None


def _check_path(path: str) -> None:
    if not path or re.search(r"[\x00-\x1f]", path) or path != path.strip():
        raise LabError(f"{path!r} cannot be a path in the machine")
