"""Replies as tables, as ``--output table`` of the AWS CLI draws them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from unicodedata import east_asian_width

_PADDING = 4


@dataclass
class _Section:
    """One frame: a title, column headers, rows, and how deep in the reply it stands."""

    title: str
    depth: int
    headers: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)

    @property
    def widths(self) -> list[int]:
        lines = [*self.rows, self.headers] if self.headers else self.rows
        return [max(map(_width, column)) + _PADDING for column in zip(*lines, strict=True)]

    @property
    def width(self) -> int:
        around = 2 + 2 * self.depth
        return max(_width(self.title) + around, sum(self.widths) + around)

    @property
    def upright(self) -> _Section:
        """The same, where it is a single row with headers, as rows of header and value."""
        if len(self.rows) != 1 or not self.headers:
            return self
        pairs = [list(pair) for pair in zip(self.headers, self.rows[0], strict=True)]
        return _Section(self.title, self.depth, rows=pairs)

    def drawn(self, width: int) -> Iterator[str]:
        """Lines, as wide as the table."""
        edge = "|" * self.depth
        yield from (f"{edge}{line}{edge}" for line in self._lines(width - 2 * self.depth))

    def _lines(self, width: int) -> Iterator[str]:
        if self.title:
            yield _centred(self.title, width, "|")
            if not self.headers and not self.rows:
                yield f"+{'-' * (width - 2)}+"
        if not self.widths:
            return
        widths = _scaled(self.widths, width)
        border = "+" + "+".join("-" * (each - 1 - (not i)) for i, each in enumerate(widths)) + "+"
        if self.headers:
            yield border
            yield "".join(_centred(cell, *_cell(widths, i)) for i, cell in enumerate(self.headers))
        yield border
        for row in self.rows:
            yield "".join(_left(cell, *_cell(widths, i)) for i, cell in enumerate(row))
        yield border


def table(title: str, reply: Any, columns: int) -> str:
    """The reply as a table; empty where there is nothing in it.

    :param columns: of the terminal. In a table that is wider, a single row becomes a column.
    """
    sections = list(_sections(title, reply, 0))
    if not sections:
        return ""
    width = max(section.width for section in sections)
    if width > columns:
        sections = [section.upright for section in sections]
        width = max(section.width for section in sections)
    lines = ["-" * width, *(line for section in sections for line in section.drawn(width))]
    return "".join(f"{line}\n" for line in lines)


def _sections(title: str, item: Any, depth: int) -> Iterator[_Section]:
    if not item:
        return
    if isinstance(item, dict):
        yield from _of_dict(title, item, depth)
    elif isinstance(item, list) and isinstance(item[0], dict):
        yield from _of_dicts(title, item, depth)
    elif isinstance(item, list):
        yield from _of_values(title, item, depth)
    else:
        yield _Section(title, depth)


def _of_dict(title: str, item: dict[str, Any], depth: int) -> Iterator[_Section]:
    columns, others = _columns([item])
    section = _Section(title, depth)
    if len(columns) == 1:
        section.rows.append([columns[0], str(item[columns[0]])])
    elif columns:
        section.headers = columns
        section.rows.append([str(item[name]) for name in columns])
    yield section
    for name in others:
        yield from _sections(name, item[name], depth + 1)


def _of_dicts(title: str, items: list[dict[str, Any]], depth: int) -> Iterator[_Section]:
    columns, others = _columns(items)
    # Where items hold more than plain values, each is a section, with those behind it.
    for group in [[item] for item in items] if others else [items]:
        rows = [[str(item.get(name, "")) for name in columns] for item in group]
        yield _Section(title, depth, columns, rows)
        for name in others:
            yield from _sections(name, group[0].get(name), depth + 1)


def _of_values(title: str, items: list[Any], depth: int) -> Iterator[_Section]:
    section = _Section(title, depth)
    for item in items:
        section.rows.append([str(each) for each in item] if isinstance(item, list) else [str(item)])
    longest = max(map(len, section.rows))
    section.rows = [row + [""] * (longest - len(row)) for row in section.rows]
    yield section


def _columns(items: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """Names with plain values, and names with more."""
    plain = {name for item in items for name, value in item.items() if not isinstance(value, (dict, list))}
    more = {name for item in items for name, value in item.items() if isinstance(value, (dict, list))}
    return sorted(plain), sorted(more)


def _scaled(widths: list[int], width: int) -> list[int]:
    """Column widths stretched to the width of the table."""
    scaled = [round(each * width / sum(widths)) for each in widths]
    step = 1 if sum(scaled) < width else -1
    order = list(range(len(scaled)))[::-step]
    for i in range(abs(width - sum(scaled))):
        scaled[order[i % len(order)]] += step
    return scaled


def _cell(widths: list[int], index: int) -> tuple[int, str]:
    return widths[index], "" if index else "|"


def _centred(text: str, width: int, edge: str) -> str:
    begin = edge + " " * (width // 2 - _width(text) // 2 - 1) + text
    return begin + " " * (width - 1 - _width(begin)) + "|"


def _left(text: str, width: int, edge: str) -> str:
    begin = edge + "  " + text
    return begin + " " * (width - 1 - _width(begin)) + "|"


def _width(text: str) -> int:
    """Columns on a terminal: some letters take two."""
    return sum(2 if east_asian_width(letter) in "WFA" else 1 for letter in text)
