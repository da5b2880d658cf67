"""``CancelRemoteJobs``: for its own try, or for a run, with Airflow's answers in place of Airflow."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from airflow.providers.amazon.aws.operators.glue import GlueJobOperator
from airflow.sdk import DAG
from packaging.version import Version

from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.notifications import cancel
from airflow_cancel_provider.notifications.cancel import CancelRemoteJobs
from airflow_cancel_provider.owner import Label, Owner, TaskKey, deployment_of, release_key
from airflow_cancel_provider.record import StoredIntent, TryRecord, TryState
from tests.airflow_fakes import FakeAirflow, airflow
from tests.airflow_versions import AIRFLOW
from tests.cloud.server import LocalCloud
from tests.guard_fixtures import until
from tests.service_fixtures import BatchBench
from tests.task_fixtures import TaskInstance, connections

__all__ = ["airflow", "connections"]

DEPLOYMENT = "production"
RUN = {"dag_run": {"dag_id": "nightly", "run_id": "manual__2026"}}
DEADLINE = {"dag_run": {"dag_id": "nightly", "dag_run_id": "manual__2026"}, "deadline": {"id": "1"}}
RENDERS_NOTHING = pytest.mark.skipif(
    Version("3.3") > AIRFLOW, reason="Airflow leaves a notifier's template as it is where nothing comes of it"
)


@pytest.fixture
def bench(cloud: LocalCloud, connections: None, monkeypatch: pytest.MonkeyPatch) -> BatchBench:  # noqa: ARG001
    monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT", DEPLOYMENT)
    monkeypatch.setattr(cancel, "PATIENCE", 1.0)
    return BatchBench(cloud)


def task(name: str = "copy", map_index: int = -1) -> TaskInstance:
    return TaskInstance(task_id=name, map_index=map_index)


def labelled(bench: BatchBench, ti: TaskInstance, deployment: str = DEPLOYMENT) -> RemoteJob:
    """A job that a try has started."""
    label = Label(deployment_of(deployment), ti.id, task=TaskKey.of(ti).digest)
    (job,) = bench.submit("job", parameters={"airflow_owner": str(label)})
    return job


def started(bench: BatchBench, airflow: FakeAirflow, ti: TaskInstance, state: str | None) -> RemoteJob:
    """A task that stands so, and the job that is on its record."""
    job = labelled(bench, ti)
    airflow.put(ti, state, TryRecord(ti.id, jobs=(job,)))
    return job


def asked(bench: BatchBench) -> set[str]:
    return {job_id for job_id, job in bench.truth().items() if job["cancel_requested_at"]}


def ids(*jobs: RemoteJob) -> set[str]:
    return {job.id for job in jobs}


class TestTask:
    """About one try of one task."""

    @pytest.mark.parametrize("map_index", [-1, 0, 2])
    @pytest.mark.parametrize("state", ["failed", "running", "up_for_retry", None])
    def test_its_own_jobs_end_whatever_the_state(
        self, bench: BatchBench, airflow: FakeAirflow, map_index: int, state: str | None
    ) -> None:
        """The first time it is called for a lost worker the task still counts as running."""
        own = started(bench, airflow, ti := task(map_index=map_index), state)
        for neighbour in (map_index + 1, map_index + 2):
            started(bench, airflow, task(map_index=neighbour), "failed")
        CancelRemoteJobs().notify({"ti": ti, **RUN})
        assert asked(bench) == ids(own)

    @pytest.mark.parametrize(
        "reason, shown",
        [
            ("{{ 20260101 }}", "20260101"),
            pytest.param(
                "{{ none }}",
                "Cancelled by Airflow: a callback of nightly / manual__2026",
                marks=RENDERS_NOTHING,
            ),
            (7, "7"),
            (None, "Cancelled by Airflow: a callback of nightly / manual__2026"),
        ],
    )
    def test_a_template_may_make_a_number_of_its_reason(
        self, bench: BatchBench, airflow: FakeAirflow, reason: Any, shown: str
    ) -> None:
        own = started(bench, airflow, ti := task(), "failed")
        dag = DAG("nightly", schedule=None, render_template_as_native_obj=True)
        CancelRemoteJobs(reason=reason)({"ti": ti, "dag": dag, **RUN})
        assert asked(bench) == ids(own)
        until(lambda: bench.truth()[own.id]["reason"] == shown)

    @pytest.mark.parametrize("map_index", [-1, 2])
    @pytest.mark.parametrize("how", ["label", "durable", "resume", "keep"])
    def test_what_the_next_try_goes_on_with_lives_while_there_may_be_one(
        self,
        bench: BatchBench,
        airflow: FakeAirflow,
        monkeypatch: pytest.MonkeyPatch,
        how: str,
        map_index: int,
    ) -> None:
        """As on_retry_callback; the first time it is called for a lost worker the task counts as running."""
        ti: Any = task(map_index=map_index)
        ti.max_tries = 1
        owner = Owner.from_context({"ti": ti}, deployment_of(DEPLOYMENT))
        label = replace(owner.label, reconnects=how == "label")
        (job,) = bench.submit("job", parameters={"airflow_owner": str(label)} if how == "label" else {})
        if how == "keep":
            monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__ON_RETRY", "keep")
        ti.task = SimpleNamespace(durable=how == "durable", submit_job=None)
        if how == "resume":
            ti.task = SimpleNamespace(resume_glue_job_on_retry=True, TASK_UUID_ARG="--airflow_task_uuid")
        for state in ("running", "up_for_retry", None):
            airflow.put(ti, state, TryRecord(ti.id, jobs=(job,)))
            CancelRemoteJobs().notify({"ti": ti, **RUN})
            assert asked(bench) == set()
        airflow.put(ti, "failed", TryRecord(ti.id, jobs=(job,)))
        CancelRemoteJobs().notify({"ti": ti, **RUN})
        assert asked(bench) == ids(job)

    @pytest.mark.parametrize(
        "given, goes_on", [({}, True), ({"durable": True}, True), ({"durable": False}, False)], ids=str
    )
    def test_a_mapped_task_is_not_expanded_in_a_dag_processor(
        self, bench: BatchBench, airflow: FakeAirflow, given: dict[str, bool], goes_on: bool
    ) -> None:
        """There only its class and its parameters are known: ``GlueJobOperator`` is durable by default."""
        pytest.importorskip("airflow.sdk.bases.resumablejobmixin")
        ti: Any = task(map_index=1)
        ti.max_tries = 1
        with DAG("nightly", schedule=None):
            ti.task = GlueJobOperator.partial(task_id="copy", **given).expand(job_name=["etl", "load"])
        (job,) = bench.submit("job")
        airflow.put(ti, "up_for_retry", TryRecord(ti.id, jobs=(job,)))
        CancelRemoteJobs().notify({"ti": ti, **RUN})
        assert asked(bench) == (set() if goes_on else ids(job))

    @pytest.mark.parametrize("reconnects", [False, True])
    def test_after_the_last_try_nothing_lives(
        self, bench: BatchBench, airflow: FakeAirflow, reconnects: bool
    ) -> None:
        ti: Any = task()
        ti.max_tries = 0
        ti.task = SimpleNamespace(durable=reconnects, submit_job=None)
        label = Label(deployment_of(DEPLOYMENT), ti.id, reconnects)
        (job,) = bench.submit("job", parameters={"airflow_owner": str(label)})
        airflow.put(ti, "running", TryRecord(ti.id, jobs=(job,)))
        CancelRemoteJobs().notify({"ti": ti, **RUN})
        assert asked(bench) == ids(job)

    def test_called_twice_it_asks_once(self, bench: BatchBench, airflow: FakeAirflow) -> None:
        bench.local.configure({"cancel": 100})
        own = started(bench, airflow, ti := task(), "failed")
        CancelRemoteJobs().notify({"ti": ti, **RUN})
        sent = bench.cancels_sent
        CancelRemoteJobs().notify({"ti": ti, **RUN})
        assert asked(bench) == ids(own)
        assert bench.cancels_sent == sent > 0

    def test_late_it_leaves_the_next_try_alone(self, bench: BatchBench, airflow: FakeAirflow) -> None:
        first = task()
        (unlabelled,) = bench.submit("job")
        airflow.put(task(), "running", TryRecord(uuid4(), jobs=(unlabelled,)))
        CancelRemoteJobs().notify({"ti": first, **RUN})
        assert asked(bench) == set()
        assert airflow.asked["xcom"] == 1
        airflow.put(first, "running", TryRecord(first.id, jobs=(unlabelled,)))
        CancelRemoteJobs().notify({"ti": first, **RUN})
        assert asked(bench) == ids(unlabelled)

    def test_what_a_try_that_has_done_its_work_leaves_lives(
        self, bench: BatchBench, airflow: FakeAirflow
    ) -> None:
        own = started(bench, airflow, ti := task(), "success")
        record = TryRecord(ti.id, jobs=(own,))
        airflow.put(ti, "success", replace(record, state=TryState.RETURNED))
        CancelRemoteJobs().notify({"ti": ti, **RUN})
        assert asked(bench) == set()
        airflow.put(ti, "failed", record)
        CancelRemoteJobs().notify({"ti": ti, **RUN})
        assert asked(bench) == ids(own)

    def test_a_record_that_names_others_jobs_ends_its_own_alone(
        self, bench: BatchBench, airflow: FakeAirflow, capsys: pytest.CaptureFixture[str]
    ) -> None:
        own = started(bench, airflow, ti := task(), "failed")
        another_try = labelled(bench, task("other"))
        another_airflow = labelled(bench, ti, "staging")
        airflow.put(ti, "failed", TryRecord(ti.id, jobs=(another_try, own, another_airflow)))
        CancelRemoteJobs().notify({"ti": ti, **RUN})
        assert asked(bench) == ids(own)
        said = capsys.readouterr().out
        assert f"{another_try} is left alone: its label names another try" in said
        assert f"{another_airflow} is left alone: its label names another Air" in said

    def test_a_job_without_an_answer_is_found_by_its_label(
        self, bench: BatchBench, airflow: FakeAirflow
    ) -> None:
        lost = labelled(bench, ti := task())
        label = Label(deployment_of(DEPLOYMENT), ti.id)
        intent = StoredIntent("batch", "aws_default", "us-east-1", "queue", label)
        airflow.put(ti, "failed", TryRecord(ti.id, intents=(intent,)))
        CancelRemoteJobs().notify({"ti": ti, **RUN})
        assert asked(bench) == ids(lost)

    @pytest.mark.parametrize(
        "broken", ["batch://a@b/c", ["batch://aws_default@us-east-1/1"], {"jobs": []}, 7, {"ti_id": "x"}]
    )
    def test_what_is_no_record_is_passed_over_with_a_warning(
        self, bench: BatchBench, airflow: FakeAirflow, broken: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        airflow.put(ti := task(), "failed", broken)
        CancelRemoteJobs().notify({"ti": ti, **RUN})
        assert "XCom remote_jobs of nightly / manual__2026 / copy is ignored" in capsys.readouterr().out
        assert bench.count() == 0


AT_WORK = ["running", "deferred", "queued", "scheduled", "restarting", "up_for_retry", None]
AT_WORK += ["up_for_reschedule", "awaiting_input", "success"]


KINDS = ("skipped at the end", "deadline", "with its last task")


@pytest.mark.parametrize("context", [RUN, DEADLINE, {**RUN, "ti": TaskInstance(task_id="last")}], ids=KINDS)
class TestRun:
    """About a whole run: a Dag's callback, or a deadline."""

    def test_it_takes_tasks_that_are_over_and_leaves_those_at_work(
        self, bench: BatchBench, airflow: FakeAirflow, context: Any
    ) -> None:
        over = [
            started(bench, airflow, task("over"), "failed"),
            started(bench, airflow, task("many", 3), "skipped"),
            started(bench, airflow, task("many", 0), "failed"),
        ]
        for number, state in enumerate(AT_WORK):
            started(bench, airflow, task(f"at_work_{number}"), state)
            started(bench, airflow, task("many", 10 + number), state)
        started(bench, airflow, replace(task("over"), run_id="another"), "failed")
        CancelRemoteJobs(whole_run=True).notify(context)
        assert asked(bench) == ids(*over)

    def test_the_job_of_a_task_at_work_that_anothers_record_names_is_left_alone(
        self, bench: BatchBench, airflow: FakeAirflow, context: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Anybody may write an XCom: here with the id of the try that has started the job."""
        over = started(bench, airflow, task("over"), "failed")
        theirs = started(bench, airflow, at_work := task("at_work"), "running")
        airflow.put(task("forged"), "failed", TryRecord(at_work.id, jobs=(theirs,)))
        CancelRemoteJobs(whole_run=True).notify(context)
        assert asked(bench) == ids(over)
        assert f"{theirs} is left alone: its label names another task" in capsys.readouterr().out

    def test_it_says_that_it_leaves_alone_what_tasks_at_work_have_started(
        self, bench: BatchBench, airflow: FakeAirflow, context: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        started(bench, airflow, task("at_work"), "deferred")
        CancelRemoteJobs(whole_run=True).notify(context)
        assert asked(bench) == set()
        said = capsys.readouterr().out
        assert "No task of nightly / manual__2026 that is over without success has remote jobs" in said

    def test_mapped_tasks_are_not_taken_for_others_of_such_a_name(
        self, bench: BatchBench, airflow: FakeAirflow, context: Any
    ) -> None:
        over = started(bench, airflow, task("many", 1), "failed")
        started(bench, airflow, task("many", 0), "failed")
        started(bench, airflow, task("many_0"), "running")
        # Airflow tells the state of one of the two.
        airflow.states.pop(key := ("nightly", "manual__2026", "many", 0))
        airflow.states = {key: "failed", **airflow.states}
        another = started(bench, airflow, task("few", 0), "running")
        over_too = started(bench, airflow, task("few_0"), "failed")
        CancelRemoteJobs(whole_run=True).notify(context)
        assert asked(bench) >= ids(over, over_too)
        assert not asked(bench) & ids(another)

    def test_one_that_began_again_meanwhile_is_left_alone(
        self, bench: BatchBench, airflow: FakeAirflow, context: Any
    ) -> None:
        over = started(bench, airflow, task("over"), "failed")
        cleared = started(bench, airflow, ti := task("cleared"), "failed")

        def clear(number: int) -> None:
            if number == 2:
                airflow.put(ti, "running", TryRecord(ti.id, jobs=(cleared,)))

        airflow.before_states = clear
        CancelRemoteJobs(whole_run=True).notify(context)
        assert asked(bench) == ids(over)

    def test_what_cant_be_read_keeps_no_other_job_alive(
        self,
        bench: BatchBench,
        airflow: FakeAirflow,
        context: Any,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        over = started(bench, airflow, task("over"), "failed")
        airflow.put(task("forged"), "failed", ["rm -rf", None])
        airflow.put(task("lost"), "failed", ConnectionError("the backend of XCom is away"))
        gone = RemoteJob.of("batch", over.id, conn_id="no_such", region="us-east-1")
        airflow.put(ti := task("far"), "failed", TryRecord(ti.id, jobs=(gone,)))
        CancelRemoteJobs(whole_run=True).notify(context)
        assert asked(bench) == ids(over)
        said = capsys.readouterr().out
        assert "/ forged is ignored" in said
        assert "/ lost could not be read: ConnectionError('the backend of XCom is away')" in said
        assert f"{gone} was not cancelled and may still be running" in said

    def test_it_can_be_awaited(self, bench: BatchBench, airflow: FakeAirflow, context: Any) -> None:
        over = started(bench, airflow, task("over"), "failed")
        asyncio.run(CancelRemoteJobs(whole_run=True).async_notify(context))
        assert asked(bench) == ids(over)


def test_what_is_not_known_over_its_connection_is_not_settled(
    bench: BatchBench, airflow: FakeAirflow, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown = bench.unknown()
    airflow.put(ti := task(), "failed", TryRecord(ti.id, jobs=(unknown,)))
    CancelRemoteJobs().notify({"ti": ti, "dag_run": SimpleNamespace(dag_id="nightly", run_id="manual__2026")})
    said = capsys.readouterr().out
    assert (
        f"{unknown}: the service does not know this job over connection 'aws_default' in region us-east-1"
        in said
    )
    assert f"{unknown} was not cancelled and may still be running" in said
    assert bench.count("DescribeJobs") > 1


class TestReleased:
    """What the try has released carries its label, too, and may still be on record."""

    @pytest.mark.parametrize("is_on_record", [True, False])
    @pytest.mark.parametrize("whole_run", [True, False])
    def test_it_lives_though_the_try_is_searched_by_its_label(
        self, bench: BatchBench, airflow: FakeAirflow, whole_run: bool, is_on_record: bool
    ) -> None:
        ti = task()
        let_go, other = labelled(bench, ti), labelled(bench, ti)
        label = Label(deployment_of(DEPLOYMENT), ti.id)
        lost = StoredIntent("batch", let_go.conn_id, let_go.region, "queue", label, 1.0)
        jobs = (let_go,) if is_on_record else ()
        airflow.put(ti, "failed", TryRecord(ti.id, jobs=jobs, intents=(lost,)))
        airflow.variables[release_key(ti.id)] = {"all": False, "jobs": [str(let_go)]}
        CancelRemoteJobs(whole_run=whole_run).notify({"ti": ti, **RUN})
        assert asked(bench) == ids(other)

    @pytest.mark.parametrize("release", [{"all": True, "jobs": []}, "what no guard writes"])
    def test_all_live_where_all_may_be_meant(
        self, bench: BatchBench, airflow: FakeAirflow, release: Any
    ) -> None:
        kept = started(bench, airflow, ti := task(), "failed")
        other = started(bench, airflow, task("other"), "failed")
        airflow.variables[release_key(ti.id)] = release
        CancelRemoteJobs(whole_run=True).notify({"ti": ti, **RUN})
        assert asked(bench) == ids(other), kept
