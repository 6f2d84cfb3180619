"""`sldtrace guest`: lists and runs the bundled guests, and plots sweeps of them."""

import click

from sldtrace.commands.guest.listing import list_guests
from sldtrace.commands.guest.plot import plot_sweeps
from sldtrace.commands.guest.run import run_guest
from sldtrace.commands.guest.sweep import sweep_guest


@click.group()
def guest() -> None:
    """Run a bundled guest that takes split locks, to see how this host handles them.

    The monitor interrupts KVM_RUN with a timer, as a VMM with a time slice does. If the penalty sleeps
    longer than the timer, the guest makes no progress.
    """


guest.add_command(list_guests)
guest.add_command(run_guest)
guest.add_command(sweep_guest)
guest.add_command(plot_sweeps)
