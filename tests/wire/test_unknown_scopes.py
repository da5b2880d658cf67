"""Clusters and applications that a service does not know: every AWS service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_cancel_provider.exceptions import UnknownScope
from airflow_cancel_provider.jobs import CancelOutcome, RemoteJob
from tests.cloud.server import LocalCloud
from tests.service_fixtures import REASON, Bench, EmrContainersBench, EmrServerlessBench, aws_bench, outcomes

__all__ = ["aws_bench"]

UNKNOWN_SCOPES = {
    "emr": "j-NEVERWAS",
    "emr-serverless": "00neverwas",
    "emr-containers": "0neverwas",
    "glue": "never was",
}


@pytest.mark.parametrize("count", [1, 60])
class TestUnknownScopes:
    @pytest.fixture
    def strangers(self, bench: Bench, count: int) -> list[RemoteJob]:
        """Jobs of a cluster or application that the service does not know."""
        if bench.name not in UNKNOWN_SCOPES:
            pytest.skip("Batch jobs are part of nothing")
        return [bench.address(bench.unknown("-").id, UNKNOWN_SCOPES[bench.name]) for _ in range(count)]

    def test_cancel_refuses_in_the_services_words_and_goes_on(
        self, bench: Bench, strangers: list[RemoteJob]
    ) -> None:
        known = bench.running(2) + bench.running(2)
        results = bench.service().cancel([*known[:2], *strangers, *known[2:]], REASON)
        by_job = {result.job: result for result in results}
        assert outcomes([by_job[job] for job in known]) == [CancelOutcome.REQUESTED] * 4
        assert set(outcomes([by_job[job] for job in strangers])) == {CancelOutcome.REFUSED}
        assert UNKNOWN_SCOPES[bench.name] in str(by_job[strangers[0]].detail)
        assert "another account or region than connection 'aws_default'" in str(by_job[strangers[0]].detail)

    def test_describe_raises(self, bench: Bench, strangers: list[RemoteJob]) -> None:
        with pytest.raises(UnknownScope, match=UNKNOWN_SCOPES[bench.name]):
            bench.service().describe(strangers)

    def test_cancel_without_a_description_refuses_too(self, bench: Bench, strangers: list[RemoteJob]) -> None:
        for operation in ("ListSteps", "GetJobRun", "DescribeJobRun", "ListJobRuns", "GetJobRuns"):
            bench.cloud.faults.add(bench.name, operation, "denied")
        assert set(outcomes(bench.service().cancel(strangers, REASON))) == {CancelOutcome.REFUSED}

    def test_listings_raise(self, bench: Bench, count: int) -> None:
        scope = UNKNOWN_SCOPES.get(bench.name, "no-such-queue")
        for listing in (bench.service().living, bench.service().claims):
            with pytest.raises(UnknownScope, match=scope):
                list(listing(scope))


def test_a_virtual_cluster_whose_name_is_called_invalid(cloud: LocalCloud) -> None:
    bench = EmrContainersBench(cloud)
    job = bench.address(bench.unknown("-").id, UNKNOWN_SCOPES[bench.name])
    error = {"__type": "ValidationException", "message": f"Virtual cluster {job.scope} doesn't exist."}
    cloud.faults.add(
        bench.name, "DescribeVirtualCluster", "hostile_reply", body=json.dumps(error), status=400
    )
    with pytest.raises(UnknownScope, match="0neverwas doesn't exist"):
        bench.service().describe([job])
    assert outcomes(bench.service().cancel([job], REASON)) == [CancelOutcome.REFUSED]
    bench.close()


def test_an_application_that_listings_do_not_check_is_asked_for(cloud: LocalCloud) -> None:
    """ListJobRuns is not documented to know unknown applications: an empty page, or an invalid request."""
    bench = EmrServerlessBench(cloud)
    known = bench.new_scope()
    cloud.faults.add(bench.name, "ListJobRuns", "hostile_reply", body='{"jobRuns": []}')
    with pytest.raises(UnknownScope, match="GetApplication on 00neverwas failed"):
        list(bench.service().living("00neverwas"))
    assert list(bench.service().living(known)) == []
    bench.close()


@pytest.fixture(params=[EmrServerlessBench, EmrContainersBench], ids=lambda kind: kind.name)
def unasked(request: pytest.FixtureRequest, cloud: LocalCloud) -> Iterator[Bench]:
    """A service whose identity may not ask for scopes."""
    bench: Bench = request.param(cloud)
    service: Any = bench.service()
    cloud.faults.add(bench.name, service.scope_operation[0], "denied")
    yield bench
    bench.close()


@pytest.mark.parametrize("lists_first", [False, True])
def test_a_run_is_not_gone_where_its_application_may_not_be_asked_for(
    unasked: Bench, *, lists_first: bool
) -> None:
    """Its application may be another account's, in which the run lives."""
    service: Any = unasked.service()
    unknown = unasked.unknown()
    if lists_first:
        assert list(service.living(str(unknown.scope))) == []
    (result,) = service.cancel([unknown], REASON)
    assert result.outcome is CancelOutcome.REFUSED
    assert service.scope_operation[0] in str(result.detail)
    with pytest.raises(UnknownScope, match=service.scope_operation[0]):
        service.describe([unknown])


def test_a_run_is_gone_whose_application_has_shown_runs(unasked: Bench) -> None:
    service, (run,) = unasked.service(), unasked.running(1)
    service.describe([run])
    unknown = unasked.unknown(run.scope)
    assert outcomes(service.cancel([unknown], REASON)) == [CancelOutcome.GONE]
