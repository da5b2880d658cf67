"""The plugin that Airflow loads in each of its processes. Imports almost nothing until a task runs."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from airflow_cancel_provider.plugin import endpoint, external_views, extra_links, listener


class RemoteJobsPlugin(AirflowPlugin):
    """Installs the guard on tasks; in the API server, shows remote jobs and answers reapers."""

    name = "airflow_cancel_provider"
    listeners = [listener]  # noqa: RUF012  Airflow declares it so
    fastapi_apps = [  # noqa: RUF012
        {"app": endpoint.app, "url_prefix": endpoint.URL_PREFIX, "name": "Remote jobs"}
    ]
    external_views = external_views.VIEWS
    global_operator_extra_links = extra_links.LINKS
