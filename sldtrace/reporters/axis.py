"""Scales of a plot: round numbers to mark, and short words for them."""

import math

from sldtrace.text.phrases import significant


def ticks(top: float, most: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) from 0 to the first one that is not below `top`.

    top: above 0; most: how many steps there may be.
    """
    power = 10.0 ** math.floor(math.log10(top / most))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if top / (power * factor) <= most)
    return [step * number for number in range(math.ceil(top / step - 1e-9) + 1)]


def short(number: float) -> str:
    """A number of at least 0 with at most three digits: 0, 950, 1.5k, 20M."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * size:  # three digits of it are rounded up to the unit
            return f"{significant(number / size, 3)}{unit}"
    return significant(number, 3)
