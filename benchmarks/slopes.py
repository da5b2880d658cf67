"""How a figure grows with N: the slope of a straight line through the points, both axes logarithmic."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from math import log
from typing import NamedTuple

Points = Sequence[tuple[float, float]]


class Slope(NamedTuple):
    """By least squares; 1 is linear growth, 0 none."""

    slope: float
    r2: float
    """Share of the variance that the line explains."""

    def __str__(self) -> str:
        return f"slope {self.slope:.2f}, R² {self.r2:.2f}"


def slope(points: Points) -> Slope | None:
    """The slope; None for fewer than three points, through which a line says nothing."""
    pairs = [(log(x), log(y)) for x, y in points if x > 0 and y > 0]
    xs, ys = [x for x, _ in pairs], [y for _, y in pairs]
    if len(set(xs)) < 3:
        return None
    line = statistics.linear_regression(xs, ys)
    mean = statistics.fmean(ys)
    off = sum((y - line.intercept - line.slope * x) ** 2 for x, y in pairs)
    total = sum((y - mean) ** 2 for y in ys)
    return Slope(line.slope, 1 - off / total if total > 1e-9 else 1.0)
