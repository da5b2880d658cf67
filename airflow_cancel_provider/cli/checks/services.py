"""Connections and permissions, by calls about a job that does not exist: nothing can be changed by them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from airflow_cancel_provider.cli.checks import Check, Result
from airflow_cancel_provider.exceptions import (
    AccessDenied,
    AirflowUnavailable,
    CancelProviderError,
    ConnectionUnusable,
    InvalidInput,
    ServiceError,
    ServiceUnavailable,
)
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.reaper.places import Place
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.retry import Patience

PATIENCE = Patience(seconds=10.0, longest_pause=2.0)
_ABOUT_RESOURCES = (
    " It was asked about something that does not exist: a policy for some resources alone denies that, too."
)


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
    for what, call in {"look": _look, "cancel": _cancel, "list": _list}.items():
        yield _permission(f"{place} may {what}", service, call)


def _permission(check: str, service: JobService, call: Callable[[JobService], bool]) -> Check:
    before = service.traffic.copy()
    try:
        is_asked = call(service)
    except AccessDenied as error:
        return Check(check, Result.BROKEN, f"{error}{_ABOUT_RESOURCES}")
    except (ConnectionUnusable, InvalidInput, ServiceUnavailable) as error:
        return Check(check, Result.BROKEN, str(error))
    except ServiceError:  # it does not know the job, and says so
        is_asked = True
    if not is_asked:
        return Check(check, Result.SKIPPED, "Only a job that exists can be asked to end: cancel one to see.")
    called = sorted((service.traffic - before).keys())
    return Check(check, Result.OK, f"Asked: {', '.join(called)}.")


def _look(service: JobService) -> bool:
    service.describe([service.address(service.id_example, service.scope_example)])
    return True


def _cancel(service: JobService) -> bool:
    return service.probe_cancel()


def _list(service: JobService) -> bool:
    for scope in islice(service.scopes(), 1):
        for _ in islice(service.claims(scope), 1):
            pass
    return True
