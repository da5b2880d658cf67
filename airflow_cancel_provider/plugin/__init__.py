"""What Airflow loads in each of its processes. Imports next to nothing until a task runs."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from airflow_cancel_provider.plugin import endpoint, listener


class RemoteJobsPlugin(AirflowPlugin):
    """Puts the guard on every task that runs here, and answers a reaper's question in the API server."""

    name = "airflow_cancel_provider"
    listeners = [listener]  # noqa: RUF012  Airflow declares it so
    fastapi_apps = [  # noqa: RUF012
        {"app": endpoint.app, "url_prefix": endpoint.URL_PREFIX, "name": "Remote jobs"}
    ]
