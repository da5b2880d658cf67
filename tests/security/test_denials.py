"""The policies of docs/permissions.rst, one action less: who is denied it is told which one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_cancel_provider.exceptions import ServiceError
from tests.cloud.server import LocalCloud
from tests.service_fixtures import BENCHES, HASTY, Bench

POLICIES = (Path(__file__).parents[2] / "docs" / "permissions.rst").read_text()
UNASKED = {"DescribeCluster", "CancelJobs", "GetApplication", "DescribeVirtualCluster"}
"""Operations that are only asked for where something is wrong, or pending."""
ACTIONS = [
    (kind, operation) for kind in BENCHES for operation in sorted(set(kind.service_class.answers) - UNASKED)
]


@pytest.fixture(params=ACTIONS, ids=lambda each: f"{each[0].name}-{each[1]}")
def denied(request: pytest.FixtureRequest, cloud: LocalCloud) -> Iterator[tuple[Bench, str]]:
    kind, operation = request.param
    bench: Bench = kind(cloud)
    yield bench, operation
    bench.close()


def test_who_is_denied_an_action_is_told_which(denied: tuple[Bench, str]) -> None:
    bench, operation = denied
    jobs = bench.running(2)
    service: Any = bench.service(HASTY)
    bench.cloud.journal.clear()
    bench.cloud.faults.add(bench.name, operation, "denied")
    said = [str(result) for result in service.cancel(jobs, "why")]
    calls: list[Callable[[], Any]] = [
        lambda: service.describe(jobs),
        lambda: list(service.claims(jobs[0].scope or "queue")),
        lambda: list(service.scopes()),
    ]
    for call in calls:
        try:
            call()
        except ServiceError as error:
            said.append(str(error))
    assert bench.cloud.journal.count(bench.name, operation)
    action = f"{service.iam_prefix}:{service.iam_actions.get(operation, operation)}"
    assert action in POLICIES
    assert any(action in text for text in said), said
