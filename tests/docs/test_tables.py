"""The tables that the documents make from the package and from the matrix's output."""

from __future__ import annotations

import re
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

import pytest

from tests.docs.blocks import ROOT

pytest.importorskip("sphinx")


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    spec = spec_from_file_location("tables", ROOT / "docs" / "_ext" / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_cell_of_the_matrix_is_in_a_table(tables: ModuleType) -> None:
    text = (ROOT / "docs" / "matrix_guard_on.txt").read_text()
    cells = [
        cell for mode in tables.MODES for _, row in tables.columns(text, mode)[1] for cell in row if cell
    ]
    (counted,) = re.findall(r"^Guard on: (\d+) cells", text, re.M)
    assert len(cells) == int(counted)


def test_the_columns_are_the_services_in_order(tables: ModuleType) -> None:
    heads, rows = tables.columns((ROOT / "docs" / "matrix.txt").read_text(), "plain")
    assert heads == ["EMR", "Batch", "EMR Serverless", "MRS"]
    assert rows[0][0] == "SIGTERM to the task"
    assert rows[0][1][0] == "0.2/goes on"


@pytest.mark.parametrize("name", ["matrix.txt", "matrix_guard_on.txt"])
def test_every_word_of_a_cell_has_a_colour(tables: ModuleType, name: str) -> None:
    text = (ROOT / "docs" / name).read_text()
    style = (ROOT / "docs" / "_static" / "style.css").read_text()
    for mode in tables.MODES:
        for _, row in tables.columns(text, mode)[1]:
            for _, kind in (part for cell in row for part in tables._parts(cell)):
                assert f"table.matrix .{kind}" in style
