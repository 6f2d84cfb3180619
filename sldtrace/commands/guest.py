"""`sldtrace guest`: list the bundled guests, run one under the monitor and say how far it came."""

import dataclasses
import json
import os
import signal
import textwrap
import threading
from functools import partial
from typing import Any

import click

from sldtrace.durations import Duration, render
from sldtrace.errors import UsageError
from sldtrace.host import splitlock
from sldtrace.host.splitlock import SplitLock
from sldtrace.vmm import guests
from sldtrace.vmm.guests import Guest
from sldtrace.vmm.loop import Outcome

# Signals that a monitor may use as its kick: none of them has a meaning of its own to this program.
_KICKS = [signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGIO]


class Timeout(Duration):
    """A length of time, or the word none, which is 0."""

    name = "duration|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return 0 if value == "none" else super().convert(value, param, ctx)


@click.group()
def guest() -> None:
    """Run a bundled guest that provokes split locks, to see what this host does about them.

    The monitor kicks the guest out of KVM_RUN with a timer, as a VMM with a time slice does. Where
    split-lock detection sleeps longer than the timer, the guest makes no progress at all.
    """


@guest.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array instead.")
def list_guests(as_json: bool) -> None:
    """Explain the bundled guests: what each does, what it provokes, what to expect."""
    bundled = [guests.load(name) for name in guests.names()]
    if as_json:
        click.echo(json.dumps([_describe(one) for one in bundled], indent=2))
        return
    for one in bundled:
        click.echo(f"{one.name}: {one.summary}")
        for key, note in one.notes:
            click.echo(textwrap.indent(textwrap.fill(f"{key}: {note}", 100, subsequent_indent="  "), "  "))
        operand = f", {one.width}-byte operand at {one.operand:#x}" if one.width else ""
        click.echo(f"  Address: {_address(one)}{operand}\n")


@guest.command("run")
@click.argument("name", metavar="[GUEST]", default="split-bts")
@click.option(
    "--timeout",
    type=Timeout("1us", "1h"),
    default="1ms",
    show_default=True,
    help="Kick the guest out of KVM_RUN after this time, anew in each call (500us, 1ms, 0.02); or none.",
)
@click.option(
    "--duration",
    type=Duration("1ms", "24h"),
    default="2s",
    show_default=True,
    help="Stop after this time (500ms, 2s, 10m); at least one --timeout.",
)
@click.option(
    "--signal",
    "kick",
    type=click.Choice([kick.name for kick in _KICKS]),
    default="SIGUSR1",
    show_default=True,
    help="The signal of the timer.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def run_guest(name: str, timeout: int, duration: int, kick: str, as_json: bool) -> None:
    """Run GUEST (split-bts) for a while and print how far it came. Needs /dev/kvm, and no compiler.

    Before each KVM_RUN a one-shot timer of CLOCK_MONOTONIC is armed, whose signal goes to the vCPU's
    thread; the signal is open inside KVM_RUN only, and taken after it. The process and thread IDs
    are printed on stderr, so that `sldtrace record --pid` can be aimed at it from another terminal.
    Ctrl-C ends it early, with the results so far.

    Exit status: 0 also without progress, 1 if the guest could not be run.
    """
    if timeout > duration:
        raise UsageError(
            f"--timeout {render(timeout)} is longer than --duration {render(duration)}",
            "the duration is looked at between two timeouts: make it longer, or the timeout shorter",
        )
    one = guests.load(name)
    host = splitlock.read()

    # Only now: list and --help need none of it.
    from sldtrace.vmm.loop import run
    from sldtrace.vmm.machine import Machine
    from sldtrace.vmm.timers import NoTimer, PosixTimer

    with Machine(one) as machine:
        click.echo(
            f"sldtrace: guest {one.name} runs in process {os.getpid()}, thread {threading.get_native_id()}"
            f" for {render(duration)}; {_address(one)}",
            err=True,
        )
        make_timer = partial(PosixTimer, timeout) if timeout else partial(NoTimer, duration)
        outcome = run(machine, one, make_timer, signal.Signals[kick], duration)

    verdict = [_progress(outcome), _meaning(one, host)]
    if as_json:
        click.echo(json.dumps(_as_json(one, host, timeout, kick, outcome, verdict), indent=2))
    else:
        click.echo(_as_text(one, timeout, kick, outcome))
        click.echo("\n".join(verdict))


def _address(one: Guest) -> str:
    if not one.width:
        return f"no lock; its instruction is at {one.locked:#x}"
    kind = "split lock" if one.crosses_line else "aligned locked instruction"
    return f"{kind} at {one.locked:#x}"


def _progress(outcome: Outcome) -> str:
    if outcome.loops:
        return (
            f"progress: {outcome.loops:,} loops finished, {outcome.loops / outcome.kvm_runs:,.1f} per KVM_RUN"
        )
    return (
        f"no progress: not one loop finished in {outcome.kvm_runs:,} KVM_RUN calls, each ended by a signal;"
        f" the guest stands at {outcome.rip:#x}"
    )


def _meaning(one: Guest, host: SplitLock) -> str:
    if not one.crosses_line:
        return "this guest has no split lock: detection does not concern it"
    if not host.detects_split_locks:
        return "this CPU has no split-lock detection: no guest traps here, the run shows only that it works"
    if host.mode == "off" or host.mode.startswith("ratelimit"):
        return (
            f"this host was booted with split_lock_detect={host.mode}: the split locks of guests do not trap"
        )
    mitigate = "missing" if host.mitigate is None else host.mitigate
    return (
        f"this host traps split locks: split_lock_detect={host.mode}, kernel.split_lock_mitigate {mitigate};"
        " sldtrace record shows what the kernel did about each"
    )


def _as_text(one: Guest, timeout: int, kick: str, outcome: Outcome) -> str:
    ended = " (interrupted)" if outcome.interrupted else ""
    rows = [
        ("guest", f"{one.name}, {_address(one)}"),
        ("timeout", f"{render(timeout)}, {kick}" if timeout else "none"),
        ("ran for", f"{outcome.ran_ns / 1e9:.3f} s{ended}"),
        ("loops", f"{outcome.loops:,}"),
        ("KVM_RUN calls", f"{outcome.kvm_runs:,}"),
        ("EINTR returns", f"{outcome.eintr:,}"),
        ("I/O exits", f"{outcome.io_exits:,}"),
        ("longest KVM_RUN", f"{outcome.longest_run_ns / 1e6:.3f} ms"),
    ]
    return "\n".join(f"{label:<16}{value}" for label, value in rows)


def _describe(one: Guest) -> dict[str, Any]:
    return {
        "name": one.name,
        "summary": one.summary,
        "notes": [{"key": key, "text": text} for key, text in one.notes],
        "locked_address": one.locked,
        "operand_address": one.operand,
        "operand_bytes": one.width,
        "crosses_cache_line": one.crosses_line,
    }


def _as_json(
    one: Guest, host: SplitLock, timeout: int, kick: str, outcome: Outcome, verdict: list[str]
) -> dict[str, Any]:
    return {
        "guest": one.name,
        "locked_address": one.locked,
        "crosses_cache_line": one.crosses_line,
        "timeout_ns": timeout or None,
        "signal": kick,
        "tgid": os.getpid(),
        "tid": threading.get_native_id(),
        **dataclasses.asdict(outcome),
        "split_lock_detection": dataclasses.asdict(host),
        "verdict": verdict,
    }
