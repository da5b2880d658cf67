"""Links of the documents lead somewhere: into the repository, or to a well-formed address."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.docs.blocks import PAGES, ROOT

PROSE = [*PAGES, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]
_MARKDOWN = re.compile(r"\]\(([^)\s]+)\)")
_RST = re.compile(r"`[^`<]+ <([^`>]+)>`_")
_BARE = re.compile(r"https?://[^\s`'\"<>)\]}]+")
_ROLE = re.compile(r":doc:`(?:[^`<]*<)?([^`>]+)>?`")


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    targets = (_MARKDOWN if page.suffix == ".md" else _RST).findall(text)
    broken = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert broken == []
    for address in [*_BARE.findall(text), *(target for target in targets if "://" in target)]:
        parts = urlsplit(address.rstrip(".,;:"))
        assert parts.hostname
        assert parts.scheme == "https" or parts.hostname in {"localhost", "127.0.0.1"}


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_references_to_pages_exist(page: Path) -> None:
    base = ROOT / "docs"
    for name in _ROLE.findall(page.read_text()):
        found = base / name.lstrip("/") if name.startswith("/") else page.parent / name
        assert found.with_suffix(".rst").exists(), name


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = set()
    for index in (ROOT / "docs" / "index.rst", ROOT / "docs" / "decisions" / "README.rst"):
        for tree in re.findall(r"\.\. toctree::\n((?:   [^\n]*\n|\n)+)", index.read_text()):
            listed |= {
                (index.parent / line.strip()).with_suffix(".rst") for line in tree.splitlines() if line
            }
    pages = set((ROOT / "docs").rglob("*.rst")) - {ROOT / "docs" / "index.rst"}
    assert pages - listed == set()
