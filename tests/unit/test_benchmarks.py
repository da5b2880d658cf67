"""What the documents show of the benchmarks is what was measured; and what the benchmarks calculate with."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from airflow_cancel_provider.services.credentials import account_of
from benchmarks import report
from benchmarks.account.batch import job_id
from benchmarks.account.emr import Emr, step_id
from benchmarks.account.ends import Ends, Finishing
from benchmarks.account.population import Population
from benchmarks.account.server import Account
from benchmarks.account.service import Refused
from benchmarks.account.troubles import Troubles
from benchmarks.cancels.plan import Plan as Cancel
from benchmarks.processes import access_key
from benchmarks.slopes import slope
from benchmarks.waits.plan import Plan as Wait
from benchmarks.waits.triggers import addresses

DOCS = Path(__file__).parents[2] / "docs"


def test_the_tables_in_the_documents_are_made_of_the_results_beside_them() -> None:
    results = json.loads((DOCS / "benchmarks/results.json").read_text(encoding="utf-8"))
    assert (DOCS / "benchmarks/tables.txt").read_text(encoding="utf-8") == report.document(results)
    for part in ("waits", "cancels"):
        assert results[part]
        assert (DOCS / f"images/bench-{part}.svg").exists()


def test_the_figures_in_the_readme_are_the_results() -> None:
    results = json.loads((DOCS / "benchmarks/results.json").read_text(encoding="utf-8"))
    guard = results["guard"]
    calls = {
        each["side"]: sum(call["calls"] for call in each["calls"].values())
        for each in results["waits"]
        if each["waits"] == 1000
    }
    (cancels,) = (
        each["from the first call"]
        for each in results["cancels"]
        if (each["side"], each["service"], each["jobs"]) == ("ours", "batch", 10_000)
    )
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    figures = [
        f"{guard['submission, guarded'] / guard['submission, stock']:.2f} times the stock one",
        f"{guard['sentinel, MiB while idle']:.1f} MiB while idle",
        f"starts in {guard['sentinel, start'] * 1000:.0f} ms",
        f"| {guard['SIGKILL to cancel request, median']:.2f} s |",
        f"| {guard['task that submits nothing'] * 1000:.0f} ms once",
        f"| {calls['ours']:.0f} API calls a minute",
        f"stock ones try {calls['stock']:,.0f}",
        f"| {cancels:.1f} s |",
        f"| {max(each['ratio'] for each in results['reaper'] if each['jobs'] == 100_000):.2f} times",
    ]
    assert [figure for figure in figures if figure not in readme] == []


def test_a_slope_is_the_exponent_of_the_growth() -> None:
    found = slope([(n, 3 * n**0.5) for n in (10, 100, 1000)])
    assert found is not None
    assert (round(found.slope, 6), round(found.r2, 6)) == (0.5, 1.0)
    assert slope([(10, 1), (100, 2)]) is None
    scattered = slope([(10, 1), (100, 5), (1000, 2)])
    assert scattered is not None
    assert scattered.r2 < 0.5


def test_what_does_not_grow_has_a_slope_of_none() -> None:
    assert slope([(10, 7), (100, 7), (1000, 7)]) == (0.0, 1.0)


def test_floor_of_cancels_is_what_the_quotas_allow() -> None:
    latency = 0.0
    # 25 at once, then one a second; 2 seconds until the last one has ended.
    assert Cancel("ours", "emr-serverless", 150).floor(latency) == {"requested": 125.0, "ended": 127.0}
    # 40 pages of 50 steps: 10 at once, then one each 2 seconds.
    assert Cancel("ours", "emr", 2000).floor(latency)["ended"] == pytest.approx(62.0)


def test_least_calls_of_waits_keep_to_the_quotas() -> None:
    assert Wait("ours", 30, 10.0, 60.0).least() == {"batch": 6.0, "emr-serverless": 6.0, "emr": 6.0}
    many = Wait("ours", 15_000, 10.0, 60.0)
    assert many.least()["emr"] == 30.0
    assert many.latest() == 40.0
    assert Wait("ours", 30, 10.0, 60.0).latest() == 10.0


def test_every_job_of_the_account_has_an_address() -> None:
    population = Wait("ours", 100, 10.0, 60.0).population
    assert [number for number, _ in addresses(population)] == list(range(population.size))
    assert len({job for _, job in addresses(population)}) == population.size == 100


def test_a_job_succeeds_at_the_moment_that_both_sides_know() -> None:
    ends, now = Ends(), time.time()
    ends.finishing = Finishing(now - 100, 50, every=2)
    assert ends.has_ended(0)
    assert ends.has_succeeded(4)
    assert not ends.has_ended(1)
    ends.finishing = Finishing(now + 100, 50)
    assert not ends.has_ended(0)
    assert all(now + 100 <= (ends.finishing.at(number) or 0) <= now + 150 for number in range(50))


def test_steps_may_end_in_their_order_and_are_listed_so() -> None:
    ends, now = Ends(), time.time()
    ends.finishing = Finishing(now - 50, 100, every=2, queues=[(0, 200)])
    assert [number for number in range(200) if ends.finishing.at(number) is None] == [*range(100, 200)]
    assert [number for number in range(200) if ends.has_ended(number)] == [*range(51)]
    emr = Emr(Population(1000, 1, 0, 1, 0, 1, 200), ends)
    listed = emr.answer("ListSteps", {"ClusterId": "j-0000000000000", "StepStates": ["PENDING", "RUNNING"]})
    states = [step["Status"]["State"] for step in listed["Steps"]]
    assert states == ["RUNNING"] * 10 + ["PENDING"] * 40
    assert listed["Steps"][0]["Id"] == step_id(51)


def test_the_account_describes_what_the_stock_triggers_ask_for() -> None:
    account = Account(Population(10, 1, 2, 1, 2, 1, 2), 0.0)
    account.finish({"begin": 0.0, "over": 1.0, "every": 1})
    step = account.answer(
        ("emr", "DescribeStep", {"ClusterId": "j-0000000000000", "StepId": "s-0000000000004"})
    )
    assert step["Step"]["Status"]["State"] == "COMPLETED"
    run = account.answer(
        (
            "emr-serverless",
            "GetJobRun",
            {"applicationId": "00f0000000000000", "jobRunId": f"{2:016x}"},
        )
    )
    assert run["jobRun"]["state"] == "SUCCESS"
    (job,) = account.answer(("batch", "DescribeJobs", {"jobs": [job_id(1)]}))["jobs"]
    assert job["status"] == "SUCCEEDED"


def test_troubles_come_and_go_but_credentials_expire_for_good() -> None:
    troubles = Troubles()
    troubles.check("old")
    troubles.begin("expired", key="old")
    with pytest.raises(Refused, match="expired"):
        troubles.check("old")
    troubles.check("new")
    troubles.begin("outage", seconds=60)
    with pytest.raises(Refused, match="unavailable"):
        troubles.check("new")
    troubles.begin("outage", seconds=-1)
    troubles.check("new")
    troubles.begin("reset", seconds=60)
    assert troubles.drops()
    assert troubles.met == {"expired": 1, "outage": 1, "reset": 1, "throttled": 0}


def test_all_access_keys_tell_the_same_account() -> None:
    keys = [SimpleNamespace(access_key=access_key(number)) for number in (0, 1, 99_999)]
    assert list(map(account_of, keys)) == ["123456789012"] * 3
