"""`sldtrace guest run`: runs a bundled guest, disturbs it as requested, and prints its progress."""

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sldtrace import interrupt
from sldtrace.commands import output as outputs
from sldtrace.commands.guest import options, outcome
from sldtrace.commands.guest.listing import instruction
from sldtrace.commands.guest.options import Signal, parse_cpus
from sldtrace.errors import UsageError
from sldtrace.host import access, split_lock
from sldtrace.recording import target
from sldtrace.reporters.formats import FORMATS
from sldtrace.text.durations import Duration, Period, render
from sldtrace.vmm import guests, memory
from sldtrace.vmm.kicks import Kind
from sldtrace.vmm.plan import Plan

if TYPE_CHECKING:
    from sldtrace.reporters.document import Report

_MOST_VMS = 8
_MOST_LOAD = 64


@click.command("run", short_help="Run a guest for some time, and print its progress.")
@options.name
@click.option(
    "--timeout",
    type=Period("1us", "1h"),
    default="1ms",
    show_default=True,
    help="Interrupt KVM_RUN after this time (500us, 1ms, 0.02), or none: never.",
)
@options.kick
@click.option(
    "--signal",
    "signo",
    type=Signal(),
    help="The signal of the kick, by name or number.  [default: SIGUSR1; with --kick itimer SIGALRM]",
)
@options.duration("2s", "24h", "Stop after this time (500ms, 2s, 10m).")
@click.option(
    "--vcpus",
    type=click.IntRange(1, memory.MAX_VCPUS),
    default=1,
    show_default=True,
    help="vCPUs of the VM, each a thread.",
)
@click.option(
    "--operands",
    type=click.Choice(["separate", "shared"]),
    default="separate",
    show_default=True,
    help="Each vCPU locks cache lines of its own, or all vCPUs share them.",
)
@click.option(
    "--vms", type=click.IntRange(1, _MOST_VMS), default=1, show_default=True, help="VMs, each a process."
)
@click.option("--cpus", callback=parse_cpus, help="Pin the vCPU threads to these CPUs, in turn (0,2-3).")
@click.option(
    "--offset",
    type=click.IntRange(0, guests.CACHE_LINE - 1),
    help="Offset of the operand in its cache line, in bytes.",
)
@click.option(
    "--every", type=click.IntRange(1, 2**31 - 1), help="N of a guest that does something once in N."
)
@click.option(
    "--migrate",
    type=Duration("0ns", "1h"),
    help="Move the vCPU threads to their next CPU, of --cpus or all, with this pause after each move; 0: "
    "without a pause.",
)
@click.option(
    "--memory-slots",
    "slots",
    type=Period("10us", "1h"),
    default="none",
    show_default=True,
    help="Add or remove a memory slot of the VM this often.",
)
@click.option(
    "--load",
    type=click.IntRange(0, _MOST_LOAD),
    default=0,
    show_default=True,
    help="Additional processes that only use a CPU.",
)
@click.option("--program", is_flag=True, help="Run it as an ordinary program, without KVM.")
@click.option(
    "--record",
    metavar="[FILE]",
    is_flag=False,
    flag_value="",
    help="Record it, as root, and print the report: into FILE, or a new file named after guest and time.",
)
@outputs.options(*FORMATS)
def run_guest(
    name: str,
    timeout: int,
    kick: Kind,
    signo: int | None,
    duration: int,
    vcpus: int,
    operands: str,
    vms: int,
    cpus: tuple[int, ...],
    offset: int | None,
    every: int | None,
    migrate: int | None,
    slots: int,
    load: int,
    program: bool,
    record: str | None,
    form: str,
    output: Path | None,
) -> None:
    """Run GUEST (split-bts) for some time and print its progress. Needs /dev/kvm, but no compiler.

    With --record, `sldtrace record` records its processes from their start, and the report follows.

    Each VM runs in its own process, which ends with this one. The PIDs are printed on stderr, for `sldtrace
    record --pid` in another terminal. The signal of the kick is blocked outside KVM_RUN, and accepted after
    it. Ctrl-C ends the run early, with the results so far.

    Exit status: 0 also without progress, 1 if the guest could not be run; it ends by SIGINT after Ctrl-C.
    """
    if kick is Kind.ITIMER and signo not in (None, kick.signo):
        raise UsageError(
            "setitimer sends SIGALRM and nothing else", "leave out --signal, or use --kick tgkill"
        )
    plan = Plan(
        guest=guests.load(name).adjusted(offset, every),
        duration_ns=duration,
        timeout_ns=timeout,
        kick=kick,
        signo=signo or kick.signo,
        vcpus=vcpus,
        shared=operands == "shared",
        cpus=_cpus(cpus, migrate is not None),
        migrate_ns=migrate,
        slots_ns=slots,
        program=program,
    )
    outputs.check(output)
    host = split_lock.read()
    path = None if record is None else _recording(record, plan)
    if path is not None:
        for line in outcome.expected(plan.guest, host):
            click.echo(f"sldtrace: {line}", err=True)
        access.require()

    # Imported here because list and --help do not need it.
    with interrupt.default_sigint():
        from sldtrace.vmm.children import Children
        from sldtrace.vmm.recorded import RecorderProcess

    def announce(number: int, pid: int, tids: Sequence[int]) -> None:
        kind = "as a program" if program else f"as VM {number}" if vms > 1 else "as a VM"
        where = "" if program else f"; {instruction(plan.guest)}"
        threads = f"thread{'s' if len(tids) > 1 else ''} {', '.join(map(str, tids))}"
        click.echo(
            f"sldtrace: guest {plan.guest.name} runs {kind} in process {pid}, {threads}"
            f" for {render(duration)}{where}",
            err=True,
        )

    plans = [_rotated(plan, number * vcpus) for number in range(vms)]
    children = Children(plans, load, sorted(set(cpus)))
    with ExitStack() as stack:
        if path is None:
            results = children.run(announce)
        else:
            # To attach probes at the first trap takes longer than a penalty, so a vCPU on that CPU completes
            # its penalty and makes progress. For a guest without traps, all exits would only flood the file.
            recorder = stack.enter_context(RecorderProcess(path, every_exit=plan.guest.crosses_line))
            results = children.run(announce, lambda pids: recorder.begin(pids, lambda: children.interrupted))
    ran = outcome.build(plan, host, results)
    try:
        if path is not None and path.exists():  # not if interrupted before it was made
            ran = outcome.with_report(ran, path, _report(path))
    finally:  # the results are printed even if there can be no report
        outputs.write(outputs.render(ran, form, output), output)
    if any(result.interrupted for result in results):
        raise KeyboardInterrupt


