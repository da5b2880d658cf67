"""Sweep for jobs whose task is over, every five minutes.

Set ``[cancel_provider] deployment`` to a name that no other Airflow on these accounts has, and
``owner_variables = True``, so that a Dag can tell whose jobs they are; or give ``airflow_conn_id``. Paused at
first: start a run with the param ``dry_run``, read what it says, then unpause it.
"""

from __future__ import annotations

from airflow_cancel_provider.reaper.dag import reaper_dag

reaper = reaper_dag(
    "example_reap_remote_jobs",
    at=["aws://aws_default@us-east-1", "mrs://mrs_default"],
    schedule="*/5 * * * *",
    except_scopes=["prod-*", "j-2AXXXXXXGAPLF"],  # a Batch queue by its name, all else by its id
    is_paused_upon_creation=True,
)
