"""Connections and permissions, by calls about a job that does not exist: nothing can be changed by them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

from airflow_cancel_provider.cli.checks import Check, Result
from airflow_cancel_provider.cli.reach import CommandAccess
from airflow_cancel_provider.exceptions import (
    AccessDenied,
    AirflowUnavailable,
    CancelProviderError,
    ConnectionUnusable,
    InvalidInput,
    ServiceError,
    ServiceUnavailable,
)
from airflow_cancel_provider.reaper.places import Place
from airflow_cancel_provider.services.base import JobService

GIVE_UP_SECONDS = 10.0
_ABOUT_RESOURCES = (
    " It was asked about something that does not exist: a policy for some resources alone denies that, too."
)


def service_checks(places: list[Place], *, is_offline: bool) -> Iterator[Check]:
    """Each service at each place."""
    for place in places:
        yield from _of_place(place, is_offline=is_offline)


def _of_place(place: Place, *, is_offline: bool) -> Iterator[Check]:
    access = CommandAccess()
    try:
        access.check_connections([place])
        service = access.service(*place)
    except AirflowUnavailable as error:
        yield Check(f"{place} connection", Result.SKIPPED, str(error))
        return
    except (CancelProviderError, ImportError) as error:
        yield Check(f"{place} connection", Result.BROKEN, str(error))
        return
    yield Check(
        f"{place} connection",
        Result.OK,
        f"Region {service.region}." if service.region else "It names no region.",
    )
    if is_offline:
        return
    hasty = replace(service.patience, seconds=GIVE_UP_SECONDS, longest_pause=2.0)
    yield from _permissions(place, service.with_patience(hasty))


def _permissions(place: Place, service: JobService) -> Iterator[Check]:
    """What may be done there. Where the first call has no answer, the others are left out."""
    is_down = False
    for what, call in {"look": _describe, "cancel": _cancel, "list": _list}.items():
        name = f"{place} may {what}"
        if is_down:
            yield Check(name, Result.SKIPPED, "The service did not answer the call before.")
            continue
        try:
            yield _permission(name, service, call)
        except ServiceUnavailable as error:
            is_down = True
            yield Check(name, Result.BROKEN, str(error))


def _permission(check: str, service: JobService, call: Callable[[JobService], bool]) -> Check:
    """:raises ServiceUnavailable: no answer."""
    before = service.traffic.copy()
    try:
        is_asked = call(service)
    except ServiceUnavailable:
        raise
    except AccessDenied as error:
        return Check(check, Result.BROKEN, str(error) if call is _list else f"{error}{_ABOUT_RESOURCES}")
    except (ConnectionUnusable, InvalidInput) as error:
        return Check(check, Result.BROKEN, str(error))
    except ServiceError:  # it does not know the job, and says so
        is_asked = True
    if not is_asked:
        return Check(check, Result.SKIPPED, "Only a job that exists can be asked to end: cancel one to see.")
    called = sorted((service.traffic - before).keys())
    return Check(check, Result.OK, f"Asked: {', '.join(called)}.")


def _describe(service: JobService) -> bool:
    service.describe([service.address(service.id_example, service.scope_example)])
    return True


def _cancel(service: JobService) -> bool:
    return service.probe_cancel()


def _list(service: JobService) -> bool:
    for scope in islice(service.scopes(), 1):
        for _ in islice(service.claims(scope), 1):
            pass
    return True
