"""The reaper as a Dag, in each of its ways to ask Airflow."""

from __future__ import annotations

from airflow_cancel_provider.reaper.dag import reaper_dag

WAYS = {"rest": "airflow_api", "sdk": None}

for way, conn_id in WAYS.items():
    globals()[way] = reaper_dag(
        f"reap_by_{way}",
        at=["emr://aws_default@us-east-1", "batch://aws_default@us-east-1"],
        schedule=None,
        airflow_conn_id=conn_id,
        grace=2,
        confirm_seconds=30,
        share=1,
    )
