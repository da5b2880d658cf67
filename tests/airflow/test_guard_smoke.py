"""Ten cells of the matrix on one real Airflow: what becomes of remote jobs when tasks end badly."""

from __future__ import annotations

import pytest

from tests.matrix.cells import SMOKE, cells
from tests.matrix.ground import ground
from tests.matrix.runner import Runner
from tests.matrix.scenario import Result

CHOSEN = [cell for cell in cells() if cell.name in SMOKE]


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    """All of them at the same time; the verdicts are the cloud's."""
    with ground(guarded=True, sqlite=True) as up:
        found = Runner(up).run(CHOSEN)
    return {result.cell.name: result for result in found}


def test_every_cell_of_the_smoke_is_in_the_matrix() -> None:
    assert sorted(cell.name for cell in CHOSEN) == sorted(SMOKE)


@pytest.mark.airflow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SMOKE)
def test_no_job_outlives_its_task(results: dict[str, Result], name: str) -> None:
    result = results[name]
    assert result.is_expected, f"{result.verdict} {result.note}"
