"""How long we took, and how long Airflow took to notice."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from tests.matrix.scenario import Result
from tests.matrix_celery.cells import SCENARIOS

HEAD = ("", "cells", "as expected", "cancel requested", "Airflow noticed")


def times(results: Sequence[Result]) -> str:
    """Per scenario: cells, and median and worst seconds from the fault to each."""
    lines = [HEAD]
    for scenario in SCENARIOS:
        mine = [result for result in results if result.cell.scenario.name == scenario.name]
        if mine:
            good = sum(result.is_expected for result in mine)
            ours = _span(result.seconds for result in mine)
            theirs = _span(result.noticed for result in mine)
            lines.append((scenario.name, str(len(mine)), str(good), ours, theirs))
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    return "\n".join(
        "  ".join(part.ljust(width) for part, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _span(seconds: Iterable[float | None]) -> str:
    known = [each for each in seconds if each is not None]
    return f"{statistics.median(known):5.1f} / {max(known):5.1f} s" if known else "-"
