"""Ids of each service, as people pass them to operators."""

from __future__ import annotations

from typing import Any

from tests.dags.kinds import KINDS

EMR_IDS = {"cluster_id": "j-1AB", "step_ids": ["s-1AB"]}


BATCH_ID = "00000000-0000-0000-0000-000000000000"


BATCH_IDS = {"job_ids": [BATCH_ID]}


RUN_IDS = {"application_id": "00f1", "job_run_ids": ["00f2"]}


CONTAINER_IDS = {"virtual_cluster_id": "0f1", "job_run_ids": ["0f2"]}


MRS_IDS = {"cluster_id": "c-1", "job_execution_ids": ["e-1"]}


GLUE_IDS = {"job_name": "nightly/etl ü", "job_run_ids": ["jr_0123"]}


IDS: dict[str, dict[str, Any]] = {
    "emr": EMR_IDS,
    "batch": BATCH_IDS,
    "emr-serverless": RUN_IDS,
    "emr-containers": CONTAINER_IDS,
    "mrs": MRS_IDS,
    "glue": GLUE_IDS,
}


SERVICES = tuple(KINDS)
