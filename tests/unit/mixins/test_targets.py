"""What people pass to operators: shapes that are accepted, templates, and mistakes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from airflow_cancel_provider.exceptions import IdentityError, InvalidInput
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.operators.mrs import MrsSubmitJobOperator
from airflow_cancel_provider.record import TryRecord
from tests.cloud.server import LocalCloud
from tests.dags.kinds import KINDS
from tests.mrs_fixtures import define
from tests.service_fixtures import BatchBench, Bench
from tests.task_fixtures import MRS_KEYS, bench, connect_aws, connections, context, operator, sensor, targets

__all__ = ["bench", "connections"]

EMR_IDS = {"cluster_id": "j-1AB", "step_ids": ["s-1AB"]}
BATCH_ID = "00000000-0000-0000-0000-000000000000"
BATCH_IDS = {"job_ids": [BATCH_ID]}
RUN_IDS = {"application_id": "00f1", "job_run_ids": ["00f2"]}
CONTAINER_IDS = {"virtual_cluster_id": "0f1", "job_run_ids": ["0f2"]}
MRS_IDS = {"cluster_id": "c-1", "job_execution_ids": ["e-1"]}
GLUE_IDS = {"job_name": "nightly/etl ü", "job_run_ids": ["jr_0123"]}
IDS: dict[str, dict[str, Any]] = {
    "emr": EMR_IDS,
    "batch": BATCH_IDS,
    "emr-serverless": RUN_IDS,
    "emr-containers": CONTAINER_IDS,
    "mrs": MRS_IDS,
    "glue": GLUE_IDS,
}
URIS = {
    "emr": "emr://aws_default@us-east-1/j-1AB/s-1AB",
    "batch": f"batch://aws_default@us-east-1/{BATCH_ID}",
    "emr-serverless": "emr-serverless://aws_default@us-east-1/00f1/00f2",
    "mrs": "mrs://mrs_default/c-1/e-1",
    "glue": "glue://@us-east-1/etl/jr_1",
    "emr-containers": "emr-containers://@us-east-1/0f1/0f2",
}
NOTHING: tuple[Any, ...] = (
    None,
    "",
    [],
    (),
    "None",
    "[]",
    " null ",
    "none" and "[None]",
    [None],
    ["None"],
    [""],
    [7],
    7,
    "()",
)
SERVICES = tuple(KINDS)


def sentence(service: str, cloud: LocalCloud, error: type[Exception] = InvalidInput, **options: Any) -> str:
    """The words with which a cancel operator and a sensor refuse input; nothing may have been sent."""
    with pytest.raises(error) as caught:
        operator(service, **options).execute(context())
    words = str(caught.value)
    assert "\n" not in words
    assert words.endswith(".")
    assert cloud.journal.count(service) == 0
    return words


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.usefixtures("connections")
def test_ids_that_name_no_job(cloud: LocalCloud, service: str) -> None:
    ids = KINDS[service].ids
    for nothing in NOTHING:
        words = sentence(service, cloud, **{**IDS[service], ids: nothing})
        assert ids in words
        assert "XCom" in words
        assert "remote_jobs" in sentence(service, cloud, remote_jobs=nothing or "None")


@pytest.mark.parametrize("service", [name for name in SERVICES if KINDS[name].scope])
@pytest.mark.usefixtures("connections")
def test_a_cluster_or_application_that_is_not_one_id(cloud: LocalCloud, service: str) -> None:
    name = str(KINDS[service].scope)
    # Nearly any text is the name of a Glue job.
    others = () if service == "glue" else ("j-1,j-2", "j 1", "['j-1', 'j-2']")
    for scope in (None, "", "None", ["j-1", "j-2"], "j\x01", *others):
        assert name in sentence(service, cloud, **{**IDS[service], name: scope})
        assert name in sentence(service, cloud, **{name: scope}, all_live=True)


MISTAKES: list[tuple[str, dict[str, Any], str]] = [
    ("emr", {**EMR_IDS, "step_ids": ["s-1AB", "step-2"]}, "'step-2' is not a step id"),
    ("batch", {"job_ids": "job-1"}, "'job-1' is not a job id"),
    ("emr-serverless", {**RUN_IDS, "job_run_ids": "A B"}, "'A B' is not a job run id"),
    ("glue", {**GLUE_IDS, "job_run_ids": "jr_A B"}, "'jr_A B' is not a job run id"),
    ("glue", {**GLUE_IDS, "job_name": "a\x01b"}, "is not a job_name"),
    ("emr-containers", {**CONTAINER_IDS, "job_run_ids": "A B"}, "'A B' is not a job run id"),
    (
        "emr-containers",
        {**CONTAINER_IDS, "virtual_cluster_id": "my-cluster"},
        "'my-cluster' is not a virtual_cluster_id",
    ),
    ("mrs", {**MRS_IDS, "job_execution_ids": "a/b"}, "'a/b' is not a job"),
    ("emr", {"remote_jobs": ["emr:/x"]}, "'emr:/x' is not the address of a remote job"),
    ("emr", {"remote_jobs": f"batch://aws_default@us-east-1/{BATCH_ID}"}, "this task is for emr"),
    ("emr", {"remote_jobs": "emr://aws_default@us-east-1/j-1/step"}, "'step' is not a step id"),
    ("emr", {"remote_jobs": "emr://aws_default@us-east-1/s-1"}, "None is not a cluster_id"),
    ("emr", {**EMR_IDS, "remote_jobs": ["emr://@us-east-1/j-1/s-1"]}, "not both"),
    ("emr", {**EMR_IDS, "all_live": True}, "not two of them"),
    ("emr", {"remote_jobs": "x", "all_live": True}, "not two of them"),
    ("emr", {**EMR_IDS, "name_prefix": "x"}, "name_prefix is for all_live=True"),
    ("batch", {"all_live": True, "name_prefix": ""}, "needs the queue's name or ARN"),
    ("batch", {"all_live": True, "job_queue": "queue"}, "needs name_prefix"),
    ("batch", {"all_live": True, "job_queue": "a queue", "name_prefix": ""}, "neither the name nor the ARN"),
    ("batch", {"all_live": True, "job_queue": "queue", "name_prefix": "-"}, "cannot begin the name"),
    ("emr", {**EMR_IDS, "cancellation_option": "KILL"}, "one of SEND_INTERRUPT, TERMINATE_PROCESS"),
    ("emr", {**EMR_IDS, "escalate_after": "soon"}, "escalate_after is 'soon'"),
    ("batch", {**BATCH_IDS, "waiter_delay": 0}, "waiter_delay is 0"),
    ("batch", {**BATCH_IDS, "waiter_delay": "None"}, "waiter_delay is 'None'"),
    ("batch", {**BATCH_IDS, "waiter_max_attempts": float("inf")}, "waiter_max_attempts is inf"),
    ("batch", {**BATCH_IDS, "waiter_max_attempts": True}, "waiter_max_attempts is True"),
    *(
        ("emr-serverless", {**RUN_IDS, "shutdown_grace_period": grace}, "must be 0 or 15 to 1800 seconds")
        for grace in (1, 14, 1801, -1, "x", 15.5, True, "\u00b2")
    ),
    ("batch", {**BATCH_IDS, "aws_conn_id": "no_such"}, "'no_such' is not defined"),
    ("batch", {**BATCH_IDS, "aws_conn_id": "ftp_conn"}, "has type 'ftp'"),
    ("batch", {**BATCH_IDS, "aws_conn_id": "no_scheme"}, "Invalid endpoint: 127.0.0.1:1"),
    ("batch", {**BATCH_IDS, "region_name": "us east"}, "'us east'"),
    ("batch", {**BATCH_IDS, "botocore_config": {"nonsense": 1}}, "'nonsense'"),
    ("batch", {"remote_jobs": f"batch://no_such@us-east-1/{BATCH_ID}"}, "'no_such' is not defined"),
    ("mrs", {**MRS_IDS, "mrs_conn_id": "no_such"}, "'no_such' is not defined"),
    ("mrs", {**MRS_IDS, "mrs_conn_id": "ftp_conn"}, "has type 'ftp'"),
    ("mrs", {**MRS_IDS, "mrs_conn_id": "no_project"}, "is missing; set it, or Project name"),
    ("mrs", {**MRS_IDS, "mrs_conn_id": "no_region"}, "is missing; set MRS endpoint"),
    ("mrs", {**MRS_IDS, "mrs_conn_id": "mrs_no_scheme"}, "scheme"),
]


@pytest.mark.parametrize("service, options, words", MISTAKES, ids=lambda value: str(value)[:60])
@pytest.mark.usefixtures("connections")
def test_mistakes(
    cloud: LocalCloud,
    monkeypatch: pytest.MonkeyPatch,
    service: str,
    options: dict[str, Any],
    words: str,
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_FTP_CONN", "ftp://host")
    connect_aws(monkeypatch, cloud, "no_scheme", endpoint_url="127.0.0.1:1")
    define(monkeypatch, cloud, "no_project", **{**MRS_KEYS, "project_id": None})
    define(monkeypatch, cloud, "no_region", **{**MRS_KEYS, "region": None, "endpoint": None})
    define(monkeypatch, cloud, "mrs_no_scheme", **{**MRS_KEYS, "endpoint": "mrs.example.com"})
    assert words in sentence(service, cloud, **options)


def test_no_region(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    connect_aws(monkeypatch, cloud, region_name=None)
    assert "set region_name, or the region of connection 'aws_default'" in sentence(
        "batch", cloud, **BATCH_IDS
    )


@pytest.mark.parametrize("states", ["DONE", [], ["SUCCEEDED", "DONE"], "None"], ids=repr)
@pytest.mark.usefixtures("connections")
def test_target_states_that_are_none(cloud: LocalCloud, states: Any) -> None:
    """In a literal the Dag's parsing fails, in a template the task."""
    with pytest.raises(InvalidInput, match="states are PENDING, RUNNING") as caught:
        sensor("batch", **BATCH_IDS, target_states=states)
    assert "\n" not in str(caught.value)
    task = sensor("batch", **BATCH_IDS, target_states="{{ states }}")
    task.render_template_fields({**context(), "states": states})
    with pytest.raises(InvalidInput, match="states are PENDING, RUNNING"):
        task.poke(context())
    assert cloud.journal.count() == 0