def _recording(given: str, plan: Plan) -> Path:
    # The file to record to: a new one each time, unless it is named.
    if given in guests.names():
        raise UsageError(
            f"--record takes the name of a file, and {given} is a guest",
            f"name the guest first: sldtrace guest run {given} --record",
        )
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    path = Path(given or f"{plan.guest.name}-{stamp}.sld")
    if os.path.lexists(path):
        raise UsageError(f"{target.shown(path)} exists", "take another name for --record")
    target.check(path, force=False)
    return path


def _report(path: Path) -> "Report | None":
    # None if the libraries of the report are missing, which `record` does not need.
    from sldtrace.commands import report

    try:
        return report.build(path).content
    except ModuleNotFoundError as error:
        where = target.shown(path)
        click.echo(
            f"sldtrace: no report here: {error.name} is missing; install it, or take the file to another"
            f" machine: sldtrace report {where}",
            err=True,
        )
        return None


def _cpus(wanted: tuple[int, ...], migrate: bool) -> tuple[int, ...]:
    # The CPUs to pin to; all allowed ones if threads are moved and no CPUs are named.
    allowed = os.sched_getaffinity(0)
    if bad := sorted(set(wanted) - allowed):
        raise UsageError(
            f"CPU {bad[0]} is offline, missing, or not allowed to this process",
            f"CPUs that are: {','.join(map(str, sorted(allowed)))}",
        )
    cpus = wanted or (tuple(sorted(allowed)) if migrate else ())
    if migrate and len(set(cpus)) < 2:
        raise UsageError("moving threads needs two CPUs", "see --cpus and taskset(1)")
    return cpus


def _rotated(plan: Plan, by: int) -> Plan:
    # The first vCPU of a VM is on the CPU after that of the previous VM's last vCPU.
    from dataclasses import replace

    cut = by % len(plan.cpus) if plan.cpus else 0
    return replace(plan, cpus=plan.cpus[cut:] + plan.cpus[:cut])
