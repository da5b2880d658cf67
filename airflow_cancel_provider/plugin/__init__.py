"""The plugin that Airflow loads in each of its processes. Imports almost nothing until a task runs."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from airflow_cancel_provider.plugin import endpoint, extra_links, listener

# Without a slash in front: Airflow may be served below a path.
_TASK = "?dag_id={DAG_ID}&run_id={RUN_ID}&task_id={TASK_ID}&map_index={MAP_INDEX}"

_VIEWS = [
    {
        "name": "Remote jobs",
        "href": "remote-jobs/",
        "destination": "nav",
        "category": "browse",
        "url_route": "remote-jobs",
    },
    {
        "name": "Remote jobs",
        "href": f"remote-jobs/task-instance{_TASK}",
        "destination": "task_instance",
        "url_route": "remote-jobs-of-task",
    },
]
"""Where Airflow's interface shows the page, from Airflow 3.1 on; Airflow 3.0 passes this over."""


class RemoteJobsPlugin(AirflowPlugin):
    """Installs the guard on tasks; in the API server, shows remote jobs and answers reapers."""

    name = "airflow_cancel_provider"
    listeners = [listener]  # noqa: RUF012  Airflow declares it so
    fastapi_apps = [  # noqa: RUF012
        {"app": endpoint.app, "url_prefix": endpoint.URL_PREFIX, "name": "Remote jobs"}
    ]
    external_views = _VIEWS
    global_operator_extra_links = extra_links.LINKS
