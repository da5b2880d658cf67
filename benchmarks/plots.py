"""Plots of growth with N, as SVG; the same figures always give the same file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.series import Line, Panel
from benchmarks.slopes import slope

STYLES = {
    "ours": {"color": "#1f6fb4", "marker": "o", "linewidth": 2.0},
    "stock": {"color": "#d1662a", "marker": "s", "linewidth": 2.0},
    "floor": {"color": "#6b6b6b", "marker": "", "linewidth": 1.2, "linestyle": "--"},
}
LOOK = {
    "svg.hashsalt": "airflow-cancel-provider",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a8a8a",
    "axes.titlesize": 10,
    "grid.color": "#e3e3e3",
    "legend.frameon": False,
    "legend.fontsize": 8,
}


def draw(panels: Sequence[Panel], file: Path) -> None:
    """Draw panels side by side, three in a row, on a white ground that is read in dark pages as well."""
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    with mpl.rc_context(LOOK):
        figure = Figure(figsize=(3.9 * columns, 3.3 * rows), layout="constrained", facecolor="white")
        for place, panel in enumerate(panels, start=1):
            _draw_panel(figure.add_subplot(rows, columns, place), panel)
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, format="svg", metadata={"Date": None})
    # matplotlib ends lines with blanks.
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join(map(str.rstrip, lines)) + "\n", encoding="utf-8")


def _draw_panel(ax: Any, panel: Panel) -> None:
    for line in panel.lines:
        xs, ys = zip(*sorted(line.points), strict=True)
        ax.plot(xs, ys, label=_label(line), **STYLES[line.side])
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_title(panel.title, loc="left")
    ax.set_xlabel(panel.x)
    ax.set_ylabel(panel.y)
    ax.grid(visible=True, which="major")
    ax.legend(loc="best")


def _label(line: Line) -> str:
    found = slope(line.points) if line.side != "floor" else None
    return f"{line.name} ({found})" if found else line.name
