"""Parameters as templates: what renders, and what is left to the task."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from airflow.sdk import DAG

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.record import TryRecord
from tests.cloud.server import LocalCloud
from tests.dags.kinds import KINDS
from tests.mrs_fixtures import define
from tests.service_fixtures import BatchBench, Bench
from tests.target_fixtures import (
    IDS,
    SERVICES,
)
from tests.task_fixtures import MRS_KEYS, bench, connect_aws, connections, context, operator, targets

__all__ = ["bench", "connections"]


@pytest.mark.parametrize("native", [False, True])
def test_template_fields_render(bench: Bench, native: bool) -> None:
    jobs = bench.submit("endless", 2)
    kind = KINDS[bench.name]
    with DAG("nightly", schedule=None, render_template_as_native_obj=native):
        named = {kind.ids: "{{ pushed }}", **({kind.scope: "{{ scope }}"} if kind.scope else {})}
        options = {"reason": "{{ why }}", "waiter_delay": "{{ delay }}", "waiter_max_attempts": "{{ 2 }}"}
        task = operator(bench.name, **named, **options, wait_for_completion=False)
    values = {"pushed": [job.id for job in jobs], "scope": jobs[0].scope, "why": 20260101, "delay": 0.1}
    task.render_template_fields({**context(), **values})
    assert set(task.execute(context())) == set(jobs)
    assert (task.reason, task.waiter_delay, task.waiter_max_attempts) == ("20260101", 0.1, 2)


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("prefix", [None, "", " ", 7])
def test_a_name_prefix_that_renders_to_nothing_is_not_every_job(
    bench: Bench, native: bool, prefix: Any
) -> None:
    jobs = bench.submit("endless", 1)
    kind = KINDS[bench.name]
    place = {kind.scope: jobs[0].scope} if kind.scope else {"job_queue": "queue"}
    with DAG("nightly", schedule=None, render_template_as_native_obj=native):
        task = operator(bench.name, all_live=True, name_prefix="{{ prefix }}", **place)
    task.render_template_fields({**context(), "prefix": prefix})
    if task.name_prefix == "7" and bench.name != "glue":  # whose runs have no names
        assert task.execute(context()) == {}
    else:
        with pytest.raises(InvalidInput, match="name_prefix"):
            task.execute(context())
    assert bench.truth()[jobs[0].id]["cancel_requested_at"] is None


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("which", ["cancel", "sensor"])
def test_every_template_field_is_a_parameter(service: str, which: str) -> None:
    make = getattr(KINDS[service], which)
    fields = dict.fromkeys(make.template_fields, "{{ 1 + 1 }}")
    task = make(task_id="task", **fields)
    task.render_template_fields(context())
    assert {getattr(task, field) for field in make.template_fields} == {"2"}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("which", ["cancel", "sensor"])
def test_a_subclass_keeps_template_fields_of_its_own(service: str, which: str) -> None:
    base: Any = getattr(KINDS[service], which)

    class Own(base):  # type: ignore[misc]
        template_fields = (*base.template_fields, "ticket")

        def __init__(self, *, ticket: str, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.ticket = ticket

    class Again(Own):
        pass

    assert Own.template_fields == Again.template_fields == (*base.template_fields, "ticket")
    task = Again(task_id="own", ticket="{{ number }}", **IDS[service])
    task.render_template_fields({"number": "T-1"})
    assert task.ticket == "T-1"


def test_mapped(bench: Bench) -> None:
    jobs = bench.submit("running", 2)
    kind = KINDS[bench.name]
    named = targets(jobs)
    ids = named.pop(kind.ids)
    with DAG("nightly", schedule=None):
        task = kind.cancel.partial(task_id="stop", waiter_delay=0.05, **named).expand(**{kind.ids: ids})
    for job in jobs:
        assert task.unmap({kind.ids: job.id}).execute(context()) == {str(job): "CANCELLED"}


def test_default_args(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    connect_aws(monkeypatch, bench.cloud, "other", login="OTHERKEY", region_name=None)
    jobs = bench.submit("running")
    defaults = {"aws_conn_id": "other", "region_name": "us-east-1"}
    if bench.name == "mrs":
        define(monkeypatch, bench.cloud, "other", **MRS_KEYS)
        defaults = {"mrs_conn_id": "other"}
    with DAG(
        "nightly", schedule=None, default_args={**defaults, "start_date": datetime(2026, 1, 1, tzinfo=UTC)}
    ):
        task = operator(bench.name, **targets(jobs))
    address = RemoteJob.of(
        bench.name, jobs[0].id, scope=jobs[0].scope, conn_id="other", region=defaults.get("region_name")
    )
    assert task.execute(context()) == {str(address): "CANCELLED"}


@pytest.mark.parametrize("service", SERVICES)
def test_as_teardown(service: str) -> None:
    with DAG("nightly", schedule=None):
        work = operator(service, task_id="work", **IDS[service])
        stop = operator(service, **IDS[service]).as_teardown(setups=work)
    assert stop.is_teardown
    assert stop.upstream_task_ids == {"work"}
    assert work.is_setup


@pytest.mark.usefixtures("connections")
def test_the_record_of_a_try_names_its_jobs(cloud: LocalCloud) -> None:
    """As a value, as a template renders it, and as a list of those of mapped tasks."""
    bench = BatchBench(cloud)
    first, second = bench.ended(2)
    records = [TryRecord(uuid4(), jobs=(job,)).as_json() for job in (first, second)]
    # With what a try has taken over from the one before it, as with durable=True.
    over = TryRecord(uuid4(), earlier=(TryRecord(uuid4(), jobs=(second,)),))
    assert list(operator("batch", remote_jobs=over.as_json()).execute(context())) == [second]
    no_records: tuple[Any, ...] = (5, True, "x", [5, None], {"jobs": []})
    for damaged in no_records:
        task = operator("batch", remote_jobs=records[0] | {"earlier": damaged})
        assert list(task.execute(context())) == [first]
    # Through the filter tojson: true and null are not Python's.
    as_text = json.dumps(replace(over, jobs=(first,), has_released=True).as_json() | {"more": None})
    assert set(operator("batch", remote_jobs=as_text).execute(context())) == {first, second}
    own = str(replace(over, jobs=(first,)).as_json())
    assert set(operator("batch", remote_jobs=own).execute(context())) == {first, second}
    for value in (records[0], str(records[0]), records, str(records)):
        states = operator("batch", remote_jobs=value).execute(context())
        both = value in (records, str(records))
        assert set(states) == ({str(first), str(second)} if both else {str(first)})
