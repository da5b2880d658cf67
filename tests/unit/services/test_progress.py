"""How far a long series of calls has got: what is counted, and what is logged of it."""

from __future__ import annotations

import pytest

from airflow_cancel_provider.services import progress
from airflow_cancel_provider.services.progress import Progress, shown
from tests.cloud.server import LocalCloud
from tests.service_fixtures import BENCHES, Bench


def test_a_line_every_few_seconds() -> None:
    now, lines = [0.0], list[str]()
    counted = Progress(
        "Cancel requests", 150, lambda words, *args: lines.append(words % args), lambda: now[0]
    )
    for _ in range(150):
        now[0] += 1
        counted.advance(1)
    assert len(lines) == 29
    assert lines[0] == "Cancel requests: 5 of 150 jobs, 1.0 a second, about 2 min left."
    assert lines[-1] == "Cancel requests: 145 of 150 jobs, 1.0 a second, about 5 s left."


def test_what_is_soon_over_is_not_logged() -> None:
    lines = list[str]()
    counted = Progress("Cancel requests", 10_000, lambda words, *_: lines.append(words), lambda: 0.0)
    for _ in range(100):
        counted.advance(100)
    assert lines == []


def test_without_anybody_who_wants_to_know() -> None:
    progress.advance(1)


@pytest.mark.parametrize("kind", BENCHES, ids=lambda kind: str(kind.name))
def test_every_job_counts_once(cloud: LocalCloud, kind: type[Bench]) -> None:
    bench = kind(cloud)
    jobs = bench.running(30) + bench.ended(5)
    done = list[int]()
    with shown(done.append):
        bench.service().cancel(jobs, "")
    assert sum(done) <= len(jobs)
    assert sum(done) >= 30
    done.clear()
    with shown(done.append):
        bench.service().describe(jobs)
    assert sum(done) == len(jobs)
    bench.close()
