"""What the answers of MRS mean for a job."""

from __future__ import annotations

from dataclasses import replace

from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, JobStatus, RemoteJob
from airflow_cancel_provider.services.base import labelled_by_name, submitted
from airflow_cancel_provider.services.mrs.records import JobRecord

SPARK_SQL = "MRS can't stop SparkSql jobs: this one runs to its end, or until its cluster is stopped."
KILL_FAILED = frozenset({"0160", "0175", "0200"})
"""What MRS says of a kill that did not work: of a job that is ending, too."""


def not_given_up(result: CancelResult) -> CancelResult:
    """A kill that failed may only mean that somebody else's is under way: it is to be asked again."""
    return not_refused(result) if result.code in KILL_FAILED else result


def not_refused(result: CancelResult) -> CancelResult:
    """A refusal that is not taken for one yet: it is to be asked again."""
    refused = result.outcome is CancelOutcome.REFUSED
    return replace(result, outcome=CancelOutcome.UNANSWERED) if refused else result


def ended_before(result: CancelResult, record: JobRecord) -> CancelResult:
    """The result for a job that was over when it was looked at."""
    return CancelResult(result.job, CancelOutcome.ALREADY_ENDED, record.reason, result.code)


def is_puzzling(result: CancelResult) -> bool:
    """Refused by MRS itself, with a code of its own, although the job lives."""
    own = bool(result.code) and not str(result.code).startswith("HTTP")
    return own and result.outcome is CancelOutcome.REFUSED


def status_of(job: RemoteJob, record: JobRecord) -> JobStatus:
    """A job's status, from its record."""
    status = JobStatus(job, record.state, record.service_state, record.reason, record.name)
    return submitted(labelled_by_name(status), record.submitted)
