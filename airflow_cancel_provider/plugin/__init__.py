"""What Airflow loads in each of its processes. Imports next to nothing until a task runs."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from airflow_cancel_provider.plugin import listener


class RemoteJobsPlugin(AirflowPlugin):
    """Puts the guard on every task that runs here."""

    name = "airflow_cancel_provider"
    listeners = [listener]  # noqa: RUF012  Airflow declares it so
