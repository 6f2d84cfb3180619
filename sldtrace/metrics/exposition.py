"""Writes metrics in Prometheus' text format (0.0.4), as the textfile collector of node_exporter reads it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sldtrace.text.escape import escape


@dataclass
class Metric:
    """A family of samples.

    name: without `_total`; kind: counter or gauge; samples: labels and value; created: labels and the time at
    which the counter began (Unix time, s).
    """

    name: str
    kind: str
    help: str
    samples: list[tuple[Mapping[str, str], float]] = field(default_factory=list)
    created: list[tuple[Mapping[str, str], float]] = field(default_factory=list)


def render(metrics: Iterable[Metric]) -> str:
    """The text; a family without samples has its head, so that it is known that it is 0."""
    lines = []
    for each in metrics:
        name = f"{each.name}_total" if each.kind == "counter" else each.name
        lines += [f"# HELP {name} {_text(each.help)}", f"# TYPE {name} {each.kind}"]
        lines += [f"{name}{_labels(labels)} {_number(value)}" for labels, value in each.samples]
        if each.created:
            created = f"{each.name}_created"
            lines += [f"# HELP {created} When the counter began (Unix time).", f"# TYPE {created} gauge"]
            lines += [f"{created}{_labels(labels)} {_number(value)}" for labels, value in each.created]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{_quoted(value)}"' for key, value in labels.items()) + "}"


# Tenants choose names: unprintable characters are spelled out, with a backslash, which the format escapes.
def _quoted(text: str) -> str:
    return _text(escape(text)).replace('"', '\\"')


def _text(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


# All digits of an integer; a time in seconds to the microsecond.
def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.9f}".rstrip("0").rstrip(".")
