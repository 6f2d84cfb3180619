"""`sldtrace guest`: the bundled guests, listed, run, run again and again, and that plotted."""

import click

from sldtrace.commands.guest.listing import list_guests
from sldtrace.commands.guest.plot import plot_sweeps
from sldtrace.commands.guest.run import run_guest
from sldtrace.commands.guest.sweep import sweep_guest


@click.group()
def guest() -> None:
    """Run a bundled guest that provokes split locks, to see what this host does about them.

    The monitor kicks the guest out of KVM_RUN with a timer, as a VMM with a time slice does. Where
    split-lock detection sleeps longer than the timer, the guest makes no progress at all.
    """


guest.add_command(list_guests)
guest.add_command(run_guest)
guest.add_command(sweep_guest)
guest.add_command(plot_sweeps)
