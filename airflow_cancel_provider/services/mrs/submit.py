"""Submit a job exactly once, to a service without idempotency tokens.

OTC API reference, "Adding and Executing a Job" (mrs_02_0085; V1.1: mrs_02_0040).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airflow_cancel_provider.exceptions import InvalidInput, ServiceError, ServiceUnavailable
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.services.mrs.calls import IDENTIFIER
from airflow_cancel_provider.services.mrs.client import MrsClient
from airflow_cancel_provider.services.mrs.errors import Fault, FaultKind
from airflow_cancel_provider.services.mrs.lookup import Lookup
from airflow_cancel_provider.services.mrs.states import JobRecord, fingerprint
from airflow_cancel_provider.services.mrs.submission import (
    JOB_TYPES,
    argument_texts,
    check_job_name,
    property_texts,
)
from airflow_cancel_provider.services.replies import earliest_start

_OLD_JAR_TYPES = {"MapReduce": 1, "SparkSubmit": 2}
_OLD_SCRIPT_TYPES = {"HiveScript": 3, "SparkScript": 6}

SEARCHES = 4
"""How often a job whose submission was not answered is searched."""
PAUSE = 3.0
"""Seconds between two searches."""
CLOCKS_APART = 120.0
"""Seconds that MRS's clock may differ from this machine's, as far as is asked for."""
CLOCKS_OF_MRS_APART = 5.0
"""Seconds by which the clocks of MRS's own hosts may differ."""
_SUBMITTED: set[str] = set()
"""Jobs that this process has submitted: all of a task's jobs may have the same name."""


def submit(
    lookup: Lookup,
    cluster_id: str,
    job_type: str,
    job_name: str,
    arguments: Sequence[str] = (),
    properties: Mapping[str, str] | None = None,
    lost: Callable[[], None] = lambda: None,
) -> str:
    """Submit a job and return its execution id.

    The request is repeated only where it can't have been carried out (throttled, no connection). Where the
    answer is lost, the job is searched by its name.

    :param job_name: 1 to 64 letters, digits, underscores and hyphens. It should be unique: then a
        job whose answer is lost can be found.
    :param lost: called before an error is raised after which it is not known whether the job was submitted.
    :raises InvalidInput: a parameter is unusable.
    :raises ServiceUnavailable: it was not submitted, or that is not known; the message says which.
    :raises ServiceError: MRS refused it.
    """
    body = request_body(lookup.client, cluster_id, job_type, job_name, arguments, properties or {})
    began, series = time.monotonic(), lookup.patience.started()

    def send() -> Mapping[str, Any] | Fault:
        nonlocal began
        began = time.monotonic()
        try:
            return lookup.client.submit_job(cluster_id, body)
        except Fault as fault:
            # Only what was certainly not carried out is repeated.
            if not fault.may_have_acted:
                raise
            return fault

    answer = lookup.call(series, send)
    job = "" if isinstance(answer, Fault) else _job_of(answer, lookup.client)
    if not isinstance(answer, Fault) and not job and not _has_failed(answer):
        words = f"Submitting {job_name} to {cluster_id} was answered with HTTP 200, and without a job."
        answer = Fault(words, "CreateExecuteJob", None, FaultKind.TRANSIENT, may_have_acted=True)
    if isinstance(answer, Fault):
        try:
            job = _sought(lookup, cluster_id, body, began, answer)
        except ServiceUnavailable:
            lost()
            raise
    elif _has_failed(answer):
        raise _failed(answer, cluster_id, job_name)
    _SUBMITTED.add(job)
    return job


def request_body(
    client: MrsClient,
    cluster_id: str,
    job_type: str,
    job_name: str,
    arguments: Sequence[str],
    properties: Mapping[str, str],
) -> dict[str, Any]:
    """Body of the submission in the client's version of the API.

    :raises InvalidInput: a parameter is not one of MRS, or not one of V1.1.
    """
    check_job_name("job_name", job_name)
    if job_type not in JOB_TYPES:
        raise InvalidInput(f"job_type {job_type!r} is not one of {', '.join(JOB_TYPES)}.")
    texts = argument_texts("arguments", arguments)
    settings = property_texts("properties", properties)
    if client.api_version == "v1.1":
        return _old_body(cluster_id, job_type, job_name, texts, settings)
    return {
        "job_name": job_name,
        "job_type": job_type,
        "arguments": texts,
        "properties": settings,
    }


