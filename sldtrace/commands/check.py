"""`sldtrace check`: is this host exposed, does a recording work, and how to provide what is missing."""

import sys
from pathlib import Path

import click

from sldtrace.commands import output as outputs
from sldtrace.errors import EXIT_FINDING, EXIT_UNKNOWN
from sldtrace.reporters.formats import FORMATS

_EXAMPLES = """\b
Examples:
  sldtrace check                              # as root, to check everything
  sldtrace check --format json | jq -r .verdict
  sldtrace check --fail-on exposed >/dev/null || alert    # from cron, or a monitoring agent
"""


@click.command(epilog=_EXAMPLES)
@outputs.options(*FORMATS)
@click.option(
    "--fail-on",
    multiple=True,
    type=click.Choice(["exposed", "unrecordable", "hypervisor"]),
    help="Exit with status 3 if this holds; repeatable.",
)
def check(form: str, output: Path | None, fail_on: tuple[str, ...]) -> None:
    """Check whether split locks can freeze VMs on this host, and whether they can be recorded.

    Checks the CPU, the boot mode, the kernel and its settings, KVM, the running VMs and their timers, the
    cores, the modules of other hypervisors, and what `sldtrace record` requires, with the command that fixes
    each problem. As root it loads and attaches the programs of sldtrace record, and removes them at once; it
    changes nothing else. Works without root, and then lists what it could not check.

    \b
    --fail-on exposed       a split lock can freeze a VM here, or kill it
    --fail-on unrecordable  sldtrace record does not work
    --fail-on hypervisor    a module other than KVM runs guests

    Exit status: 0 success, 1 error, 2 usage error, 3 the --fail-on condition holds, 5 whether it holds
    could not be determined.
    """
    from sldtrace.checks import verdict
    from sldtrace.checks.result import Places
    from sldtrace.reporters import check as reports

    outputs.check(output)
    result = verdict.run(Places())
    outputs.write(outputs.render(reports.build(result), form, output), output)
    found = {
        "exposed": result.exposed,
        "unrecordable": result.recordable is False,
        "hypervisor": result.foreign_hypervisor,
    }
    if any(found[name] for name in fail_on):
        sys.exit(EXIT_FINDING)
    if result.unknown & set(fail_on):
        sys.exit(EXIT_UNKNOWN)