SUBMIT = {"task_id": "submit", "cluster_id": "c", "job_type": "Flink", "job_name": "mine"}
OTHER = {name: next(uri for other, uri in URIS.items() if other != name) for name in SERVICES}


class TestWhenTheDagIsParsed:
    """A literal that can't be right fails in the constructor; templates and XComArgs are left to the task."""

    @pytest.mark.parametrize("make", [operator, sensor])
    @pytest.mark.parametrize("service", SERVICES)
    def test_literals_that_name_no_job(self, service: str, make: Any) -> None:
        ids = KINDS[service].ids
        both = {**IDS[service], "remote_jobs": URIS[service]}
        wrong: list[tuple[dict[str, Any], str]] = [
            ({"remote_jobs": "job-1"}, "is not the address of a remote job"),
            ({"remote_jobs": [URIS[service], "job-1"]}, "is not the address of a remote job"),
            ({"remote_jobs": OTHER[service]}, f"this task is for {service}"),
            ({"remote_jobs": []}, "names no job"),
            (both, "not both"),
            ({**IDS[service], ids: []}, f"{ids} is .*names no job"),
            ({**IDS[service], ids: [7]}, f"{ids} holds 7"),
        ]
        if scope := KINDS[service].scope:
            wrong.append(({**IDS[service], scope: ["j-1", "j-2"]}, f"{scope} is .* must be one id"))
        for options, words in wrong:
            with pytest.raises(InvalidInput, match=words):
                make(service, **options)

    @pytest.mark.parametrize("service", SERVICES)
    def test_literals_of_a_cancel_operator(self, service: str) -> None:
        place: dict[Any, Any] = (
            {KINDS[service].scope: "c-1"} if KINDS[service].scope else {"job_queue": "queue"}
        )
        wrong: list[tuple[dict[str, Any], str]] = [
            ({**IDS[service], "all_live": True}, "not two of them"),
            ({**IDS[service], "name_prefix": "nightly"}, "name_prefix is for all_live=True"),
            ({**place, "all_live": True, "name_prefix": " "}, "name_prefix is ' '"),
            ({"all_live": True}, "needs the queue" if service == "batch" else "must be one id"),
            ({**IDS[service], "waiter_delay": -1}, "waiter_delay is -1; it must be a number above 0"),
            ({**IDS[service], "waiter_max_attempts": 0.5}, "0.5; it must be a whole number above 0"),
        ]
        for options, words in wrong:
            with pytest.raises(InvalidInput, match=words):
                operator(service, **options)

    @pytest.mark.parametrize(
        "options, words",
        [
            ({"job_type": "Spark"}, "job_type is 'Spark'; it must be one of MapReduce, "),
            ({"job_name": "a job"}, "job_name 'a job' is not a name of MRS"),
            ({"job_name": "n" * 65}, "is not a name of MRS"),
            ({"arguments": "s3a://jar"}, "arguments is one text"),
            ({"waiter_delay": 0}, "waiter_delay is 0"),
            ({"waiter_delay": "soon"}, "waiter_delay is 'soon'"),
            ({"waiter_max_attempts": 1.5}, "whole number"),
            ({"waiter_max_attempts": False}, "waiter_max_attempts is False"),
        ],
        ids=str,
    )
    def test_literals_of_an_mrs_submission(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(InvalidInput, match=words):
            MrsSubmitJobOperator(**{**SUBMIT, **options})

    @pytest.mark.parametrize("service", SERVICES)
    def test_templates_and_other_tasks_results_are_left_to_the_task(self, service: str) -> None:
        kind = KINDS[service]
        with DAG("nightly", schedule=None):
            pushed = EmptyOperator(task_id="push").output
            for value in ("{{ x }}", "{% if x %}{% endif %}", "{# x #}", pushed, [pushed], ["{{ x }}"]):
                named = {kind.ids: value, "remote_jobs": value}
                operator(service, task_id=f"a{id(value)}", **named, name_prefix=value, waiter_delay=value)
                sensor(service, task_id=f"b{id(value)}", **named, target_states=value)
                MrsSubmitJobOperator(
                    **{**dict.fromkeys(SUBMIT, value), "task_id": f"c{id(value)}"},
                    arguments=value,
                    waiter_delay=value,
                    waiter_max_attempts=value,
                )

    @pytest.mark.parametrize("service", SERVICES)
    def test_templates_in_the_dags_own_delimiters_are_left_to_the_task(self, service: str) -> None:
        own = {"variable_start_string": "<<", "variable_end_string": ">>"}
        with DAG("nightly", schedule=None, jinja_environment_kwargs=own):
            value = "<< params.x >>"
            operator(
                service, task_id="stop", remote_jobs=value, waiter_delay=value, waiter_max_attempts=value
            )
            sensor(service, task_id="see", remote_jobs=[value], target_states=value)
            kind = KINDS[service].cancel
            options = {"escalate_after", "cancellation_option", "shutdown_grace_period"}
            given = dict.fromkeys(options & set(kind.template_fields), value)
            kind(task_id="options", remote_jobs=URIS[service], **given)
            submit = {**dict.fromkeys(SUBMIT, value), "task_id": "submit", "waiter_delay": value}
            MrsSubmitJobOperator(**submit, arguments=value)
        usual = DAG("other", schedule=None, jinja_environment_kwargs={"trim_blocks": True})
        with pytest.raises(InvalidInput, match="is not the address"):
            operator(service, dag=usual, remote_jobs="<< params.x >>")

    @pytest.mark.parametrize("service", SERVICES)
    def test_a_mapped_task_is_checked_when_it_is_unmapped(self, service: str) -> None:
        kind = KINDS[service]
        scope = {kind.scope: IDS[service][kind.scope]} if kind.scope else {}
        with DAG("nightly", schedule=None):
            stop = kind.cancel.partial(task_id="stop", **scope).expand(**{kind.ids: ["x", "y"]})
            see = kind.sensor.partial(task_id="see").expand(remote_jobs=[URIS[service]])
        assert getattr(stop.unmap({kind.ids: "x"}), kind.ids) == "x"
        assert see.unmap({"remote_jobs": URIS[service]}).remote_jobs == URIS[service]
        with pytest.raises(InvalidInput, match="names no job"):
            stop.unmap({kind.ids: []})


def test_wrong_credentials_are_named_and_reach_no_job(bench: Bench) -> None:
    jobs = bench.submit("running", 2)
    bench.cloud.bad_access_keys.add("DEFAULTKEY")
    bench.cloud.mrs.keystone.keys.clear()
    with pytest.raises(IdentityError, match=r"redentials|access key"):
        operator(bench.name, **targets(jobs)).execute(context())
    assert not any(job["cancel_requested_at"] for job in bench.truth().values())


def shapes(jobs: list[RemoteJob]) -> list[Any]:
    """Ways to say which jobs, all of which people use."""
    ids = [job.id for job in jobs]
    return [
        ids,
        tuple(ids),
        iter(ids),
        str(ids),
        str(tuple(ids)),
        f'["{ids[0]}", "{ids[1]}"]',
        [ids[0], *ids],
    ]


@pytest.mark.usefixtures("connections")
def test_lists_of_any_kind_are_accepted(cloud: LocalCloud) -> None:
    bench = BatchBench(cloud)
    jobs = bench.submit("running", 2)
    bench.close()
    for shape in shapes(jobs):
        task = operator("batch", job_ids=shape, wait_for_completion=False)
        assert list(task.execute(context())) == jobs


def test_a_bare_text_is_one_id(bench: Bench) -> None:
    (job,) = bench.submit("running")
    named = {**targets([job]), KINDS[bench.name].ids: f" {job.id}\n"}
    assert operator(bench.name, **named).execute(context()) == {str(job): "CANCELLED"}
    # What a cancel operator returns names the jobs, too, also once a template made a text of it.
    for states in ({str(job): "CANCELLED"}, str({str(job): "CANCELLED"}), str(job)):
        assert sensor(bench.name, remote_jobs=states).execute(context()) == {str(job): "CANCELLED"}


@pytest.mark.parametrize("native", [False, True])
def test_template_fields_render(bench: Bench, native: bool) -> None:
    jobs = bench.submit("endless", 2)
    kind = KINDS[bench.name]
    with DAG("nightly", schedule=None, render_template_as_native_obj=native):
        named = {kind.ids: "{{ pushed }}", **({kind.scope: "{{ scope }}"} if kind.scope else {})}
        options = {"reason": "{{ why }}", "waiter_delay": "{{ delay }}", "waiter_max_attempts": "{{ 2 }}"}
        task = operator(bench.name, **named, **options, wait_for_completion=False)
    values = {"pushed": [job.id for job in jobs], "scope": jobs[0].scope, "why": "late", "delay": 0.1}
    task.render_template_fields({**context(), **values})
    assert set(task.execute(context())) == set(jobs)
    assert (task.reason, task.waiter_delay, task.waiter_max_attempts) == ("late", 0.1, 2)


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
    for value in (records[0], str(records[0]), records, str(records)):
        states = operator("batch", remote_jobs=value).execute(context())
        both = value in (records, str(records))
        assert set(states) == ({str(first), str(second)} if both else {str(first)})
