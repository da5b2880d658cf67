"""What the demo runs, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Scenario:
    """One run of one Dag.

    service: as the local cloud names it. conf: parameters of the run; ``{name}`` in one stands for a place
    in the cloud. started_by: tasks whose XCom names the jobs that they started. cancelled_by: the task that
    ends them. run_state: how the run itself should end.
    """

    service: str
    dag_id: str
    started_by: tuple[str, ...]
    cancelled_by: str
    conf: Mapping[str, str | bool] = field(default_factory=dict)
    run_state: str = "success"

    def __str__(self) -> str:
        return self.dag_id

    def conf_at(self, places: Mapping[str, str]) -> dict[str, str | bool]:
        """The run's parameters, with the places filled in."""
        return {
            name: value.format(**places) if isinstance(value, str) else value
            for name, value in self.conf.items()
        }


BATCH = {"job_queue": "{job_queue}", "job_definition": "{job_definition}"}
SCENARIOS = (
    Scenario(
        "emr", "example_cancel_emr_steps", ("start_steps",), "cancel_steps", {"cluster_id": "{emr_cluster}"}
    ),
    Scenario("batch", "example_cancel_batch_jobs", ("start_jobs",), "cancel_jobs", BATCH),
    Scenario(
        "emr-serverless",
        "example_cancel_emr_serverless_job_runs",
        ("start_run",),
        "cancel_run",
        {"application_id": "{application}"},
    ),
    Scenario(
        "emr-containers",
        "example_cancel_emr_containers_job_runs",
        ("start_run",),
        "cancel_run",
        {"virtual_cluster_id": "{virtual_cluster}"},
    ),
    Scenario(
        "mrs",
        "example_cancel_mrs_job_executions",
        ("start_job", "start_by_hook"),
        "cancel_jobs",
        {"cluster_id": "{mrs_cluster}"},
    ),
    Scenario(
        "glue", "example_cancel_glue_job_runs", ("start_run",), "cancel_run", {"job_name": "{glue_job}"}
    ),
    Scenario(
        "batch",
        "example_cancel_as_teardown",
        ("start_job",),
        "cancel_job",
        {**BATCH, "fail": True},
        run_state="failed",
    ),
)
