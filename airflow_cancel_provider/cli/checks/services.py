"""Connections and permissions, by calls about a job that does not exist: nothing can be changed by them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from airflow_cancel_provider.cli.checks import Check, Result
from airflow_cancel_provider.exceptions import (
    AccessDenied,
    AirflowUnavailable,
    CancelProviderError,
    InvalidInput,
    UnknownScope,
)
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import CancelOutcome, RemoteJob
from airflow_cancel_provider.reaper.places import Place
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.retry import Patience

PATIENCE = Patience(seconds=10.0, longest_pause=2.0)
REASON = "A check of permissions by Airflow: this job does not exist"


def service_checks(places: list[Place], *, is_offline: bool) -> Iterator[Check]:
    """Each service at each place."""
    for place in places:
        yield from _of_place(place, is_offline=is_offline)


def _of_place(place: Place, *, is_offline: bool) -> Iterator[Check]:
    access = Access()
    try:
        access.check_connections([(place.service, place.conn_id, place.region)])
        service = access.service(place.service, place.conn_id, place.region).with_patience(PATIENCE)
    except AirflowUnavailable as error:
        yield Check(f"{place} connection", Result.SKIPPED, str(error))
        return
    except (CancelProviderError, ImportError) as error:
        yield Check(f"{place} connection", Result.BROKEN, str(error))
        return
    yield Check(f"{place} connection", Result.OK, f"Region {service.region or 'not told'}.")
    if is_offline:
        return
    job = service.address(service.id_example, service.scope_example)
    for what, call in {"look": _look, "cancel": _cancel, "list": _list}.items():
        yield _permission(f"{place} may {what}", service, job, call)


def _permission(
    check: str, service: JobService, job: RemoteJob, call: Callable[[JobService, RemoteJob], None]
) -> Check:
    before = service.traffic.copy()
    try:
        call(service, job)
    except AccessDenied as error:
        return Check(check, Result.BROKEN, str(error))
    except InvalidInput as error:
        return Check(check, Result.BROKEN, str(error))
    except CancelProviderError as error:
        if error.__class__ is not UnknownScope:
            return Check(check, Result.BROKEN, str(error))
    called = sorted((service.traffic - before).keys())
    if not called:
        return Check(check, Result.SKIPPED, "A job that does not exist is not asked to end; try a real one.")
    return Check(check, Result.OK, f"Asked: {', '.join(called)}.")


def _look(service: JobService, job: RemoteJob) -> None:
    service.describe([job])


def _cancel(service: JobService, job: RemoteJob) -> None:
    (result,) = service.cancel([job], REASON)
    if result.outcome is CancelOutcome.REFUSED and "denied" in (result.code or "").lower():
        raise AccessDenied(result.detail or "The service refuses it.", None, result.code)


def _list(service: JobService, _: RemoteJob) -> None:
    for scope in islice(service.scopes(), 1):
        for _claim in islice(service.claims(scope), 1):
            pass
