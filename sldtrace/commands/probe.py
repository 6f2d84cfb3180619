"""`sldtrace probe`: what a split lock costs on this machine, and who charges it, measured."""

import sys
from pathlib import Path

import click

from sldtrace.commands import output as outputs
from sldtrace.errors import EXIT_FINDING, EXIT_UNKNOWN
from sldtrace.litmus.plan import MOST_LOCKS
from sldtrace.reporters.formats import FORMATS

_EXAMPLES = """\b
Examples:
  sldtrace probe                              # any user, any machine, about two seconds
  sldtrace probe --livelock                   # does this kernel have the livelock?
  sldtrace probe --vm --livelock              # what does a VM on this host get?
  sldtrace probe --format json | jq -r .verdict
"""


@click.command(epilog=_EXAMPLES)
@outputs.options(*FORMATS)
@click.option(
    "--locks",
    type=click.IntRange(1, 1000),
    default=MOST_LOCKS,
    show_default=True,
    help="Execute at most this many split locks.",
)
@click.option(
    "--livelock",
    is_flag=True,
    help="Then execute one more under a signal each millisecond, for at most 300 ms.",
)
@click.option("--vm", "in_vm", is_flag=True, help="Execute them in a VM on this host. Needs /dev/kvm.")
@click.option(
    "--fail-on",
    multiple=True,
    type=click.Choice(["penalty", "livelock", "fatal"]),
    help="Exit with status 3 if this holds; repeatable.",
)
def probe(
    form: str, output: Path | None, locks: int, livelock: bool, in_vm: bool, fail_on: tuple[str, ...]
) -> None:
    """Measure what a split lock costs on this machine, and say who charges it.

    Executes a few split locks, and as many aligned locks to compare with, in a child process on one CPU;
    with --vm in a small virtual machine there, whose guest times them itself.
    Needs neither root nor KVM; works in virtual machines and containers, on Intel and AMD. A split lock
    holds up the memory accesses of all CPUs for about a microsecond; no more than --locks are executed, in
    two seconds.

    \b
    --fail-on penalty   a split lock is delayed by milliseconds
    --fail-on livelock  it does not complete under a signal each millisecond; implies --livelock
    --fail-on fatal     it ends the program

    Exit status: 0 success, 1 error, 2 usage error, 3 a --fail-on condition holds, 5 the verdict is
    `unclear`.
    """
    from sldtrace.litmus import measure
    from sldtrace.litmus.verdict import Verdict
    from sldtrace.reporters import probe as reports

    outputs.check(output)
    result = measure.measure(locks, livelock or "livelock" in fail_on, in_vm)
    outputs.write(outputs.render(reports.build(result), form, output), output)
    found = {
        "penalty": result.verdict in (Verdict.OWN_PENALTY, Verdict.OUTSIDE_PENALTY, Verdict.RATE_LIMIT),
        "livelock": result.livelock is not None and not result.livelock.completed,
        "fatal": result.verdict is Verdict.FATAL,
    }
    if any(found[name] for name in fail_on):
        sys.exit(EXIT_FINDING)
    if result.verdict is Verdict.UNCLEAR:
        sys.exit(EXIT_UNKNOWN)
