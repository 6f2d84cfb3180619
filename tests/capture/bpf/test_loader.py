"""The child that compiles: what it loads arrives, what goes wrong is one line, and it leaves nothing."""

import ctypes
import json
import os
import signal
import socket
import time
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from sldtrace import resources
from sldtrace.capture.bpf import bcc, loader
from sldtrace.capture.bpf.filters import Filters
from sldtrace.capture.bpf.loader import Loaded
from sldtrace.capture.bpf.sources import RECENT, Sizes, Text
from sldtrace.errors import SldtraceError
from sldtrace.host.libc import libc
from tests import leftovers


def file(content: bytes) -> int:
    descriptor = os.memfd_create("map")
    os.write(descriptor, content)
    return descriptor


def load(monkeypatch: pytest.MonkeyPatch, work: Any, interrupted: Any = lambda: False) -> Loaded:
    """Loads with that function in the compiler's place; it runs in the child."""
    monkeypatch.setattr(loader, "assemble", lambda *_: Text("text", []))
    monkeypatch.setattr(loader, "_compile", work)
    return loader.load(Filters(), RECENT, Sizes(), (), interrupted)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Any:
    """No zombie, no child, and no descriptor more than before."""
    files, children = leftovers.files(), leftovers.children()
    yield
    assert leftovers.files().items() <= files.items()
    assert leftovers.children() <= children


def test_descriptors_arrive_under_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(source: Text) -> Loaded:
        assert source.text == "text"
        maps = {"traps": file(b"traps"), "event_counts": file(b"event_counts")}
        return Loaded(
            maps, {"kprobe__f": file(b"program")}, {"kprobe__g": "why"}, {"a.c": "gone"}, [(8, "f")]
        )

    loaded = load(monkeypatch, work)
    held = {**loaded.maps, **loaded.programs}
    assert {name: os.pread(each, 99, 0) for name, each in held.items()} == {
        "traps": b"traps",
        "event_counts": b"event_counts",
        "kprobe__f": b"program",
    }
    assert (list(loaded.maps), list(loaded.programs)) == (["traps", "event_counts"], ["kprobe__f"])
    assert (loaded.refused, loaded.filtered) == ({"kprobe__g": "why"}, {"a.c": "gone"})
    assert loaded.kvm == [(8, "f")]
    assert not any(os.get_inheritable(each) for each in held.values())
    loaded.close()
    assert (loaded.maps, loaded.programs) == ({}, {})
    loaded.close()


def test_the_child_is_killed_when_its_parent_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(_: Text) -> Loaded:
        found = ctypes.c_int()
        libc.prctl(2, ctypes.byref(found), 0, 0, 0)  # PR_GET_PDEATHSIG
        return Loaded({}, {}, {"signal": str(found.value)}, {})

    assert load(monkeypatch, work).refused == {"signal": str(int(signal.SIGKILL))}


def test_more_than_a_socket_takes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As much text as there may be, and as many descriptors as there are programs."""
    refused = {f"program{number}": "x" * 5000 for number in range(100)}
    loaded = load(
        monkeypatch,
        lambda _: Loaded({f"m{number}": file(b"%d" % number) for number in range(100)}, {}, refused, {}),
    )
    assert os.pread(loaded.maps["m99"], 9, 0) == b"99"
    assert loaded.refused == refused
    loaded.close()


def test_too_many_descriptors_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SldtraceError, match="251 file descriptors are more than one message carries"):
        load(monkeypatch, lambda _: Loaded(dict.fromkeys(map(str, range(251)), 1), {}, {}, {}))


def fails(error: BaseException) -> Any:
    def work(source: Text) -> Loaded:
        raise error

    return work


def test_what_the_child_raises_arrives_with_its_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SldtraceError) as caught:
        load(monkeypatch, fails(SldtraceError("bcc is missing", "apt install it")))
    assert (caught.value.message, caught.value.hint) == ("bcc is missing", "apt install it")


@pytest.mark.parametrize("error", [MemoryError("no room"), KeyError("x"), KeyboardInterrupt(), SystemExit(3)])
def test_whatever_else_it_raises_is_one_line(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SldtraceError) as caught:
        load(monkeypatch, fails(error))
    assert str(caught.value) == f"loading the probes failed: {error!r}"


def test_sources_that_cannot_be_read_are_an_error_of_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> Text:
        raise FileNotFoundError(2, "No such file or directory", "events.h")

    monkeypatch.setattr(loader, "assemble", missing)
    with pytest.raises(SldtraceError, match=r"loading the probes failed: FileNotFoundError"):
        loader.load(Filters(), RECENT, Sizes(), ())


def test_a_child_that_was_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the kernel, because memory is missing."""
    with pytest.raises(SldtraceError, match="the process that compiles the probes was killed") as caught:
        load(monkeypatch, lambda _: os.kill(os.getpid(), signal.SIGKILL))
    assert "memory" in str(caught.value.hint)


def test_an_interruption_kills_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        load(monkeypatch, lambda _: time.sleep(600), lambda: True)


def test_it_asks_until_it_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([False, False, True])
    with pytest.raises(KeyboardInterrupt):
        load(monkeypatch, lambda _: time.sleep(600), lambda: next(answers))


