"""Make a reaper from names and numbers, for the command line and the Dag."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from threading import Event
from typing import Any

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.reaper.backends.base import Airflow
from airflow_cancel_provider.reaper.places import Place, Scopes, places
from airflow_cancel_provider.reaper.reaper import Reaper
from airflow_cancel_provider.reaper.rules import SHARE, Rules, as_list
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.ratelimit import share_of_quotas
from airflow_cancel_provider.services.tls import verification
from airflow_cancel_provider.settings import Settings

PATIENCE_SECONDS = 60.0
NO_NAME = (
    "Set [cancel_provider] deployment, for workers, API server and reaper, to a name that no other Airflow "
    "on these accounts has: without one, jobs of another Airflow could be taken for this one's."
)


def make_reaper(
    airflow: Airflow,
    *,
    at: Collection[str] = (),
    scopes: Collection[str] = (),
    except_scopes: Collection[str] = (),
    share: float = SHARE,
    rules: Rules | None = None,
    stop: Event | None = None,
    access: Access | None = None,
) -> Reaper:
    """Make a reaper for this Airflow's jobs.

    :param airflow: gives the states of tries.
    :param at: places, as ``aws://connection@region`` or ``mrs://connection``; by default those of
        ``[cancel_provider] reaper_places``.
    :param scopes: patterns of cluster ids, queue names and application ids to check.
    :param except_scopes: patterns of those to leave out.
    :param share: of the API quotas in force, above 0, at most 1.
    :param access: opens the services.
    :raises InvalidInput: there is no place, a list is a text, or the reaper is to cancel and this Airflow has
        no name of its own.
    """
    settings, access = Settings.read(), access or Access()
    allow, deny = tuple(as_list("scopes", scopes)), tuple(as_list("except_scopes", except_scopes))
    # Without a name of its own it may take another Airflow's jobs for its own; a dry run does no harm.
    if not settings.has_own_name and not (rules and rules.is_dry):
        raise InvalidInput(NO_NAME)

    def open_place(place: Place) -> JobService:
        service = access.service(*place)
        service.quota_share = share_of_quotas(share) * (service.quota_share or 1.0)
        return service.with_patience(replace(service.patience, seconds=PATIENCE_SECONDS))

    return Reaper(
        airflow,
        settings.deployment,
        places(as_list("at", at) or settings.reaper_places),
        open_place,
        scopes=Scopes(allow or ("*",), deny),
        rules=rules,
        stop=stop,
        name=settings.deployment_name,
    )


def rest_airflow(conn_id: str) -> Airflow:
    """An Airflow over HTTP, as a connection names it.

    Its host is the API server's address, its login and password are the service account's; without a
    login the password is a token.

    :raises InvalidInput: the connection is not defined, can't be read, or has no host.
    :raises AirflowUnavailable: it could not be looked up.
    """
    from airflow_cancel_provider.hooks.connections import get_connection
    from airflow_cancel_provider.reaper.backends.rest import Rest
    from airflow_cancel_provider.version_compat import AirflowNotFoundException

    try:
        connection: Any = get_connection(conn_id)
    except AirflowNotFoundException:
        raise InvalidInput(f"Connection {conn_id!r} to Airflow's API server is not defined.") from None
    url = (connection.host or "").strip()
    if url and "://" not in url:
        port = f":{connection.port}" if connection.port else ""
        url = f"{connection.schema or 'https'}://{url}{port}"
    verify = verification(connection.extra_dejson.get("verify"))
    return Rest(
        url,
        deployment=Settings.read().deployment,
        token=None if connection.login else connection.password,
        login=connection.login,
        password=connection.password,
        verify=True if verify is None else verify,
    )
