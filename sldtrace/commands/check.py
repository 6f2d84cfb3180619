"""`sldtrace check`: is this host exposed, can it be recorded here, and what to do about what is missing."""

import sys

import click

from sldtrace.errors import EXIT_FINDING

_EXAMPLES = """\b
Examples:
  sldtrace check                              # look, as root to see everything
  sldtrace check --json | jq -r .verdict
  sldtrace check --fail-on exposed >/dev/null || alert    # from cron, or a monitoring agent
"""


@click.command(epilog=_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@click.option(
    "--fail-on",
    multiple=True,
    type=click.Choice(["exposed", "unrecordable", "hypervisor"]),
    help="Exit with status 3 if so; may be given several times.",
)
def check(as_json: bool, fail_on: tuple[str, ...]) -> None:
    """Say whether split locks can freeze VMs on this host, and whether they can be recorded.

    Looks at the CPU, the boot mode, the kernel and its settings, KVM, the running VMs and their
    timers, the cores, other hypervisors' modules, and at all that `sldtrace record` needs; with the command
    for each thing that can be mended. Changes nothing. Works without root, and says what it then
    could not see.

    \b
    --fail-on exposed       a split lock can freeze a VM here, or end it
    --fail-on unrecordable  sldtrace record would not work (unless that cannot be seen)
    --fail-on hypervisor    a module other than KVM runs guests

    Exit status: 0 whatever was found, 1 error, 2 usage, 3 something that --fail-on names.
    """
    from sldtrace.checks import verdict
    from sldtrace.checks.result import Places
    from sldtrace.reporters import check as reporter
    from sldtrace.reporters.style import Style

    result = verdict.run(Places())
    if as_json:
        click.echo(reporter.as_json(result))
    else:
        click.echo(reporter.render(result, Style.of_stdout()), nl=False)
    found = {
        "exposed": result.exposed,
        "unrecordable": result.recordable is False,
        "hypervisor": result.foreign_hypervisor,
    }
    if any(found[name] for name in fail_on):
        sys.exit(EXIT_FINDING)
