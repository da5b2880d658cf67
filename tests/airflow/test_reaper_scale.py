"""A sweep over some thousand jobs keeps to the published quotas, and cancels exactly the orphans."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from airflow_cancel_provider.owner import Label, deployment_of
from benchmarks.account.gate import Gate
from benchmarks.account.population import DEPLOYMENT, OF_A_THOUSAND, ORPHANING, Population, kind_of, try_id
from benchmarks.account.process import account, figures
from benchmarks.account.service import page
from benchmarks.scale.floors import Ideal, check_calls
from benchmarks.scale.run import sweep_over
from benchmarks.scale.table import lines

# 28 pages of runs are 3 more than may be asked for at once: without a pace, some are throttled.
SMALL = Population(owners=1000, queues=3, jobs=2400, applications=2, runs=1400, clusters=3, steps=300)
MOST_MEMORY = 48.0
"""MiB."""


@pytest.mark.airflow
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_sweep_cancels_the_orphans_within_the_quotas() -> None:
    outcome = sweep_over(SMALL, grace=1, latency=0.005)
    assert outcome.mistakes() == []
    calls = outcome.account["calls"]
    assert {name: call["throttled"] for name, call in calls.items() if call["throttled"]} == {}
    checking = outcome.sweep["phases"]["check"]["calls"]
    for service, some in check_calls(SMALL).items():
        for operation, least in some.items():
            # A page more for each listing that ends with a full one, and a part of one for each place.
            assert checking[f"{service} {operation}"]["calls"] <= least * 1.2 + 1
    assert outcome.growth["sweep"] < MOST_MEMORY
    # Of each batch of 500 jobs at most three queries, and two for what is history.
    assert outcome.sweep["queries"]["task_instance"] <= 2 * (SMALL.size / 500 + 8 + 8)
    text = "\n".join(lines(outcome))
    assert "4,100 living jobs of 1,000 owners" in text
    assert "ListSteps" in text


def test_outcome_names_every_mistake() -> None:
    from benchmarks.scale.run import Outcome

    first, second, *rest = SMALL.orphans()
    stranger = next(number for number in range(SMALL.size) if not SMALL.is_orphan(number))
    cancelled = {str(second): 2, str(stranger): 1} | dict.fromkeys(map(str, rest), 1)
    report = {"jobs": {"alive": SMALL.size - 1}, "fates": {"ended": len(rest) + 1}, "troubles": ["no word."]}
    outcome = Outcome(SMALL, {"report": report}, {"cancelled": cancelled})
    assert not SMALL.is_orphan(stranger)
    assert first not in map(int, cancelled)
    assert outcome.mistakes() == [
        "1 orphans were not cancelled.",
        "1 jobs were cancelled that are no orphans.",
        "1 jobs were asked to end more than once.",
        "1 orphans were not seen to end.",
        "1 jobs were not checked.",
        "The report tells of trouble: no word.",
    ]


def test_population_has_every_kind_of_owner_and_of_job() -> None:
    population = Population.of(40_000, 10_000)
    assert population.size == 40_000
    assert {kind_of(owner) for owner in range(1000)} >= set(OF_A_THOUSAND)
    assert len({try_id(owner) for owner in range(10_000)}) == 10_000
    orphans = list(population.orphans())
    assert 0.009 < len(orphans) / population.size < 0.011
    assert {kind_of(number % population.owners) for number in orphans} == set(ORPHANING)
    labels = [Label.find(population.label(number)) for number in range(population.size)]
    ours = deployment_of(DEPLOYMENT)
    assert sum(label is None for label in labels) == pytest.approx(2000, rel=0.1)
    assert sum(label is not None and label.deployment != ours for label in labels) == pytest.approx(
        2000, rel=0.1
    )


def test_page_is_full_and_says_where_the_next_one_begins() -> None:
    numbers = range(100, 107)[::-1]
    first, token = page(numbers, 3, None, lambda number: number != 105)
    assert (first, token) == ([106, 104, 103], "4")
    assert page(numbers, 3, token, lambda number: number != 105) == ([102, 101, 100], None)


def test_gate_lets_in_what_the_quotas_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("benchmarks.account.gate.time.monotonic", lambda: now)
    gate = Gate()
    assert [gate.lets_in("emr", "ListSteps") for _ in range(11)] == [True] * 10 + [False]
    now += 1.9
    assert not gate.lets_in("emr", "ListSteps")
    now += 0.1
    assert gate.lets_in("emr", "ListSteps")
    # All of EMR has 25 calls at once: 11 are spent, and those of 2 seconds came back.
    assert sum(gate.lets_in("emr", "ListClusters") for _ in range(20)) == 20
    assert gate.figures()["emr ListSteps"] == {"calls": 13, "throttled": 2, "peak": 11, "last": 2.0}


def test_floor_is_what_the_bucket_lets_through() -> None:
    ideal = Ideal()
    assert ideal.make({"emr": {"ListSteps": 90}, "emr-serverless": {"ListJobRuns": 100}}) == {
        "emr": 160.0,
        "emr-serverless": 75.0,
    }
    # 5 seconds later there are two and a half tokens of EMR's, and all of EMR Serverless's.
    again = ideal.make({"emr": {"ListSteps": 4}, "emr-serverless": {"ListJobRuns": 25}}, 165.0)
    assert again == {"emr": 168.0, "emr-serverless": 165.0}


@pytest.mark.parametrize(
    "path, body, code",
    [
        ("/v1/describejobs", {"jobs": ["x"] * 101}, "ClientException"),
        ("/v1/terminatejobs", {"jobs": ["x"] * 51}, "ClientException"),
        ("/applications/unknown/jobruns", None, "ResourceNotFoundException"),
        ("/v1/submitjob", {}, "UnknownOperationException"),
    ],
)
def test_account_refuses_what_the_services_refuse(path: str, body: Any, code: str) -> None:
    with account(SMALL, 0.0) as url:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        data = None if body is None else json.dumps(body).encode()
        with pytest.raises(urllib.error.HTTPError) as refusal:
            opener.open(f"{url}{path}", data=data, timeout=10)
        with refusal.value as answer:
            assert json.load(answer)["__type"] == code
        assert figures(url)["cancelled"] == {}