def test_descriptors_that_were_lost_in_transfer() -> None:
    """The kernel drops what the limit of open files has no room for."""
    here, there = socket.socketpair()
    with here, there:
        message = {"maps": ["a", "b"], "programs": [], "refused": {}, "filtered": {}}
        socket.send_fds(there, [b"!"], [0])
        there.sendall(json.dumps(message).encode())
        there.shutdown(socket.SHUT_WR)
        with pytest.raises(SldtraceError, match="file descriptors were lost in transfer; raise the limit"):
            loader._receive(here, lambda: False)


# In the child


class FakeLib:
    """libbcc, which knows functions and tables by index."""

    functions = (b"kfunc__f", b"kretprobe__f", b"tracepoint__kvm__kvm_exit", b"raw_tracepoint__write_msr")
    tables = (b"traps", b"control")

    def __init__(self) -> None:
        self.bpf_num_functions = lambda handle: len(self.functions)
        self.bpf_function_name = lambda handle, index: self.functions[index]
        # ctypes functions have attributes; lambdas have, too.
        self.bpf_num_tables = lambda handle: len(self.tables)
        self.bpf_table_name = lambda handle, index: self.tables[index]
        self.bpf_table_fd_id = lambda handle, index: 70 + index


class FakeBpf:
    """bcc.BPF: compiles anything and loads all but `refuses`, unless a test says otherwise."""

    TRACING, KPROBE, TRACEPOINT, RAW_TRACEPOINT = 26, 2, 5, 17
    made: "FakeBpf"
    says = b""
    fails: Exception | None = None
    refuses: ClassVar[dict[bytes, bytes]] = {}

    def __init__(self, text: bytes, cflags: list[str]) -> None:
        os.write(2, self.says)
        if self.fails:
            raise self.fails
        self.text, self.cflags, self.module = text, cflags, "module"
        self.loaded: dict[bytes, int] = {}
        self._trace_autoload()
        FakeBpf.made = self

    def _trace_autoload(self) -> None:
        raise AssertionError("bcc would attach everything by itself")

    def load_func(self, name: bytes, kind: int) -> SimpleNamespace:
        if name in self.refuses:
            os.write(2, self.refuses[name])
            raise Exception(f"Failed to load BPF program {name!r}")
        self.loaded[name] = kind
        return SimpleNamespace(fd=80 + len(self.loaded))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeBpf]:
    monkeypatch.setattr(FakeBpf, "says", b"")
    monkeypatch.setattr(FakeBpf, "fails", None)
    monkeypatch.setattr(FakeBpf, "refuses", {})
    monkeypatch.setenv("BCC_KERNEL_SOURCE", "unset")
    monkeypatch.setattr(bcc, "load", lambda: SimpleNamespace(BPF=FakeBpf, lib=FakeLib()))
    return FakeBpf


def test_every_function_is_loaded_as_its_name_says(fake: type[FakeBpf]) -> None:
    loaded = loader._compile(Text("int x;", ["-DA"], {"vcpu.bpf.c": "gone"}, [(8, "f")]))
    assert fake.made.text == b"int x;"
    assert fake.made.cflags[0] == "-DA"
    assert fake.made.loaded == {
        b"kfunc__f": FakeBpf.TRACING,
        b"kretprobe__f": FakeBpf.KPROBE,
        b"tracepoint__kvm__kvm_exit": FakeBpf.TRACEPOINT,
        b"raw_tracepoint__write_msr": FakeBpf.RAW_TRACEPOINT,
    }
    assert loaded.programs["kfunc__f"] == 81
    assert loaded.maps == {"traps": 70, "control": 71}
    assert (loaded.refused, loaded.filtered) == ({}, {"vcpu.bpf.c": "gone"})
    assert loaded.kvm == [(8, "f")]


def test_our_headers_stand_in_for_the_kernels(fake: type[FakeBpf]) -> None:
    loader._compile(Text("", []))
    assert os.environ["BCC_KERNEL_SOURCE"] == str(resources.bpf() / "stub")
    assert os.path.isdir(os.path.join(os.environ["BCC_KERNEL_SOURCE"], "include", "linux"))


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (b"\n  libbpf: prog 'f': failed to attach\nmore\n", "libbpf: prog 'f': failed to attach"),
        (b"\n \n", "Failed to load BPF program b'kfunc__f'"),
    ],
)
def test_what_the_kernel_refuses_is_left_to_the_others(
    says: bytes, reason: str, fake: type[FakeBpf], capfd: pytest.CaptureFixture[str]
) -> None:
    fake.refuses = {b"kfunc__f": says}
    loaded = loader._compile(Text("", []))
    assert loaded.refused == {"kfunc__f": reason}
    assert len(loaded.programs) == 3
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (
            b"warning: x\ntrap.bpf.c:5:1: error: unknown type\n2 errors generated.\n",
            "trap.bpf.c:5:1: error: unk",
        ),
        (b"  something else\nmore\n", "something else"),
        (b"", "Failed to compile BPF module"),
    ],
)
def test_what_does_not_compile_is_one_line(
    says: bytes, reason: str, fake: type[FakeBpf], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeBpf, "says", says)
    monkeypatch.setattr(FakeBpf, "fails", Exception("Failed to compile BPF module <text>"))
    with pytest.raises(SldtraceError) as caught:
        loader._compile(Text("", []))
    assert str(caught.value).startswith(f"the probes do not compile here: {reason}")
    assert "\n" not in str(caught.value)
