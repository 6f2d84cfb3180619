"""`sldtrace simulate`: writes a recording of a simulated host, marked as such."""

import re
import time
from pathlib import Path
from typing import Any

import click

from sldtrace.errors import UsageError
from sldtrace.recording.target import STDOUT
from sldtrace.text.durations import Duration, Period, render
from sldtrace.text.escape import escape

_MODE = re.compile(r"off|warn|fatal|ratelimit:(?:[1-9][0-9]{0,2}|1000)")
_RELEASE = re.compile(r"[1-9][0-9]{0,2}\.[0-9]{1,3}[A-Za-z0-9.+~_-]{0,60}")


@click.command()
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="The file to write; - is standard output.",
)
@click.option("-f", "--force", is_flag=True, help="Overwrite the file if it exists.")
@click.option("--kernel", "release", default="6.12", show_default=True, help="Version of the host's kernel.")
@click.option(
    "--hz",
    type=click.Choice(["100", "250", "300", "1000"]),
    default="250",
    show_default=True,
    help="CONFIG_HZ.",
)
@click.option(
    "--mode", default="warn", show_default=True, help="split_lock_detect=: off, warn, fatal, ratelimit:N."
)
@click.option(
    "--mitigate",
    type=click.Choice(["0", "1", "none"]),
    help="kernel.split_lock_mitigate; none: the kernel lacks it. Default: 1 from 6.2 on, none before.",
)
@click.option("--vcpus", type=click.IntRange(1, 256), default=1, show_default=True, help="vCPU threads.")
@click.option("--cpus", type=click.IntRange(1, 1024), default=1, show_default=True, help="CPUs of the host.")
@click.option("--siblings", type=click.IntRange(1, 8), default=1, show_default=True, help="CPUs of a core.")
@click.option(
    "--timer",
    type=Period("10us", "1h"),
    default="1ms",
    show_default=True,
    help="Period of the signals; or none.",
)
@click.option(
    "--source",
    type=click.Choice(["rearmed", "periodic", "once"]),
    default="rearmed",
    show_default=True,
    help="rearmed: --timer after the start of each KVM_RUN; periodic: by the clock; once: a single signal.",
)
@click.option(
    "--jitter",
    type=Period("1ns", "1s"),
    default="3us",
    show_default=True,
    help="Standard deviation of the time of a signal; or none.",
)
@click.option("--to-process", is_flag=True, help="Signals go to the process, not to each thread.")
@click.option("--migrate", type=Duration("100us", "1h"), help="Move each thread to the next CPU this often.")
@click.option(
    "--spacing",
    type=Duration("1ns", "1h"),
    default="1us",
    show_default=True,
    help="Guest time between two split locks.",
)
@click.option(
    "--outside",
    type=Duration("1us", "1s"),
    default="10us",
    show_default=True,
    help="Time in the VMM after each signal.",
)
@click.option("--program", is_flag=True, help="User-space programs instead of vCPUs.")
@click.option("--exits", is_flag=True, help="Also write VM exits and userspace exits.")
@click.option(
    "--bus-lock-exits",
    is_flag=True,
    help="The VMM asked KVM for an exit on each bus lock; with --mode off or ratelimit:N.",
)
@click.option(
    "--seed", type=click.IntRange(0, 1 << 31), default=0, show_default=True, help="Seed of the jitter."
)
@click.option(
    "-d",
    "--duration",
    type=Duration("1ms", "8760h"),
    default="10s",
    show_default=True,
    help="Simulated time.",
)
def simulate(output: Path, force: bool, **options: Any) -> None:
    """Write a recording of simulated threads that execute split locks, to try reports and scripts on.

    Simulates the kernel's penalty (docs/model.md). Thread i starts on CPU i, and each executes a split lock
    after each --spacing of guest time. Every report of the file begins with SIMULATED. The same options give
    the same records.

    \b
      sldtrace simulate -o livelock.sld
      sldtrace simulate -o - | sldtrace report -
      sldtrace simulate -o queue.sld --vcpus 8 --cpus 8 --timer none --duration 1m
      sldtrace simulate -o old.sld --kernel 6.1 --timer 15ms --mitigate none
      sldtrace simulate -o bus-locks.sld --mode off --bus-lock-exits --spacing 1ms
    """
    from sldtrace.model import simulation

    given = _simulation_options(output, force, options)
    begun = time.monotonic()
    result = simulation.write(given)
    took = max(time.monotonic() - begun, 1e-6)
    got_through = sum(count > 0 for count in result.executed)
    click.echo(
        f"sldtrace: simulated {render(given.duration_ns)}: {result.traps:,} traps,"
        f" {result.early_returns:,} early returns,"
        f" {got_through} of {len(result.executed)} threads made progress;"
        f" {result.bytes / 1024:,.0f} KiB in {took:.1f} s ({result.events / took:,.0f} events/s)",
        err=True,
    )
    if output != STDOUT:
        click.echo(f"sldtrace: next: sldtrace report {escape(str(output), 4096)}", err=True)


def _simulation_options(output: Path, force: bool, options: dict[str, Any]) -> Any:
    from sldtrace.model import penalty as penalties
    from sldtrace.model.records import ThreadIdentity
    from sldtrace.model.simulation import START_NS, SimulationOptions
    from sldtrace.model.simulator import Scene, Vcpu
    from sldtrace.model.sources import Kind, Source
    from sldtrace.model.thread import Costs

    if not _RELEASE.fullmatch(options["release"]):
        raise UsageError(f"'{escape(options['release'])}' is not a kernel version", "6.12, for example")
    if not _MODE.fullmatch(options["mode"]):
        raise UsageError(f"'{escape(options['mode'])}' is not a mode", "off, warn, fatal or ratelimit:5")
    if options["to_process"] and options["source"] == "rearmed":
        raise UsageError(
            "--source rearmed sends to a thread, not to the process",
            "use --source periodic with --to-process",
        )
    if options["bus_lock_exits"] and (options["program"] or options["mode"] in ("warn", "fatal")):
        raise UsageError(
            "--bus-lock-exits needs guests whose split locks do not trap", "use --mode off with it"
        )
    given = options["mitigate"]
    penalty = penalties.for_kernel(
        options["release"],
        round(1e9 / int(options["hz"])),
        mode=options["mode"],
        mitigate=penalties.BY_VERSION if given is None else None if given == "none" else int(given),
    )
    kind = Kind(options["source"]) if options["timer"] else Kind.NONE
    source = Source(kind, options["timer"], options["jitter"], options["to_process"])
    costs = Costs(outside_ns=options["outside"], spacing_ns=options["spacing"])
    cpus, siblings = options["cpus"], options["siblings"]
    vcpus = [Vcpu(source, costs, i % cpus, options["migrate"] or 0) for i in range(options["vcpus"])]
    scene = Scene(
        penalty, vcpus, [cpu - cpu % siblings for cpu in range(cpus)], seed=options["seed"], start_ns=START_NS
    )
    identity = ThreadIdentity(
        guest=not options["program"], exits=options["exits"], bus_locks=options["bus_lock_exits"]
    )
    return SimulationOptions(output, scene, identity, options["release"], options["duration"], options, force)
