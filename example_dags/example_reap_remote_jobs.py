"""Sweep for jobs whose task is over, every five minutes.

Set ``[cancel_provider] deployment`` to a name that no other Airflow on these accounts has. Connection
``airflow_api`` (type HTTP) leads to this Airflow's own API server, with a service account that may read all
Dags and their task instances, and read, create, edit and delete Variables; it needs no other right. Paused at
first: start a run with the param ``dry_run``, read what it says, then unpause it.
"""

from __future__ import annotations

from airflow_cancel_provider.reaper.dag import reaper_dag

reaper = reaper_dag(
    "example_reap_remote_jobs",
    airflow_conn_id="airflow_api",
    at=["aws://aws_default@us-east-1", "mrs://mrs_default"],
    schedule="*/5 * * * *",
    except_scopes=["prod-*", "j-2AXXXXXXGAPLF"],  # a Batch queue by its name, all else by its id
    is_paused_upon_creation=True,
)
