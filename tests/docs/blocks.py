"""The code blocks of the documents.

A comment right above a block, ``.. block: not run: REASON``, marks one that is checked but can't be run by a
test; in Markdown it is ``<!-- block: not run: REASON -->``.
"""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.rst"))]
_RST = re.compile(
    r"(?:^ *\.\. block: not run: (?P<reason>[^\n]+)\n\n)?"
    r"^(?P<indent> *)\.\. code-block:: (?P<language>\w+)\n(?: +:[^\n]+\n)*\n"
    r"(?P<body>(?:(?P=indent) +[^\n]*\n|\n)+)",
    re.M,
)
_MARKDOWN = re.compile(
    r"(?:^<!-- block: not run: (?P<reason>[^\n]+) -->\n)?"
    r"^```(?P<language>\w+)\n(?P<body>.*?)^```",
    re.M | re.S,
)


@dataclass(frozen=True)
class Block:
    """A block: where it stands, its language, its text, and why it is not run, if it is not."""

    page: Path
    line: int
    language: str
    text: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"

    @property
    def commands(self) -> list[list[str]]:
        """What a console block types, in words; comments and output left out."""
        joined = self.text.replace("\\\n", " ")
        typed = [line.removeprefix("$ ") for line in joined.splitlines() if line.startswith("$ ")]
        return [shlex.split(line, comments=True) for line in typed]


def blocks_of(page: Path) -> Iterator[Block]:
    """The blocks of a page, from top to bottom."""
    text = page.read_text()
    for found in (_MARKDOWN if page.suffix == ".md" else _RST).finditer(text):
        line = text.count("\n", 0, found.start("language")) + 1
        body = textwrap.dedent(found["body"]).strip("\n") + "\n"
        yield Block(page, line, found["language"], body, found["reason"])


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def blocks_in(*languages: str) -> list[Block]:
    """All blocks in some languages."""
    return [block for block in BLOCKS if block.language in languages]
