"""Output of apt: the mirror, the lines of --print-uris; and look-ups that are remembered."""

import json
from pathlib import Path

import pytest

from lab import packages
from lab.failures import LabError
from lab.packages import Archive, Package
from lab.progress import Progress

QUIET = Progress(quiet=True)
SHA = "0123456789abcdef" * 4


def test_the_mirror_is_the_whole_suite_of_a_debian_archive() -> None:
    lines = """\
'http://vendor.example/tools/dists/bookworm/InRelease' vendor 0
'http://security.example/debian-security/dists/bookworm-security/InRelease' security 0
'http://archive.example/debian/dists/bookworm-updates/InRelease' updates 0
'http://archive.example/debian/dists/bookworm/InRelease' archive 0
'http://archive.example/debian/dists/bookworm/main/binary-amd64/Packages.xz' index 0
"""
    assert packages.choose_mirror(lines) == "http://archive.example/debian/"


def test_a_host_without_a_debian_archive_gets_the_variable_named() -> None:
    with pytest.raises(LabError, match=packages.MIRROR_VARIABLE):
        packages.choose_mirror("'http://archive.example/ubuntu/dists/noble/InRelease' ubuntu 0\n")


def test_print_uris_is_read() -> None:
    pool = "http://a.example/pool/b"
    text = f"""\
Reading package lists...
'{pool}/busybox-static_1.37.0-6%2bb9_amd64.deb' busybox-static_1%3a1.37.0-6+b9_amd64.deb 9 SHA256:{SHA}
'{pool}/bochs_3.0%2bdfsg.orig.tar.xz' bochs_3.0+dfsg.orig.tar.xz 3896488 SHA256:{SHA}
'{pool}/bochs_3.0%2bdfsg-1.dsc' bochs_3.0+dfsg-1.dsc 2554 SHA256:{SHA}
"""
    deb, tarball, dsc = packages.parse_uris(text)
    assert deb == Package(
        name="busybox-static",
        version="1:1.37.0-6+b9",
        filename="busybox-static_1%3a1.37.0-6+b9_amd64.deb",
        uri="http://a.example/pool/b/busybox-static_1.37.0-6%2bb9_amd64.deb",
        sha256=SHA,
    )
    assert (tarball.name, tarball.version) == ("bochs", "3.0+dfsg")
    assert (dsc.name, dsc.version) == ("bochs", "3.0+dfsg-1")


def test_an_entry_without_sha256_is_not_taken() -> None:
    assert packages.parse_uris("'http://a.example/x_1_amd64.deb' x_1_amd64.deb 9 MD5Sum:abc\n") == []


def test_what_is_remembered_needs_no_network(own_cache: Path) -> None:
    entry = {
        "name": "x",
        "version": "1",
        "filename": "x_1_amd64.deb",
        "uri": "http://a.example/x",
        "sha256": SHA,
    }
    own_cache.mkdir(parents=True)
    (own_cache / "resolved.json").write_text(json.dumps({"binary x/trixie": [entry]}))
    archive = Archive(QUIET, offline=True)
    assert archive.resolve(["x/trixie"]) == [Package(**entry)]
    with pytest.raises(LabError, match="y/trixie"):
        archive.resolve(["y/trixie"])


def test_a_damaged_memory_counts_as_none(own_cache: Path) -> None:
    own_cache.mkdir(parents=True)
    (own_cache / "resolved.json").write_text("{")
    with pytest.raises(LabError, match="not been looked up"):
        Archive(QUIET, offline=True).resolve(["x/trixie"])
