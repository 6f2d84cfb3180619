"""The evidence rows of a finding, chosen and put into columns for people."""

import pandas as pd

from sldtrace.host import signals
from sldtrace.reporters import wording
from sldtrace.trace import Trace

FIRST, LAST = 4, 3


def chosen(evidence: pd.DataFrame) -> pd.DataFrame:
    """The first and the last traps, as they are."""
    if len(evidence) <= FIRST + LAST:
        return evidence
    return pd.concat([evidence.head(FIRST), evidence.tail(LAST)])


def rows(trace: Trace, evidence: pd.DataFrame) -> pd.DataFrame:
    """The first and the last traps as text; with a row of dots between them where some are left out."""
    shown = chosen(evidence)
    table = pd.DataFrame(
        {
            "time (UTC)": [
                wording.moment(trace, int(ns), date=False).removesuffix(" UTC") for ns in shown["enter_ns"]
            ],
            "CPU": shown["enter_cpu"].astype(str).to_numpy(),
            "slept": [wording.length(int(ns)) for ns in shown["sleep_ns"]],
            "left": [f"{ms} ms" for ms in shown["sleep_left_ms"]],
            "ended by": [signals.name(int(number)) if number else "-" for number in shown["signal"]],
            "VM exits": _watched(shown, "exits"),
            "in guest": [
                wording.length(int(ns)) if watched else "-"
                for ns, watched in zip(shown["guest_ns"], shown["exits_watched"], strict=True)
            ],
            "detection": [
                "off" if off else "stays on" if watched else "-"
                for off, watched in zip(shown["detection_off"], shown["msr_watched"], strict=True)
            ],
        }
    )
    if len(shown) < len(evidence):
        dots = pd.DataFrame([dict.fromkeys(table.columns, "...")])
        table = pd.concat([table.iloc[:FIRST], dots, table.iloc[FIRST:]], ignore_index=True)
    return table


def _watched(shown: pd.DataFrame, column: str) -> list[str]:
    return [
        f"{value:,}" if watched else "-"
        for value, watched in zip(shown[column], shown["exits_watched"], strict=True)
    ]
