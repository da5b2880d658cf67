"""The id of a project that is known by its name.

OTC IAM API reference, "Querying Project Information Based on the Specified Criteria" (KeystoneListProjects).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import requests

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.services.mrs.auth import AkSkAuth, TokenAuth
from airflow_cancel_provider.services.mrs.calls import ApiCall
from airflow_cancel_provider.services.mrs.errors import Fault
from airflow_cancel_provider.services.mrs.transport import Transport, failed, misunderstood
from airflow_cancel_provider.services.retry import Patience

LIST_PROJECTS = ApiCall("KeystoneListProjects", "GET", "/v3/projects", "iam:projects:listProjects")


def project_id(
    auth: AkSkAuth | TokenAuth, name: str, iam_endpoint: str, *, verify: bool | str, patience: Patience
) -> str:
    """Id of the project with this name: the token's own, or looked up with an access key.

    :raises InvalidInput: no project, or more than one, has this name.
    :raises ServiceError: the identity service gave an error or no answer.
    """
    try:
        ids = patience.started().call(
            lambda: (
                [auth.project_id()]
                if isinstance(auth, TokenAuth)
                else _listed(auth, name, iam_endpoint, verify=verify)
            ),
            lambda error: isinstance(error, Fault) and error.is_transient,
        )
    except Fault as fault:
        raise fault.named() from fault
    if len(ids) != 1 or not ids[0]:
        raise InvalidInput(
            f"{len(ids) or 'No'} project{'s are' if len(ids) > 1 else ' is'} named {name!r}:"
            " check Project name (project_name), or set Project ID (project_id) in the connection."
        )
    return ids[0]


def _listed(auth: AkSkAuth, name: str, iam_endpoint: str, *, verify: bool | str) -> list[str]:
    with requests.Session() as session:
        transport = Transport(auth, verify=verify, session=session, timeouts=(10.0, 30.0))
        url = f"{LIST_PROJECTS.at(iam_endpoint, '')}?name={quote(name, safe='')}"
        answer: dict[str, Any] = transport.send(LIST_PROJECTS, url, f"project {name}")
    projects = answer.get("projects")
    if not isinstance(projects, list) or not all(isinstance(project, dict) for project in projects):
        what = failed(LIST_PROJECTS, f"project {name}")
        raise misunderstood(LIST_PROJECTS, what, "a reply without the list projects")
    return [str(project.get("id") or "") for project in projects if project.get("name") == name]
