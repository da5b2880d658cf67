"""Answers as a table, JSON, YAML or plain text, by Airflow's own console."""

from __future__ import annotations

import json
import logging
import os
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import datetime
from typing import Any, TextIO

from airflow.cli.simple_table import AirflowConsole
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from airflow_cancel_provider.services.progress import Progress

log = logging.getLogger("airflow_cancel_provider")
Row = Mapping[str, Any]
WIDTH_OF_A_FILE = 1000
"""Columns where no terminal has an end: addresses stay in one piece."""


class Printer:
    """Writes the answer of a command to standard output, in the format that was chosen.

    :param format: ``table``, ``plain``, ``json`` or ``yaml``.
    """

    def __init__(self, out: TextIO, format: str, *, is_quiet: bool = False) -> None:
        self.out, self.format, self.is_quiet = out, format, is_quiet
        self._console: Any = _Console(file=out, emoji=False)
        self._console.width = _width(out)

    @property
    def is_for_people(self) -> bool:
        """Whether sentences may be written between tables."""
        return self.format in ("table", "plain")

    def say(self, words: object) -> None:
        """Write a sentence, where people read."""
        if self.is_for_people:
            self._write(words)

    def rows(self, rows: Sequence[Row], columns: Sequence[str], none: str) -> None:
        """Write rows: in JSON and YAML with all of their values, in a table these columns.

        :param none: what is said to people where there are no rows.
        """
        if not self.is_for_people:
            self.value([dict(row) for row in rows])
        elif not rows:
            self._write(none)
        else:
            self._table([{name: _cell(row.get(name)) for name in columns} for row in rows])

    def value(self, value: Any) -> None:
        """Write plain values: one line of JSON, or a document of YAML."""
        if self.format == "yaml":
            # Its dumper takes plain values alone, and not texts of a class of their own.
            self._console.print_as_yaml(json.loads(json.dumps(value)))
        elif self.out.isatty():
            self._console.print_as_json(value)
        else:
            self.out.write(json.dumps(value) + "\n")
        self.out.flush()

    def _table(self, rows: list[dict[str, str]]) -> None:
        if self.format == "plain":
            # Airflow's own function prints.
            with redirect_stdout(self.out):
                self._console.print_as_plain_table(rows)
        elif _width_of(rows) > self._console.width:
            self._write("\n\n".join(_block(row, self._console.width) for row in rows))
        else:
            self._console.print_as_table([{name: escape(text) for name, text in row.items()} for row in rows])
        self.out.flush()

    def _write(self, words: object) -> None:
        self.out.write(f"{words}\n")
        self.out.flush()


class _Console(AirflowConsole):
    def on_broken_pipe(self) -> None:
        """As everywhere: rich would end the process with 1."""
        raise BrokenPipeError


def _width(out: TextIO) -> int:
    """Columns of the terminal that answers go to. Airflow looks at another stream."""
    if not out.isatty():
        return WIDTH_OF_A_FILE
    wanted = os.environ.get("COLUMNS", "")
    chosen = int(wanted) if wanted.isdecimal() else 0
    return chosen or os.get_terminal_size(out.fileno()).columns or 80


def _width_of(rows: Sequence[Mapping[str, str]]) -> int:
    """Columns that a table of these rows takes."""
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
    return sum(widths.values()) + 3 * (len(widths) - 1)


def _block(row: Mapping[str, str], width: int) -> str:
    """A row for a narrow terminal: its first value, in one piece, and a line for each of the others."""
    (_, title), *values = row.items()
    margin = max(len(name) for name in row) + 4
    lines = [
        textwrap.fill(
            f"  {name}".ljust(margin) + value,
            max(width, margin + 20),
            subsequent_indent=" " * margin,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for name, value in values
        if value
    ]
    return "\n".join([title, *lines])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "".join(letter if letter.isprintable() else " " for letter in str(value))


def at_second(at: datetime | None) -> str | None:
    """A time for tables and JSON alike: ``2026-11-20T12:30:00+00:00``."""
    return at.isoformat(timespec="seconds") if at else None


@contextmanager
def progress(what: str, total: int, *, is_quiet: bool) -> Iterator[Callable[[int], None]]:
    """Show how far a command has got: on a terminal a bar on standard error, else a line every few seconds.

    Yields what is to be called with how many more jobs are done with.
    """
    if is_quiet or not sys.stderr.isatty():
        yield Progress(what, total, (lambda *_: None) if is_quiet else log.warning).advance
        return
    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(what, total=total)
        yield lambda jobs: bar.advance(task, jobs)
