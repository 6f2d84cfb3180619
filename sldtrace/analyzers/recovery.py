"""What several remedies say: when threads recover, and how that is verified."""

VERIFY = ("sldtrace record -d 10s -o after.sld", "sldtrace compare BEFORE.sld after.sld")
"""Whether a remedy against the penalty worked: BEFORE.sld is the recording with the finding."""

LOOK = (VERIFY[0], "sldtrace report --brief after.sld")
"""The same of what is no penalty: the finding is there again, or it is not."""

AT_ONCE = "within a second, without a restart"

AT_NEXT_PENALTY = "within a second: the thread at its next penalty, without a restart"

RESTARTED = "when the VMM or program runs with the change: mostly after a restart of it"
