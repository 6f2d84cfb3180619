"""Compiles and loads the probes in a child process, which sends their file descriptors and exits.

The compiler (LLVM, in bcc) takes hundreds of megabytes, which the recorder must not keep for days.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from sldtrace import resources
from sldtrace.capture.bpf import bcc
from sldtrace.capture.bpf.filters import Filters
from sldtrace.capture.bpf.sources import Sizes, Text, assemble
from sldtrace.errors import SldtraceError
from sldtrace.host.libc import libc

_MOST_DESCRIPTORS = 250  # include/net/scm.h, SCM_MAX_FD: 253
_BLOCK = 1 << 16
_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h

# Program type (a constant of bcc.BPF) by the prefix that bcc's macros give a function.
_TYPES = {
    "kfunc__": "TRACING",
    "kretfunc__": "TRACING",
    "kprobe__": "KPROBE",
    "kretprobe__": "KPROBE",
    "tracepoint__": "TRACEPOINT",
    "raw_tracepoint__": "RAW_TRACEPOINT",
}


@dataclass
class Loaded:
    """What the child has loaded: file descriptors of maps and programs by name, owned by the receiver.

    refused: programs that the kernel rejected, with its reason; filtered, kvm: see sources.Text.
    """

    maps: dict[str, int]
    programs: dict[str, int]
    refused: dict[str, str]
    filtered: dict[str, str]
    kvm: list[tuple[int, str]] = field(default_factory=list)

    def close(self) -> None:
        """Unloads everything that is not attached."""
        for descriptor in (*self.maps.values(), *self.programs.values()):
            os.close(descriptor)
        self.maps.clear()
        self.programs.clear()


def load(
    filters: Filters,
    exits: str,
    sizes: Sizes,
    kprobes: Collection[str],
    interrupted: Callable[[], bool] = lambda: False,
) -> Loaded:
    """Compiles and loads; nothing is attached yet.

    interrupted: called a few times a second; if true, the child is killed and KeyboardInterrupt raised.
    Raises SldtraceError when bcc is missing or cannot compile, with the compiler's first error.
    """
    here, there = socket.socketpair()
    with here:
        with there:
            child = os.fork()
            if not child:
                here.close()
                _child(there, lambda: _build(assemble(filters, exits, sizes, kprobes)))
        try:
            return _receive(here, interrupted)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


# In the child: never returns.
def _child(there: socket.socket, work: Callable[[], Loaded]) -> None:
    try:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        try:
            _send(there, work())
        except SldtraceError as error:
            _reply(there, {"error": error.message, "hint": error.hint}, [])
        except BaseException as error:
            _reply(there, {"error": f"loading the probes failed: {error!r}", "hint": None}, [])
    finally:
        os._exit(0)


def _build(source: Text) -> Loaded:
    bcc.shorten_kallsyms()
    return _compile(source)


# No debug information, which the kernel does not need, and none of clang's passes of optimization: libbcc
# does its own later (BPFModule::run_pass_manager, src/cc/bpf_module.cc). Each is a fifth of the work.
_FLAGS = ("-Wno-everything", "-g0", "-Xclang", "-disable-llvm-passes")


def _compile(source: Text) -> Loaded:
    library = bcc.load()

    class Module(library.BPF):  # type: ignore[misc, name-defined]
        # bcc would attach everything at once, and fail if one cannot be attached.
        def _trace_autoload(self) -> None:
            pass

    # The probes use no declarations of the kernel, so the stub headers are enough.
    os.environ["BCC_KERNEL_SOURCE"] = str(resources.bpf() / "stub")
    messages: list[str] = []
    try:
        with bcc.quiet() as messages:
            module: Any = Module(text=source.text.encode(), cflags=[*source.flags, *_FLAGS])
    except Exception as error:  # bcc raises nothing more precise
        reasons = [line for line in messages if "error:" in line] or messages or [str(error)]
        raise SldtraceError(f"the probes do not compile here: {reasons[0].strip()}") from error
    native, handle = library.lib, module.module
    loaded = Loaded({}, {}, {}, source.filtered, source.kvm)
    for index in range(native.bpf_num_functions(handle)):
        name = native.bpf_function_name(handle, index).decode()
        kind = next(number for start, number in _TYPES.items() if name.startswith(start))
        try:
            with bcc.quiet() as messages:
                function = module.load_func(name.encode(), getattr(library.BPF, kind))
            loaded.programs[name] = function.fd
        except Exception as error:
            loaded.refused[name] = next((line.strip() for line in messages if line.strip()), str(error))
    # bcc does not declare these three.
    native.bpf_num_tables.argtypes = [ctypes.c_void_p]
    native.bpf_table_name.argtypes = native.bpf_table_fd_id.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    native.bpf_num_tables.restype = ctypes.c_size_t
    native.bpf_table_name.restype = ctypes.c_char_p
    for index in range(native.bpf_num_tables(handle)):
        name = native.bpf_table_name(handle, index).decode()
        loaded.maps[name] = native.bpf_table_fd_id(handle, index)
    return loaded


def _send(there: socket.socket, loaded: Loaded) -> None:
    names = {"maps": list(loaded.maps), "programs": list(loaded.programs)}
    rest = {"refused": loaded.refused, "filtered": loaded.filtered, "kvm": loaded.kvm}
    _reply(there, names | rest, [*loaded.maps.values(), *loaded.programs.values()])


def _reply(there: socket.socket, message: dict[str, Any], descriptors: list[int]) -> None:
    if len(descriptors) > _MOST_DESCRIPTORS:
        raise ValueError(f"{len(descriptors)} file descriptors are more than one message carries")
    socket.send_fds(there, [b"!"], descriptors)
    there.sendall(json.dumps(message).encode())


def _receive(here: socket.socket, interrupted: Callable[[], bool]) -> Loaded:
    poll = select.poll()
    poll.register(here, select.POLLIN)
    while not poll.poll(100):
        if interrupted():
            raise KeyboardInterrupt
    _, descriptors, _, _ = socket.recv_fds(here, 1, _MOST_DESCRIPTORS)
    for each in descriptors:  # recv_fds does not pass MSG_CMSG_CLOEXEC on
        os.set_inheritable(each, False)
    parts = []
    while part := here.recv(_BLOCK):
        parts.append(part)
    if not parts:
        raise SldtraceError(
            "the process that compiles the probes was killed", "it needs about 300 MB of memory"
        )
    message = json.loads(b"".join(parts))
    if "error" in message:
        raise SldtraceError(message["error"], message["hint"])
    names = message["maps"] + message["programs"]
    if len(names) != len(descriptors):
        for each in descriptors:
            os.close(each)
        raise SldtraceError(
            "file descriptors were lost in transfer", "raise the limit of open files (ulimit -n)"
        )
    maps = dict(zip(message["maps"], descriptors, strict=False))
    programs = dict(zip(message["programs"], descriptors[len(maps) :], strict=True))
    kvm = [(offset, name) for offset, name in message["kvm"]]
    return Loaded(maps, programs, message["refused"], message["filtered"], kvm)
