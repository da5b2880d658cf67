"""What is checked when the Dag is parsed."""

from __future__ import annotations

import re
from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.notifications.cancel import CancelRemoteJobs
from airflow_cancel_provider.operators.mrs import MrsSubmitJobOperator
from tests.dags.kinds import KINDS
from tests.target_fixtures import (
    BATCH_ID,
    IDS,
    SERVICES,
)
from tests.task_fixtures import bench, connections, operator, sensor

__all__ = ["bench", "connections"]


URIS = {
    "emr": "emr://aws_default@us-east-1/j-1AB/s-1AB",
    "batch": f"batch://aws_default@us-east-1/{BATCH_ID}",
    "emr-serverless": "emr-serverless://aws_default@us-east-1/00f1/00f2",
    "mrs": "mrs://mrs_default/c-1/e-1",
    "glue": "glue://@us-east-1/etl/jr_1",
    "emr-containers": "emr-containers://@us-east-1/0f1/0f2",
}


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
            ({"remote_jobs": {"job-1": "RUNNING"}}, "is not the address of a remote job"),
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
            ({**IDS[service], "reason": ["a", "b"]}, "must be text"),
            ({**IDS[service], "waiter_max_attempts": 0.5}, "0.5; it must be a whole number above 0"),
        ]
        for options, words in wrong:
            with pytest.raises(InvalidInput, match=words):
                operator(service, **options)

    @pytest.mark.parametrize("value", ["False", "{{ params.x }}", "", None, 1, []], ids=repr)
    @pytest.mark.parametrize("service", SERVICES)
    def test_flags_that_are_neither_true_nor_false(self, service: str, value: Any) -> None:
        """Python takes "False" for true: all that lives in a cluster would be cancelled."""
        flags = ["all_live", "wait_for_completion", "deferrable", "fail_if_not_running"]
        flags += ["pending_only"] if service == "batch" else []
        for name in flags:
            words = f"{name} is {value!r}; it must be True or False, and can't be templated."
            with pytest.raises(InvalidInput, match=re.escape(words)):
                operator(service, **{**IDS[service], name: value})
        for name in ("deferrable", "cancel_on_kill"):
            with pytest.raises(InvalidInput, match=rf"{name} is .*True or False"):
                sensor(service, **{**IDS[service], name: value})
        for name in ("wait_for_completion", "deferrable"):
            with pytest.raises(InvalidInput, match=rf"{name} is .*True or False"):
                MrsSubmitJobOperator(**{**SUBMIT, name: value})
        with pytest.raises(InvalidInput, match=r"whole_run is .*True or False"):
            _ = CancelRemoteJobs(whole_run=value)

    @pytest.mark.parametrize("service", SERVICES)
    def test_a_flag_of_another_task(self, service: str) -> None:
        """No template field: Airflow would leave the reference as it is, and that is true."""
        with DAG("nightly", schedule=None):
            pushed = EmptyOperator(task_id="push").output
            with pytest.raises(InvalidInput, match=r"all_live is .*True or False"):
                operator(service, all_live=pushed)

    @pytest.mark.parametrize(
        "options, words",
        [
            ({"job_type": "Spark"}, "job_type is 'Spark'; it must be one of MapReduce, "),
            ({"job_name": "a job"}, "job_name 'a job' is not a name of MRS"),
            ({"job_name": "n" * 65}, "is not a name of MRS"),
            ({"arguments": "s3a://jar"}, "arguments is one text"),
            ({"arguments": ["s3a://jar", None]}, "arguments holds a value of type NoneType"),
            ({"properties": "a=b"}, "properties is of type str; expected a dict"),
            ({"properties": {"a": None}}, "properties holds a value of type NoneType; expected names with"),
            ({"properties": {"a": {"b": "c"}}}, "properties holds a value of type dict"),
            ({"properties": {1: "b"}}, "properties holds a value of type int"),
            ({"cluster_id": ""}, "cluster_id is ''; it must be one id"),
            ({"cluster_id": ["c", "d"]}, "cluster_id is .*; it must be one id"),
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
