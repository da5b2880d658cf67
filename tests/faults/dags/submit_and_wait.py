"""A task that submits a job with plain boto3, and waits."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from airflow.sdk import dag, task


@dag(schedule=None)
def submit_and_wait() -> None:
    @task
    def t(**context: Any) -> None:
        import boto3

        job = {"jobName": "job", "jobQueue": "queue", "jobDefinition": "definition"}
        answer = boto3.client("batch").submit_job(**job)
        file = Path(os.environ["AIRFLOW_HOME"]) / context["run_id"]
        file.with_suffix(".new").write_text(json.dumps({"pid": os.getpid(), "job": answer["jobId"]}))
        file.with_suffix(".new").rename(file)
        time.sleep(300)

    t()


submit_and_wait()
