"""Fetches Debian packages and sources with a private apt state, from this host's mirror."""

import hashlib
import json
import os
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from lab import cache, hosttools
from lab.failures import LabError
from lab.kernel import KERNELS
from lab.progress import Progress

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# Of the root file systems, the busybox, the firmware and the emulator's source.
SUITE = "trixie"
SUITES = tuple(dict.fromkeys([*(kernel.suite for kernel in KERNELS.values()), SUITE]))
# A mirror for hosts whose apt configuration names no Debian archive.
MIRROR_VARIABLE = "SLDTRACE_DEBIAN_MIRROR"

_HELPER = "/usr/lib/apt/apt-helper"
_HINT_NETWORK = "check this host's apt configuration and network, then: python3 -m lab build --update"


@dataclass(frozen=True)
class Package:
    """One file of the archive as the signed index names it; `sha256` is lower-case hex."""

    name: str
    version: str
    filename: str
    uri: str
    sha256: str


class PackageRemoved(LabError):
    """The archive no longer has the version that was resolved earlier."""


def mirror() -> str:
    """The address of the Debian archive that this host's own apt uses (apt-get(8): update --print-uris).

    Works before the host's first `apt-get update`, and for any user.
    """
    own = os.environ.get(MIRROR_VARIABLE)
    if own:
        return own
    uris = hosttools.run(
        ["apt-get", "update", "--print-uris"],
        what="reading this host's apt configuration",
        hint=f"or set {MIRROR_VARIABLE}=http://...",
    )
    return choose_mirror(uris)


def choose_mirror(uris: str) -> str:
    """The archive of the first index that belongs to a whole suite of Debian; LabError when there is none."""
    suites = {*SUITES, "forky", "duke", "stable", "testing", "unstable", "oldstable"}
    for base, suite in re.findall(r"^'(\S+/)dists/([^/\s]+)/InRelease'", uris, re.MULTILINE):
        if suite in suites and base.rstrip("/").rsplit("/", 1)[-1].startswith("debian"):
            return str(base)
    raise LabError(
        "this host's apt configuration names no Debian archive", f"set {MIRROR_VARIABLE}=http://..."
    )


def parse_uris(text: str) -> list[Package]:
    """The lines of `apt-get download --print-uris` and `apt-get source --print-uris`."""
    found = []
    for match in re.finditer(r"^'([^']+)' (\S+) \d+ SHA256:([0-9a-f]{64})\s*$", text, re.MULTILINE):
        uri, filename, sha256 = match.groups()
        name, _, rest = filename.partition("_")
        version = urllib.parse.unquote(re.sub(r"(_[a-z0-9]+)?\.(deb|dsc|(orig|debian)\.tar\.\w+)$", "", rest))
        found.append(Package(name, version, filename, uri, sha256))
    return found


