"""A valid log gives the same facts in every format, packed in every way; what is damaged is said to be."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sldtrace.kernlog import verdict
from sldtrace.kernlog.message import Trap
from tests.kernlog import formats
from tests.kernlog.formats import BOOT, HOST, OTHER, SINCE_BOOT, WALL_NS, WITH_HOST, WITH_WALL_TIME, Message
from tests.kernlog.read import entries, facts, survey

NAMES = ["CPU 0/KVM", "CPU 31/KVM", "qemu-system-x86", "EMT-3", "fc_vcpu 1", "osu!.exe", "Thread (pooled)",
         "[vkps] Update", ":disk$0", "CJobMgr::m_Work", "(guest)/4 took"]  # fmt: skip
TRAP = "x86/split lock detection: #{}: {}/{}{} took a {}_lock trap at address: {:#x}"


@st.composite
def texts(draw: st.DrawFn) -> str:
    if draw(st.integers(0, 5)) == 0:
        return f"split_lock_warn: {draw(st.integers(1, 999))} callbacks suppressed"
    address = draw(st.sampled_from([0x1E3, 0x7C40, 0x5692286F, 0x56339A9888C3, 0xFFFFF80104613BE8]))
    name, tid = draw(st.sampled_from(NAMES)), draw(st.integers(1, 4_000_000))
    if draw(st.booleans()):
        return TRAP.format(
            "AC", name, tid, draw(st.sampled_from(["", " (guest)", " (user)"])), "split", address
        )
    return TRAP.format("DB", name, tid, "", "bus", address)


@st.composite
def logs(draw: st.DrawFn) -> list[Message]:
    found = draw(st.lists(texts() | st.just(OTHER), min_size=1, max_size=6))
    times = sorted(draw(st.lists(st.integers(0, 10**11), min_size=len(found), max_size=len(found))))
    return [Message(us, text) for us, text in zip(times, found, strict=True)]


quick = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def expected(messages: list[Message]) -> dict[str, object]:
    """The facts of the plainest format, which other tests compare with the lines themselves."""
    return facts(survey(SINCE_BOOT["dmesg"](messages).encode()))


def relevant(messages: list[Message]) -> list[Message]:
    return [each for each in messages if each.text != OTHER]


@pytest.mark.parametrize("name", [*SINCE_BOOT, *WITH_HOST, *WITH_WALL_TIME])
@quick
@given(logs())
def test_each_format_has_the_same_facts(name: str, messages: list[Message]) -> None:
    write = {**SINCE_BOOT, **WITH_HOST, **WITH_WALL_TIME}[name]
    data = write(messages).encode()
    found = survey(data)
    assert facts(found) == expected(messages)
    assert found.not_understood == 0
    assert verdict.conclude(found).understood or not relevant(messages)
    kept = entries(data)
    assert len(kept) == len(relevant(messages))
    for each, message in zip(kept, relevant(messages), strict=True):
        assert each.form
        if name in WITH_WALL_TIME:
            assert each.stamp.wall_ns == WALL_NS + message.us * 1000
        else:
            assert each.stamp.boot_ns == message.us * 1000
        assert each.host == ("" if name in (*SINCE_BOOT, "Docker") else HOST)
        assert each.boot in ("", BOOT)


def tar(data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in (("var/log/kern.log", data), ("etc/motd", b"hello\n")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def zipped(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("kern.log", data)
    return out.getvalue()


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "two gzip members": lambda data: gzip.compress(data[:50]) + gzip.compress(data[50:]),
    "bzip2": bz2.compress,
    "two bzip2 streams": lambda data: bz2.compress(data[:50]) + bz2.compress(data[50:]),
    "xz": lzma.compress,
    "two xz streams with padding": lambda data: (
        lzma.compress(data[:50]) + bytes(8) + lzma.compress(data[50:])
    ),
    "zstd": zstandard.ZstdCompressor().compress,
    "two zstd frames": lambda data: zstandard.compress(data[:50]) + zstandard.compress(data[50:]),
    "tar": tar,
    "tar.xz": lambda data: lzma.compress(tar(data)),
    "zip": zipped,
    "gzip in zip": lambda data: zipped(gzip.compress(data)),
    "UTF-16 with its mark": lambda data: b"\xff\xfe" + data.decode().encode("utf-16-le"),
    "UTF-16, big-endian": lambda data: b"\xfe\xff" + data.decode().encode("utf-16-be"),
    "UTF-16 without its mark": lambda data: data.decode().encode("utf-16-le"),
    "UTF-8 with its mark": lambda data: b"\xef\xbb\xbf" + data,
    "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
    "no newline at the end": lambda data: data.removesuffix(b"\n"),
}


@pytest.mark.parametrize("name", PACKINGS)
@quick
@given(logs())
def test_each_packing_has_the_same_facts(name: str, messages: list[Message]) -> None:
    found = survey(PACKINGS[name](SINCE_BOOT["dmesg"](messages).encode()))
    assert facts(found) == expected(messages)


@settings(quick, max_examples=200)
@given(texts(), st.data())
def test_a_message_that_another_one_interrupts(text: str, data: st.DataObject) -> None:
    message = Message(102_500_010, text)
    least = len("split_lock_warn:") if text.startswith("split_lock_warn") else len("x86/s")
    at = data.draw(st.integers(least, len(text) - 1))
    torn = f"[  102.500010] {text[:at]}[  102.600000] {OTHER}\n{text[at:]}\n[  103.000000] {OTHER}\n"
    found = survey(torn.encode())
    assert (
        facts(found) == expected([message]) or found.not_understood or not verdict.conclude(found).understood
    )


@settings(quick, max_examples=200)
@given(texts(), st.data(), st.sampled_from(["…", ">", "...", "[...]", "\\"]))
def test_a_line_that_a_pager_cut(text: str, data: st.DataObject, mark: str) -> None:
    """Never a wrong address, TID or name: what is left is understood, or is said not to be."""
    at = data.draw(st.integers(len("x86/split lock detection: "), len(text) - 1))
    if text.startswith("split_lock_warn"):
        at = data.draw(st.integers(len("split_lock_warn: 1 call"), len(text) - 1))
    found = survey(f"[  102.500010] {text[:at]}{mark}\n[  103.000000] {OTHER}\n".encode())
    whole = entries(f"[ 1.0] {text}\n".encode())[0].message
    if isinstance(whole, Trap):
        for thread in found.traps():
            assert (thread.comm, thread.tid) == (whole.comm, whole.tid)
            if mark in ("…", ">", "..."):
                assert set(thread.addresses) <= {whole.address}
        assert found.matched["trap"] + found.not_understood == 1
    else:
        assert found.not_understood == 1 or found.suppressed


@quick
@given(
    logs(),
    st.data(),
    st.sampled_from(["gzip", "two gzip members", "bzip2", "xz", "zstd", "two xz streams with padding"]),
)
def test_a_compressed_stream_that_ends_too_early_is_damaged(
    messages: list[Message], data: st.DataObject, name: str
) -> None:
    from sldtrace.kernlog import unpack

    whole = SINCE_BOOT["dmesg"](messages).encode()
    packed = PACKINGS[name](whole)
    end = data.draw(st.integers(8, len(packed) - 1))
    (stream,) = unpack.streams(io.BytesIO(packed[:end]))
    read = b"".join(iter(lambda: stream.read(1 << 16), b""))
    assert whole.startswith(read)
    assert stream.damage or len(read) == 50 or name == "two xz streams with padding"


def test_every_format_of_a_real_line() -> None:
    """Each writer writes what the tool does, as far as a reader can see."""
    message = Message(688_792_264, TRAP.format("AC", "CPU 0/KVM", 88279, "", "split", 0x7C40))
    assert SINCE_BOOT["dmesg"]([message]).startswith("[  688.792264] x86/split")
    assert (
        formats.delta([message, message]).splitlines()[1].startswith("[  688.792264 <    0.000000 >] pve-1")
    )
    assert message.wall_us == 1_781_360_688_792_264
