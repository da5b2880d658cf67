"""What people pass to operators: shapes that are accepted, templates, and mistakes."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from airflow_cancel_provider.exceptions import IdentityError, InvalidInput
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.operators.mrs import MrsSubmitJobOperator
from tests.cloud.server import LocalCloud
from tests.dags.kinds import KINDS
from tests.mrs_fixtures import define
from tests.service_fixtures import BatchBench, Bench
from tests.target_fixtures import (
    BATCH_ID,
    BATCH_IDS,
    CONTAINER_IDS,
    EMR_IDS,
    GLUE_IDS,
    IDS,
    MRS_IDS,
    RUN_IDS,
    SERVICES,
)
from tests.task_fixtures import (
    MRS_KEYS,
    bench,
    connect_aws,
    connections,
    context,
    operator,
    sensor,
    shown_at_once,
    targets,
)

__all__ = ["bench", "connections", "shown_at_once"]


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
    [[]],
    [["x"], [None]],
    [{}],
)


def sentence(service: str, cloud: LocalCloud, error: type[Exception] = InvalidInput, **options: Any) -> str:
    """The words with which a cancel operator and a sensor refuse input; nothing may have been sent."""
    with pytest.raises(error) as caught:
        operator(service, **options).execute(context())
    words = str(caught.value)
    assert "\n" not in words
    assert words.endswith(".")
    assert cloud.journal.count(service) == 0
    return words


@pytest.mark.parametrize("given", [" {}\n", ["{} ", "\t{}"], "[' {}']"])
def test_white_space_around_ids(bench: Bench, given: Any) -> None:
    """XComs of a shell's output end in a line break."""
    named = targets(bench.ended())
    kind = KINDS[bench.name]
    (job_id,) = named[kind.ids]
    padded = [each.format(job_id) for each in given] if isinstance(given, list) else given.format(job_id)
    if kind.scope:
        named[kind.scope] = f" {named[kind.scope]}\n" if bench.name != "glue" else named[kind.scope]
    task = operator(bench.name, **{**named, kind.ids: padded})
    assert list(task.execute(context()).values()) == ["SUCCEEDED"]
    (job,) = task.jobs
    task = sensor(bench.name, remote_jobs=f" {job}\n" if isinstance(given, str) else [f"{job} "])
    assert task.execute(context()) == {str(job): "SUCCEEDED"}


@pytest.mark.parametrize(
    "given", ["arn:aws:batch:us-east-1:123456789012:job/{}", "https://console.aws.amazon.com/{}", "x://{}"]
)
@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.usefixtures("connections")
def test_what_only_holds_an_id(cloud: LocalCloud, service: str, given: str) -> None:
    ids = KINDS[service].ids
    (job_id,) = IDS[service][ids]
    words = sentence(service, cloud, **{**IDS[service], ids: given.format(job_id)})
    assert words.endswith("Give the id alone.")


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
    ("emr", {"remote_jobs": "emr://aws_default@us-east-1/s-1"}, "is not whole: an address of emr ends with"),
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
    ("batch", {**BATCH_IDS, "reason": 5}, "reason is 5; it must be text"),
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


@pytest.mark.parametrize(
    "states", ["DONE", [], ["SUCCEEDED", "DONE"], "None", 5, "[]", "['DONE']", [["SUCCEEDED"]]], ids=repr
)
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


@pytest.mark.parametrize("value", [5, [], ["eu-de"], {}], ids=repr)
@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.usefixtures("connections")
def test_a_connection_or_region_that_is_no_text(cloud: LocalCloud, service: str, value: Any) -> None:
    """A template that renders to a native value may make anything of them."""
    for param in ("mrs_conn_id" if service == "mrs" else "aws_conn_id", "region_name"):
        words = sentence(service, cloud, **IDS[service], **{param: value})
        assert words == f"{param} is {value!r}; it must be text."
        with pytest.raises(InvalidInput, match="it must be text"):
            sensor(service, **IDS[service], **{param: value}).poke(context())


def test_white_space_around_a_connection_and_a_region(bench: Bench) -> None:
    family = "mrs" if bench.name == "mrs" else "aws"
    param = f"{family}_conn_id"
    options = {param: f" {family}_default\n", "region_name": "us-east-1\n"}
    task = operator(bench.name, **targets(bench.ended()), **options)
    assert list(task.execute(context()).values()) == ["SUCCEEDED"]
    assert (task.jobs[0].conn_id, task.jobs[0].region) == (options[param].strip(), "us-east-1")


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.usefixtures("connections")
def test_a_ca_bundle_that_is_not_there(cloud: LocalCloud, service: str) -> None:
    words = sentence(service, cloud, **IDS[service], verify="/no/such.pem")
    assert "verify '/no/such.pem' is neither true nor false nor the path of a CA bundle" in words


