"""The penalty as a state machine of one thread, by kernel, mode and sysctl.

docs/model.md has a diagram. Time, CPUs and the semaphore are in `simulator`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, Flag, auto

from sldtrace.model.penalty import Penalty


class State(Enum):
    """Where a thread is."""

    GUEST = "runs the guest (or, a program, itself)"
    SLEEP = "in msleep_interruptible(10), misery factor 1"
    QUEUE = "in down_interruptible(&buslock_sem), misery factor 2"
    OUT = "in the VMM: a signal ended KVM_RUN (a program: in its signal handler)"
    KILLED = "ended by SIGBUS"


class Event(Enum):
    """What ends a state."""

    SPLIT_LOCK = "a split lock while detection is on: #AC"
    SIGNAL = "a signal comes while whole jiffies of the sleep are left, or out of the sleep"
    LATE_SIGNAL = "a signal comes in the sleep after its last whole jiffy: the sleep ends with result 0"
    SLEPT = "the timer wheel ends the sleep"
    SEMAPHORE = "the semaphore is this thread's"
    BACK = "the VMM calls KVM_RUN again"


class Fix(Enum):
    """A change of the kernel's penalty that no kernel has yet: what `report --what-if fix=...` assumes."""

    UNINTERRUPTIBLE = "uninterruptible"  # signals do not end the sleep and the wait for the semaphore
    REMAINING = "remaining"  # jiffies that were slept count: the next sleep is as long as what is left
    EARLY_RETURNS = "early-returns"  # after so many in a row, the next trap switches detection off at once


class Action(Flag):
    """What the kernel does in a transition."""

    NOTHING = 0
    RETURN = auto()  # handle_guest_split_lock returns: one trap record
    DETECTION_OFF = auto()  # MSR_TEST_CTRL bit 29 is cleared on this core, delayed work sets it again
    HOLD_SEMAPHORE = auto()  # ... and gives the semaphore back
    TASK_FLAG = auto()  # TIF_SLD: detection is off whenever this task runs


@dataclass(frozen=True)
class Step:
    """A transition: the next state, and what the kernel does."""

    state: State
    action: Action = Action.NOTHING


Table = Mapping[tuple[State, Event], Step]

_RELEASE = Action.RETURN | Action.DETECTION_OFF

WITHOUT_PENALTY = Step(State.GUEST, _RELEASE)
"""A trap that only switches detection off."""

_ANYWHERE: Table = {
    (State.GUEST, Event.SIGNAL): Step(State.OUT),
    (State.OUT, Event.BACK): Step(State.GUEST),
}

# b041b525dab9: it returns when msleep_interruptible(10) is above 0, and when down_interruptible is -EINTR.
_PENALTY: Table = {
    (State.GUEST, Event.SPLIT_LOCK): Step(State.SLEEP),
    (State.SLEEP, Event.SIGNAL): Step(State.OUT, Action.RETURN),
    (State.SLEEP, Event.LATE_SIGNAL): Step(State.QUEUE),
    (State.SLEEP, Event.SLEPT): Step(State.QUEUE),
    (State.QUEUE, Event.SIGNAL): Step(State.OUT, Action.RETURN),
    (State.QUEUE, Event.SEMAPHORE): Step(State.GUEST, _RELEASE | Action.HOLD_SEMAPHORE),
}

# Fix.UNINTERRUPTIBLE: the same penalty, but signals do not end it.
_IGNORES_SIGNALS: Table = {
    (State.GUEST, Event.SPLIT_LOCK): Step(State.SLEEP),
    (State.SLEEP, Event.SLEPT): Step(State.QUEUE),
    (State.QUEUE, Event.SEMAPHORE): Step(State.GUEST, _RELEASE | Action.HOLD_SEMAPHORE),
}

# 727209376f49: with kernel.split_lock_mitigate=0 neither sleep nor semaphore.
_NO_PENALTY: Table = {(State.GUEST, Event.SPLIT_LOCK): WITHOUT_PENALTY}

# 6650cdd9a8cc, for guests d7e94dbdac1a.
_TASK_FLAG: Table = {(State.GUEST, Event.SPLIT_LOCK): Step(State.GUEST, Action.RETURN | Action.TASK_FLAG)}

# handle_guest_split_lock returns false (d7e94dbdac1a), KVM exits to the VMM with SIGBUS on its way.
_FATAL: Table = {(State.GUEST, Event.SPLIT_LOCK): Step(State.KILLED, Action.RETURN)}


def table(penalty: Penalty, ignores_signals: bool = False) -> Table:
    """The transitions of a thread under this penalty; without SPLIT_LOCK where nothing traps.

    ignores_signals: of a hypothetical kernel whose penalty ignores signals.
    """
    if not penalty.traps:  # off; ratelimit (ef4ae6e44131) counts #DB, which a guest's bus lock does not raise
        return _ANYWHERE
    if penalty.mode == "fatal":
        return {**_ANYWHERE, **_FATAL}
    if not penalty.generation.sleeps:
        return {**_ANYWHERE, **_TASK_FLAG}
    if not penalty.penalizes:
        return {**_ANYWHERE, **_NO_PENALTY}
    return {**_ANYWHERE, **(_IGNORES_SIGNALS if ignores_signals else _PENALTY)}