class Archive:
    """The private apt state under the cache, and what has been resolved with it.

    What was resolved is remembered, so that a full cache needs no network. `update` asks again,
    `offline` never asks and raises LabError for what is not remembered.
    """

    def __init__(self, progress: Progress, update: bool = False, offline: bool = False) -> None:
        self._progress = progress
        self._folder = cache.folder() / "apt"
        self._memory = cache.folder() / "resolved.json"
        self._fresh = False
        self._update = update
        self._offline = offline

    def resolve(self, wanted: list[str]) -> list[Package]:
        """Binary packages named "package/suite", from the index, or from an earlier look-up."""
        return self._remember("binary " + " ".join(wanted), lambda: self._resolve(wanted))

    def resolve_source(self, wanted: str) -> list[Package]:
        """The files of a source package named "source=version"."""
        return self._remember(
            "source " + wanted,
            lambda: parse_uris(
                self._apt(["apt-get", "source", "--print-uris", wanted], f"finding the source {wanted}")
            ),
        )

    def depends(self, package: str) -> list[str]:
        """Names that "package/suite" depends on. Asks the index, so call it inside `remembered` code only."""
        self._refresh()
        text = self._apt(["apt-cache", "depends", package], f"finding {package}")
        return re.findall(r"^\s*\|?(?:Pre)?Depends: ([a-z0-9][\w.+-]*)$", text, re.MULTILINE)

    def resolve_kernel(self, meta: str) -> list[Package]:
        """What a kernel's metapackage ("package/suite") stands for: the image, or binary and modules."""
        return self._remember("kernel " + meta, lambda: self._resolve_kernel(meta))

    def download(self, package: Package, into: Path) -> Path:
        """Fetches one file with apt's own transport and checks its SHA-256 against the signed index."""
        into.mkdir(parents=True, exist_ok=True)
        path = into / package.filename
        self._configure()
        try:
            self._apt(
                [_HELPER, "download-file", package.uri, str(path), f"SHA256:{package.sha256}"],
                f"fetching {package.filename}",
            )
        except LabError as error:
            if "404" in error.message:
                raise PackageRemoved(f"the archive no longer has {package.filename}", _HINT_NETWORK) from None
            raise
        if hashlib.sha256(path.read_bytes()).hexdigest() != package.sha256:
            raise LabError(f"{package.filename} does not match the signed index", _HINT_NETWORK)
        return path

    def sources_line(self, suite: str) -> str:
        """The sources.list line of a suite on this host's mirror."""
        return f"deb [signed-by={KEYRING}] {mirror()} {suite} main"

    def _remember(self, name: str, ask: Callable[[], list[Package]]) -> list[Package]:
        memory = self._read()
        if name in memory and not self._update:
            return [Package(**entry) for entry in memory[name]]
        if self._offline:
            raise LabError(f"{name.partition(' ')[2]} has not been looked up yet")
        with cache.lock("apt"):
            memory = self._read()
            if name not in memory or self._update:
                self._refresh()
                found = ask()
                if not found:
                    raise LabError(f"the archive has no {name.partition(' ')[2]}", _HINT_NETWORK)
                memory = self._read() | {name: [asdict(package) for package in found]}
                temporary = self._memory.with_suffix(".new")
                temporary.write_text(json.dumps(memory, indent=1) + "\n")
                temporary.rename(self._memory)
        return [Package(**entry) for entry in memory[name]]

    def _read(self) -> dict[str, list[dict[str, str]]]:
        try:
            memory: dict[str, list[dict[str, str]]] = json.loads(self._memory.read_text())
        except (OSError, ValueError):
            return {}
        return memory

    def _resolve(self, wanted: list[str]) -> list[Package]:
        text = self._apt(["apt-get", "download", "--print-uris", *wanted], f"finding {', '.join(wanted)}")
        return parse_uris(text)

    def _resolve_kernel(self, meta: str) -> list[Package]:
        suite = meta.partition("/")[2]
        images = [name for name in self.depends(meta) if name.startswith("linux-image-")]
        if not images:
            raise LabError(f"{meta} depends on no kernel image", _HINT_NETWORK)
        # Since 7.x the image package is empty and depends on two others.
        parts = [n for n in self.depends(f"{images[0]}/{suite}") if re.match(r"linux-(binary|modules)-", n)]
        return self._resolve([f"{name}/{suite}" for name in (parts or images[:1])])

    def _configure(self) -> None:
        if not KEYRING.is_file():
            raise LabError("Debian's archive keys are missing", "apt-get install debian-archive-keyring")
        for name in ("lists/partial", "cache/archives/partial"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        (self._folder / "status").touch()
        (self._folder / "apt.conf").write_text(
            f'Dir::Etc::sourcelist "{self._folder}/sources.list";\n'
            'Dir::Etc::sourceparts "-";\n'
            f'Dir::State::lists "{self._folder}/lists";\n'
            f'Dir::State::status "{self._folder}/status";\n'
            f'Dir::Cache "{self._folder}/cache";\n'
            'APT::Architecture "amd64";\n'
            'APT::Architectures { "amd64"; };\n'
            'APT::Sandbox::User "root";\n'
            'Acquire::Languages "none";\n'
            # sid's Release file is often past its date on mirrors that are snapshots.
            'Acquire::Check-Valid-Until "false";\n'
        )

    def _refresh(self) -> None:
        if self._fresh:
            return
        self._progress.stage("reading the package indexes (apt-get update, private state)")
        self._configure()
        source = f"deb-src [signed-by={KEYRING}] {mirror()} {SUITE} main"
        lines = [self.sources_line(suite) for suite in SUITES] + [source]
        (self._folder / "sources.list").write_text("\n".join(lines) + "\n")
        self._apt(["apt-get", "update", "-qq", "--error-on=any"], "reading the package indexes")
        self._fresh = True

    def _apt(self, argv: list[str], what: str) -> str:
        return hosttools.run(
            argv, what=what, hint=_HINT_NETWORK, environment={"APT_CONFIG": str(self._folder / "apt.conf")}
        )