@pytest.mark.parametrize("value", ["None", " ", "null"])
@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.usefixtures("connections")
def test_a_region_that_rendered_to_nothing(cloud: LocalCloud, service: str, value: str) -> None:
    """botocore makes the name of a host of it, which nobody answers."""
    words = sentence(service, cloud, **IDS[service], region_name=value)
    assert words == f"region_name is {value!r}, which is no region; leave it out for the connection's."


@pytest.mark.parametrize("conn_id", [None, "", 5], ids=repr)
@pytest.mark.usefixtures("connections")
def test_a_submission_over_no_connection(cloud: LocalCloud, conn_id: Any) -> None:
    task = MrsSubmitJobOperator(
        task_id="submit", cluster_id="c-1", job_type="Flink", job_name="mine", mrs_conn_id=conn_id
    )
    with pytest.raises(InvalidInput, match=r"mrs_conn_id is 5; it must be text|over a connection only"):
        task.execute(context())
    assert cloud.journal.count() == 0


@pytest.mark.usefixtures("connections")
def test_no_target_states(cloud: LocalCloud) -> None:
    """What the Dag's author leaves out has a default; what a template or an XCom leaves out has none."""
    with pytest.raises(InvalidInput, match="target_states is None; states are PENDING, RUNNING"):
        sensor("batch", **BATCH_IDS, target_states=None).poke(context())
    assert cloud.journal.count() == 0


@pytest.mark.parametrize(
    "states", [["SUCCEEDED", "GONE"], ("SUCCEEDED", "GONE"), "['SUCCEEDED', 'GONE']", '["SUCCEEDED", "GONE"]']
)
@pytest.mark.usefixtures("connections", "shown_at_once")
def test_target_states_that_a_template_made_text_of(states: Any) -> None:
    task = sensor("batch", **BATCH_IDS, target_states="{{ states }}")
    task.render_template_fields({**context(), "states": states})
    assert task.execute(context()) == {f"batch://aws_default@us-east-1/{BATCH_ID}": "GONE"}


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
        # What the instances of a mapped task return.
        [ids[:1], ids[1:], []],
        [tuple(ids)],
        f"[['{ids[0]}'], ['{ids[1]}']]",
        [dict.fromkeys(ids[:1], "RUNNING"), dict.fromkeys(ids[1:], "RUNNING")],
        # The same beside the result of another task, in a list.
        [ids[0], deque(ids[1:])],
        [ids[:1], deque([ids[1:], []])],
        [{ids[0]}, {ids[1]: "RUNNING"}.keys()],
    ]


@pytest.mark.usefixtures("connections")
def test_lists_of_any_kind_are_accepted(cloud: LocalCloud) -> None:
    bench = BatchBench(cloud)
    jobs = bench.submit("running", 2)
    bench.close()
    for shape in shapes(jobs):
        task = operator("batch", job_ids=shape, wait_for_completion=False)
        assert list(task.execute(context())) == jobs


@pytest.mark.usefixtures("shown_at_once")
@pytest.mark.parametrize("which", ["cancel", "sensor"])
@pytest.mark.parametrize("form", [lambda one: one, lambda one: [one], str, lambda one: [[one], "x"]])
def test_a_dict_with_an_id_somewhere_in_it_names_no_job(
    bench: Bench, which: str, form: Callable[[Any], Any]
) -> None:
    """Its keys would be taken for ids, and be unknown: the task would succeed, and the job run on."""
    (job,) = bench.submit("running")
    make, words = getattr(KINDS[bench.name], which), re.escape("holds {'jobrun': ")
    for named in (
        {**targets([job]), KINDS[bench.name].ids: form({"jobrun": job.id})},
        {"remote_jobs": form({"jobrun": str(job)})},
    ):
        with pytest.raises(InvalidInput, match=words):
            make(task_id="task", deferrable=False, **named).execute(context())
    assert bench.truth()[job.id]["cancel_requested_at"] is None


def test_a_bare_text_is_one_id(bench: Bench) -> None:
    (job,) = bench.submit("running")
    named = {**targets([job]), KINDS[bench.name].ids: f" {job.id}\n"}
    assert operator(bench.name, **named).execute(context()) == {str(job): "CANCELLED"}
    # What a cancel operator returns names the jobs, too, also once a template made a text of it.
    # A task that is mapped over it gets pairs.
    for states in ({str(job): "CANCELLED"}, str({str(job): "CANCELLED"}), (str(job), "CANCELLED"), str(job)):
        assert sensor(bench.name, remote_jobs=states).execute(context()) == {str(job): "CANCELLED"}
