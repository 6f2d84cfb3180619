"""The evidence rows of a finding, chosen and put into columns for people."""

from typing import Any

import pandas as pd

from sldtrace.dataset.rows import Rows
from sldtrace.dataset.trace import Trace
from sldtrace.host import signals
from sldtrace.host.msr import DETECT
from sldtrace.reporters import wording

FIRST, LAST = 4, 3


def rows(trace: Trace, evidence: Rows, kind: str = "trap") -> pd.DataFrame:
    """The first and the last records of that kind as text; a row of dots between them for those left out."""
    shown = evidence.excerpt(FIRST, LAST)
    table = pd.DataFrame(_COLUMNS[kind](trace, shown))
    if len(shown) < len(evidence):
        dots = pd.DataFrame([dict.fromkeys(table.columns, "...")])
        table = pd.concat([table.iloc[:FIRST], dots, table.iloc[FIRST:]], ignore_index=True)
    return table


def _traps(trace: Trace, shown: pd.DataFrame) -> dict[str, Any]:
    return {
        "time (UTC)": _times(trace, shown["start_ns"]),
        "CPU": shown["start_cpu"].astype(str).to_numpy(),
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
            for off, watched in zip(shown["msr_cleared"], shown["msr_watched"], strict=True)
        ],
    }


def _exits(trace: Trace, shown: pd.DataFrame) -> dict[str, Any]:
    return {
        "time (UTC)": _times(trace, shown["ns"]),
        "CPU": shown["exit_cpu"].astype(str).to_numpy(),
        "reason": shown["name"].astype(str).to_numpy(),
        "address": [f"{rip:#x}" for rip in shown["rip"]],
        "in guest": [wording.length(int(ns)) for ns in shown["guest_ns"]],
        "on host": [wording.length(int(ns)) for ns in shown["host_ns"]],
    }


def _stalls(trace: Trace, shown: pd.DataFrame) -> dict[str, Any]:
    return {
        "time (UTC)": _times(trace, shown["ns"]),
        "TID": shown["tid"].astype(str).to_numpy(),
        "waited": [wording.length(int(ns)) for ns in shown["waited_ns"]],
        "for": shown["what"].astype(str).to_numpy(),
        "punished": shown["penalized_tid"].astype(str).to_numpy(),
    }


def _detection(trace: Trace, shown: pd.DataFrame) -> dict[str, Any]:
    on = (shown["value"].to_numpy() & DETECT) != 0
    return {
        "time (UTC)": _times(trace, shown["ns"]),
        "CPU": shown["cpu"].astype(str).to_numpy(),
        "TID": shown["tid"].astype(str).to_numpy(),
        "detection": ["on" if each else "off" for each in on],
    }


_COLUMNS = {"trap": _traps, "exit": _exits, "stall": _stalls, "detection": _detection}


def _times(trace: Trace, times: "pd.Series[int]") -> list[str]:
    return [wording.moment(trace, int(ns), date=False).removesuffix(" UTC") for ns in times]


def _watched(shown: pd.DataFrame, column: str) -> list[str]:
    return [
        f"{value:,}" if watched else "-"
        for value, watched in zip(shown[column], shown["exits_watched"], strict=True)
    ]
