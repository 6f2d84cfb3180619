"""A VMM that does what VMMs do seldom, in the emulated host. usage: lives.py WAY SECONDS

main: runs its vCPU in the main thread; prints its PID. exec: likewise, then a second thread executes this
program again, as `main`: other program, same process, same TIDs. query: a second thread asks for the
registers of the vCPU all the time, and has to wait for it (vcpu->mutex).
"""

import os
import sys
import threading
import time

from sldtrace.vmm import guests, loop, signals
from sldtrace.vmm.kicks import PosixTimer
from sldtrace.vmm.machine import Machine

SIGNAL = 10


def main(way: str, seconds: float) -> None:
    """Freezes a guest by a 1 ms timer for that long."""
    print(os.getpid(), flush=True)
    signals.block_all()
    stopping = threading.Event()
    split = guests.load("split-bts")
    with Machine(split) as machine, signals.handled(signals.ignore, SIGNAL):
        (vcpu,) = machine.vcpus
        vcpu.set_signal_mask(signals.all_but(SIGNAL))
        kick = PosixTimer(1_000_000, SIGNAL, threading.get_native_id())

        def end() -> None:
            time.sleep(seconds)
            if way == "exec":
                os.execv(sys.executable, [sys.executable, __file__, "main", str(seconds)])
            stopping.set()

        def query() -> None:
            while not stopping.is_set():
                vcpu.regs()
                time.sleep(0.002)

        threading.Thread(target=end, daemon=True).start()
        if way == "query":
            threading.Thread(target=query, daemon=True).start()
        kick.drain()
        loop.run(vcpu, split.locked, kick, stopping, None)
        kick.close()


main(sys.argv[1], float(sys.argv[2]))
