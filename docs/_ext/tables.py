"""Directives that make tables from what the package and its runs leave: settings, quotas, and the matrix."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from airflow_cancel_provider import setting_options
from airflow_cancel_provider.services import registry
from airflow_cancel_provider.services.ratelimit import EVERY

MODES = {"sync": "Operators", "plain": "Python tasks with boto3 or MrsHook", "defer": "Deferrable operators"}
"""First word of a column of the matrix, and what people call it."""
SERVICES = {
    "emr": "EMR",
    "batch": "Batch",
    "emr-s": "EMR Serverless",
    "eks": "EMR on EKS",
    "mrs": "MRS",
    "glue": "Glue",
}
TYPES = {"boolean": "yes or no", "float": "number", "string": "text"}
"""A type of an option, and what people call it."""
WORDS = {"alone": "kept", "ORPHAN": "orphan", "goes on": "goes on", "reaper": "reaper", "ERROR": "error"}
"""A word of a cell, and what the page shows; a number of seconds is shown with its unit."""

Cell = str | Sequence[nodes.Node]


def table(
    widths: Sequence[int], head: Sequence[str], rows: Iterable[Sequence[Cell]], kind: str
) -> nodes.table:
    """A table with a header row; ``kind`` is its class in the page's style sheet."""
    group = nodes.tgroup(cols=len(widths))
    group += [nodes.colspec(colwidth=width) for width in widths]
    group += nodes.thead("", _row(head))
    group += nodes.tbody("", *[_row(row) for row in rows])
    return nodes.table("", group, classes=[kind])


def _row(cells: Sequence[Cell]) -> nodes.row:
    return nodes.row("", *[nodes.entry("", *_content(cell)) for cell in cells])


def _content(cell: Cell) -> Sequence[nodes.Node]:
    return [nodes.paragraph(text=cell)] if isinstance(cell, str) else cell


class SettingsTable(SphinxDirective):
    """Every option of ``[cancel_provider]``: name, type, default and description, as the package has them."""

    def run(self) -> list[nodes.Node]:
        """One row for each option, which can be linked to as ``setting-<name>``."""
        self.env.note_dependency(setting_options.__file__)
        rows = [self._cells(name, option) for name, option in setting_options.OPTIONS.items()]
        return [table((24, 10, 14, 52), ("option", "type", "default", "meaning"), rows, "settings")]

    def _cells(self, name: str, option: dict[str, Any]) -> list[Cell]:
        label = f"setting-{name.replace('_', '-')}"
        word = nodes.paragraph("", "", nodes.literal(text=name), ids=[label])
        default = [nodes.literal(text=option["default"])] if option["default"] else [nodes.Text("none")]
        meaning, _ = self.parse_inline(re.sub(r"(--\w+|\[\w+\] \w+)", r"``\1``", option["description"]))
        return [
            [word],
            TYPES[option["type"]],
            [nodes.paragraph("", "", *default)],
            [nodes.paragraph("", "", *meaning)],
        ]


class QuotasTable(SphinxDirective):
    """The quotas that the package keeps to unless others are set, from the registry."""

    def run(self) -> list[nodes.Node]:
        """One row for each quota of each service."""
        self.env.note_dependency(registry.__file__)
        rows = [
            (row.title, [_word(name)], f"{burst:g}", f"{rate:g}")
            for row in registry.SERVICES.values()
            for name, (burst, rate) in row.quotas.items()
        ]
        return [table((34, 34, 16, 16), ("service", "operation", "at once", "a second"), rows, "quotas")]


def _word(operation: str) -> nodes.paragraph:
    if operation == EVERY:
        return nodes.paragraph("", "all together")
    return nodes.paragraph("", "", nodes.literal(text=operation))


class MatrixTable(SphinxDirective):
    """The matrix that a run printed, as one coloured table for each way to run a task."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {"mode": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        """The columns of one mode; faults that have no cell there are left out."""
        path = Path(self.env.relfn2path(self.arguments[0])[1])
        self.env.note_dependency(str(path))
        mode = self.options["mode"]
        heads, rows = columns(path.read_text(), mode)
        widths = (34, *([66 // len(heads)] * len(heads)))
        lines = ([fault, *[[_shown(text)] for text in cells]] for fault, cells in rows)
        return [table(widths, ("what happens", *heads), lines, "matrix")]


def columns(text: str, mode: str) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Names of the services, and for each fault what its cells say, in the columns of a mode."""
    head, *lines = text.splitlines()
    starts = [(found.start(), found[0]) for found in re.finditer(r"\S+ \S+", head)]
    ends = [start for start, _ in starts[1:]] + [None]
    chosen = [
        (start, end, SERVICES[name.split()[1]])
        for (start, name), end in zip(starts, ends, strict=True)
        if name.startswith(f"{mode} ")
    ]
    rows = []
    for line in itertools.takewhile(str.strip, lines):  # what the run says of itself follows
        cells = [line[start:end].strip() for start, end, _ in chosen]
        if any(cells):
            rows.append((line[: starts[0][0]].strip(), cells))
    return [name for _, _, name in chosen], rows


def _shown(text: str) -> nodes.paragraph:
    """A cell: with the guard, and beneath it, where the run has that too, without."""
    parts = list(_parts(text))
    return nodes.paragraph(
        "", "", *[nodes.inline(text=words, classes=["cell", kind]) for words, kind in parts]
    )


def _parts(text: str) -> Iterator[tuple[str, str]]:
    for part in filter(None, text.split("/")):
        number = re.fullmatch(r"[\d.]+", part)
        yield (f"{part} s", "cancelled") if number else (WORDS[part], WORDS[part].replace(" ", "-"))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("settings-table", SettingsTable)
    app.add_directive("quotas-table", QuotasTable)
    app.add_directive("matrix-table", MatrixTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