def _old_body(
    cluster_id: str, job_type: str, job_name: str, arguments: list[str], properties: Mapping[str, str]
) -> dict[str, Any]:
    number = (_OLD_JAR_TYPES | _OLD_SCRIPT_TYPES).get(job_type)
    if number is None or properties or not arguments:
        raise InvalidInput(
            f"V1.1 takes {', '.join([*_OLD_JAR_TYPES, *_OLD_SCRIPT_TYPES])}, with the path of the program"
            f" as first argument and without properties; got {job_type} with {len(arguments)} arguments and"
            f" {len(properties)} properties."
        )
    program = "jar_path" if job_type in _OLD_JAR_TYPES else "hive_script_path"
    return {
        "cluster_id": cluster_id,
        "job_name": job_name,
        "job_type": number,
        program: arguments[0],
        "arguments": " ".join(arguments[1:]),
    }


def _failed(answer: Mapping[str, Any], cluster_id: str, job_name: str) -> ServiceError:
    state = _state_of(answer)
    return ServiceError(
        f"Submitting {job_name} to {cluster_id} failed: MRS says {state}, with HTTP 200."
        " Look at the cluster's state and at the program's path.",
        "CreateExecuteJob",
        state,
    )


def _job_of(answer: Mapping[str, Any], client: MrsClient) -> str:
    """The id of the job that was started, or nothing where the answer has none that could be one."""
    # V1.1 answers both: there job_id is the engine's id, and id that of the execution.
    id_ = answer.get("id" if client.api_version == "v1.1" else "job_id")
    return id_ if isinstance(id_, str) and IDENTIFIER.fullmatch(id_) else ""


def _state_of(answer: Mapping[str, Any]) -> str:
    return str(answer.get("state") or "").upper()


def _has_failed(answer: Mapping[str, Any]) -> bool:
    return _state_of(answer).endswith("FAILED")


def _sought(lookup: Lookup, cluster_id: str, body: Mapping[str, Any], began: float, lost: Fault) -> str:
    job_name = str(body["job_name"])
    found: list[JobRecord] = []
    for search in range(SEARCHES):
        if search:
            time.sleep(PAUSE)
        found = _alike(_by_name(lookup, cluster_id, job_name, began, lost), body)
        if len(found) == 1:
            return found[0].id
        if found:
            break
    seen = (
        f"jobs {', '.join(record.id for record in found)} have this name" if found else "no job has this name"
    )
    raise ServiceUnavailable(
        f"{lost.message} It may or may not have been submitted as {job_name} ({seen}); it was not sent again."
        " Look at the cluster's jobs.",
        lost.operation,
        lost.code,
    ) from lost


def _alike(records: Sequence[JobRecord], body: Mapping[str, Any]) -> list[JobRecord]:
    """Those with the same arguments, where MRS shows them: other jobs may have the same name."""
    mine = fingerprint(body["arguments"])
    return [record for record in records if record.arguments in (None, mine)]


def _by_name(lookup: Lookup, cluster_id: str, job_name: str, began: float, lost: Fault) -> list[JobRecord]:
    """Jobs of the name that are not older than the request: an older one is another task's.

    Where the time of a job, or of MRS, is not known, the label in a name tells whose it is; without one none
    counts.

    :param began: when the request was sent, on the monotonic clock.
    """
    since = int((time.time() - (time.monotonic() - began) - CLOCKS_APART) * 1000)
    try:
        pages = list(lookup.pages(lookup.patience.started(), cluster_id, job_name=job_name, since=since))
    except ServiceError as error:
        raise ServiceUnavailable(
            f"{lost.message} It may or may not have been submitted as {job_name}, and looking for it failed"
            f" too: {error}",
            lost.operation,
            lost.code,
        ) from error
    # MRS also finds names that contain this one.
    named = [record for page in pages for record in page if record.name == job_name]
    others = [record for record in named if record.id not in _SUBMITTED]
    date, is_ours = lookup.client.date, Label.find(job_name) is not None
    taken = earliest_start({"Date": date}, time.monotonic() - began) - CLOCKS_OF_MRS_APART
    return [
        record
        for record in others
        if (record.submitted >= taken * 1000 if record.submitted and date else is_ours)
    ]
