"""The guests and the observers of the benchmark, as tables: what runs, and how to see that it has begun."""

from dataclasses import dataclass

# The machine's clock: ticks in one second of machine time, one tick for one instruction (lab/bochs.py).
INSTRUCTIONS_PER_SECOND = 200_000_000


@dataclass(frozen=True)
class GuestRun:
    """One guest for `seconds` of machine time; `image` is a name of guests/; timeout_ms 0: no timer.

    measures: "loops", with one VM exit in each loop; "eintr", returns of KVM_RUN with EINTR; "progress",
    loops of a guest that a penalty slows down.
    """

    name: str
    image: str
    timeout_ms: int
    measures: str
    seconds: float = 1.0


@dataclass(frozen=True)
class Ready:
    """How to see from outside that an observer is attached.

    It is when all of what is given holds: its output (standard output and error) has the text `said`; its
    processes hold `probes` perf events and BPF links; the file `file` begins with 1. After that it must
    come to rest.
    """

    said: str = ""
    probes: int = 0
    file: str = ""


@dataclass(frozen=True)
class Observer:
    """A program that watches the host while guests run.

    command: as a shell would split it; FOLDER stands for a folder of its own. ready: see there. writes: the
    file (or its stem) whose size is what it wrote. job: what it finds out: "stays" (what can stay attached),
    "times" (counts and times every exit by reason), "counts", "events" (every exit is an event in a file),
    "bare" (a number, no reasons), "traps" (each trap with its sleep).
    ours: whether it is sldtrace. split_locks: whether it is for guests that trap only.
    """

    name: str
    job: str
    command: tuple[str, ...]
    ready: Ready
    writes: str = ""
    ours: bool = False
    split_locks: bool = False


GUESTS = (
    GuestRun("cpuid", "cpuid-loop", 0, "loops"),
    GuestRun("io", "io-loop", 0, "loops"),
    # Longer: its first traps make a recorder do things that it does once, and a few milliseconds in which the
    # one CPU is busy are many of its periods.
    GuestRun("livelock", "split-bts", 1, "eintr", 6.0),
    GuestRun("survivor", "split-bts", 20, "progress"),
    # Probes that a trap attaches must be detached again: the first guest once more, after those that trap.
    GuestRun("later", "cpuid-loop", 0, "loops"),
)

_BOTH = ("-e", "kvm:kvm_exit", "-e", "kvm:kvm_entry")
_RECORD = ("python3", "-m", "sldtrace", "record", "-o", "FOLDER/out.sld")
# Without the limit that would take the probes off such guests before they are measured.
_COUNTED = ("--exits", "counts", "--max-cpu-percent", "100000")
_RECORDING = Ready(said="recording to")

_COUNTS = "tracepoint:kvm:kvm_exit { @[args.exit_reason] = count(); }"
_TIMES = """
tracepoint:kvm:kvm_exit { @start[tid] = nsecs; @reason[tid] = args.exit_reason; }
tracepoint:kvm:kvm_entry /@start[tid]/ {
    @times[@reason[tid]] = hist(nsecs - @start[tid]);
    delete(@start[tid]);
}
"""
# The closest to a trap record of sldtrace: one line for each, with address, sleep and signal.
_TRAPS = """
kprobe:handle_guest_split_lock { @in[tid] = nsecs; @ip[tid] = arg0; }
kprobe:msleep_interruptible /@in[tid]/ { @slept[tid] = nsecs; }
kretprobe:msleep_interruptible /@in[tid]/ { @slept[tid] = nsecs - @slept[tid]; @left[tid] = retval; }
tracepoint:signal:signal_generate { @signal[args.pid] = args.sig; }
kretprobe:handle_guest_split_lock /@in[tid]/ {
    printf("%llu %d %d %llx %llu %llu %d %d\\n", nsecs, pid, tid, @ip[tid], nsecs - @in[tid], @slept[tid],
           @left[tid], @signal[tid]);
    delete(@in[tid]);
}
"""

OBSERVERS = (
    Observer("sldtrace record", "stays", _RECORD, _RECORDING, "out.sld", ours=True),
    Observer("sldtrace, counts", "times", (*_RECORD, *_COUNTED), _RECORDING, "out.sld", ours=True),
    Observer(
        "perf stat, 2 counters",
        "bare",
        ("perf", "stat", "-a", *_BOTH, "-o", "FOLDER/out.txt", "sleep", "infinity"),
        Ready(probes=2),
    ),
    Observer(
        "bpftrace, counts", "counts", ("bpftrace", "-o", "FOLDER/out.txt", "-e", _COUNTS), Ready(probes=1)
    ),
    Observer("bpftrace, times", "times", ("bpftrace", "-o", "FOLDER/out.txt", "-e", _TIMES), Ready(probes=2)),
    Observer(
        "bpftrace, split locks",
        "traps",
        ("bpftrace", "-o", "FOLDER/out.txt", "-e", _TRAPS),
        Ready(probes=5),
        "out.txt",
        split_locks=True,
    ),
    Observer(
        "trace-cmd record",
        "events",
        ("trace-cmd", "record", *_BOTH, "-o", "FOLDER/out.dat"),
        Ready(file="/sys/kernel/tracing/events/kvm/kvm_exit/enable"),
        "out.dat",
    ),
    Observer(
        "perf kvm stat record",
        "times",
        ("perf", "kvm", "stat", "record", "-a", "-o", "FOLDER/out.data"),
        Ready(probes=2),
        "out.data",
    ),
)
