"""What a user may do with the jobs of a Dag, by Airflow's auth manager."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any


def readable(user: Any, dag_ids: Collection[str]) -> set[str]:
    """Those of these Dags whose task instances a user may read; an empty id stands for Dags at all."""
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity

    return _allowed(user, dag_ids, "GET", (None, DagAccessEntity.TASK_INSTANCE))


def editable(user: Any, dag_ids: Collection[str]) -> set[str]:
    """Those of these Dags whose runs a user may edit, for example mark as failed."""
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity

    return _allowed(user, [dag_id for dag_id in dag_ids if dag_id], "PUT", (DagAccessEntity.RUN,))


def may_read_all(user: Any, session: Any) -> bool:
    """Whether a user may read Dags at all, and each of those that Airflow has."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from sqlalchemy import select

    if not readable(user, [""]):
        return False
    # The auth manager, too, leaves out the Dags of deleted bundles.
    bundles = select(DagBundleModel.name)
    known = set(session.scalars(select(DagModel.dag_id).where(DagModel.bundle_name.in_(bundles))))
    return known <= set(get_auth_manager().get_authorized_dag_ids(user=user, method="GET"))


def _allowed(user: Any, dag_ids: Collection[str], method: Any, entities: Collection[Any]) -> set[str]:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails

    manager, teams = get_auth_manager(), _teams([dag_id for dag_id in dag_ids if dag_id])

    def is_allowed(dag_id: str) -> bool:
        details = DagDetails(id=dag_id, **_team(teams.get(dag_id))) if dag_id else None
        return all(
            manager.is_authorized_dag(method=method, access_entity=entity, details=details, user=user)
            for entity in entities
        )

    return {dag_id for dag_id in dag_ids if is_allowed(dag_id)}


def _teams(dag_ids: Collection[str]) -> Mapping[str, str | None]:
    """The teams that Dags belong to, by Dag."""
    # Not at import: every process loads the plugin, and a broken module must not keep the guard from it.
    from airflow_cancel_provider.version_compat import team_names

    return team_names(dag_ids) if dag_ids and _has_teams() else {}


def _team(name: str | None) -> dict[str, str | None]:
    """A Dag's team as a keyword argument."""
    return {"team_name": name} if _has_teams() else {}


@cache
def _has_teams() -> bool:
    """Whether permissions know of teams: from Airflow 3.1 on."""
    from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails

    return "team_name" in DagDetails.__dataclass_fields__
