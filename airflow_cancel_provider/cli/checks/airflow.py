"""The other processes of this Airflow: database, triggerer, API server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from airflow import __version__
from packaging.version import Version

from airflow_cancel_provider.cli.checks import Check, Result
from airflow_cancel_provider.exceptions import AirflowUnavailable
from airflow_cancel_provider.reaper.backends.database import session_of_airflow
from airflow_cancel_provider.reaper.backends.rest import NOT_LET_IN, OWNERS
from airflow_cancel_provider.version_compat import conf

if TYPE_CHECKING:
    from requests import Response

TIMEOUT = (5, 10)


def airflow_checks(*, is_offline: bool) -> Iterator[Check]:
    """All of them."""
    yield _version()
    yield _triggerer()
    yield _endpoint(is_offline=is_offline)


def _version() -> Check:
    if Version(__version__) >= Version("3.3"):
        return Check("Airflow", Result.OK, f"Version {__version__}.")
    return Check(
        "Airflow",
        Result.LIMIT,
        f"Version {__version__}: what a try leaves is cancelled by the next one from Airflow 3.3 on; here by "
        "the reaper.",
    )


def _triggerer() -> Check:
    from airflow.jobs.job import most_recent_job

    try:
        with session_of_airflow() as session:
            job = most_recent_job("TriggererJob", session=session)
            is_alive = job is not None and job.is_alive()
    except AirflowUnavailable as error:
        return Check(
            "triggerer", Result.SKIPPED, f"{error} Run this where Airflow's database can be reached."
        )
    if is_alive:
        return Check("triggerer", Result.OK, "One is alive; it cancels for deferred tasks.")
    return Check(
        "triggerer",
        Result.LIMIT,
        "None is alive: what a deferred task has started is cancelled by the API server if a person marks "
        "the task, else by the reaper.",
    )


def _endpoint(*, is_offline: bool) -> Check:
    """Whether the API server has the endpoint that a reaper elsewhere asks: without a login it says 401."""
    import requests

    url = str(conf.get("api", "base_url", fallback="") or "").rstrip("/")
    if is_offline or not url:
        why = "--offline is given." if is_offline else "[api] base_url is not set here."
        return Check("API server", Result.SKIPPED, why)
    try:
        answer = requests.post(f"{url}/{OWNERS}", json={"ti_ids": []}, timeout=TIMEOUT)
    except requests.RequestException as error:
        return Check(
            "API server", Result.SKIPPED, f"{url} does not answer from here ({type(error).__name__})."
        )
    if answer.status_code in NOT_LET_IN:
        return Check("API server", Result.OK, f"{url}/{OWNERS} is there, and asks for a login.")
    if _is_ours(answer):
        return Check("API server", Result.OK, f"{url}/{OWNERS} is there; this Airflow asks for no login.")
    if answer.status_code >= 500:
        why = f"answers {answer.status_code}: see the log of the API server, or of the proxy before it."
    else:
        why = (
            f"answers {answer.status_code} instead of 401: install the package on the API server, too, and "
            "start it again."
        )
    return Check("API server", Result.BROKEN, f"{url}/{OWNERS} {why}")


def _is_ours(answer: Response) -> bool:
    """Whether it is the endpoint's answer, as where the auth manager lets everybody in."""
    try:
        values = answer.json()
    except ValueError:
        return False
    return answer.ok and isinstance(values, dict) and "owners" in values
