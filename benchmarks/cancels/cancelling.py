"""Cancel every job of the account, in a process of its own; the last line of its output is JSON.

``python -m benchmarks.cancels.cancelling <address of the account> <plan as JSON>``
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from airflow_cancel_provider.cancellation import Cancellation
from airflow_cancel_provider.jobs import CancelResult, RemoteJob
from airflow_cancel_provider.operators.base import CancelRemoteJobsOperator
from airflow_cancel_provider.operators.batch import CancelBatchJobOperator
from airflow_cancel_provider.operators.emr import CancelStepsOperator
from airflow_cancel_provider.operators.emr_serverless import CancelJobRunOperator
from airflow_cancel_provider.services.pool import ServicePool
from benchmarks.cancels.plan import Plan
from benchmarks.collections import Collections
from benchmarks.scale import memory
from benchmarks.waits.triggers import addresses

DELAY = 2
"""Seconds between two polls."""
OPERATORS: dict[str, type[CancelRemoteJobsOperator]] = {
    "emr": CancelStepsOperator,
    "batch": CancelBatchJobOperator,
    "emr-serverless": CancelJobRunOperator,
}
REASON = "no longer needed"


def main() -> None:
    """Run the plan, and print."""
    plan = Plan(**json.loads(sys.argv[2]))
    jobs = [job for _, job in addresses(plan.population)]
    way = ours if plan.side == "ours" else stock
    before, began, cpu = memory.resident(), time.monotonic(), time.process_time()
    from_request = _noted_at_the_request()
    done = way(plan, jobs)
    found = {
        "done": done,
        "seconds": time.monotonic() - began,
        "cpu": time.process_time() - cpu,
        "memory": memory.peak() - before,
        "from request": from_request(),
    }
    print(json.dumps(found))


def _noted_at_the_request() -> Callable[[], dict[str, float]]:
    """What is taken from the first request of ours on, when all is imported and the client is there."""
    begun: list[tuple[float, Collections]] = []
    plain = Cancellation.request

    def request(self: Cancellation, pool: ServicePool, *, force: bool = False) -> list[CancelResult]:
        begun.append((time.process_time(), Collections()))
        return plain(self, pool, force=force)

    Cancellation.request = request  # type: ignore[method-assign]

    def taken() -> dict[str, float]:
        if not begun:
            return {}
        cpu, collections = begun[0]
        spent = time.process_time() - cpu
        return {"cpu": spent, "collections": collections.times, "collecting": collections.seconds}

    return taken


def ours(plan: Plan, jobs: Sequence[RemoteJob]) -> int:
    """The operator: cancel, and wait until each was seen to end."""
    task = OPERATORS[plan.service](
        task_id="cancel", remote_jobs=list(jobs), reason=REASON, waiter_delay=DELAY, deferrable=False
    )
    ti = SimpleNamespace(dag_id="bench", run_id="run", task_id="cancel", map_index=-1, try_number=1)
    context: Any = {"ti": ti}
    return len(task.execute(context))


def stock(plan: Plan, jobs: Sequence[RemoteJob]) -> int:
    """As each operator of the Amazon provider does it for its one job, one job after the other.

    How many were seen to end within the budget.
    """
    request, ended = _stock_calls(plan.service)
    deadline = time.monotonic() + plan.budget
    asked = [job for job in jobs if time.monotonic() < deadline and _is_taken(request, job)]
    done = 0
    for job in asked:
        while not (seen := ended(job)) and time.monotonic() < deadline:
            time.sleep(DELAY)
        done += seen
    return done


def _is_taken(request: Callable[[RemoteJob], Any], job: RemoteJob) -> bool:
    try:
        request(job)
    except Exception:  # noqa: BLE001  throttled for good: an operator would only log it
        return False
    return True


def _stock_calls(service: str) -> tuple[Callable[[RemoteJob], Any], Callable[[RemoteJob], bool]]:
    """What the provider's ``on_kill`` calls, and how its waiter sees the end."""
    from airflow.providers.amazon.aws.hooks.batch_client import BatchClientHook
    from airflow.providers.amazon.aws.hooks.emr import EmrHook, EmrServerlessHook

    if service == "batch":
        batch = BatchClientHook(aws_conn_id="aws_default")
        return (
            lambda job: batch.terminate_job(job_id=job.id, reason=REASON),
            lambda job: batch.get_job_description(job.id)["status"] in ("FAILED", "SUCCEEDED"),
        )
    if service == "emr":
        emr: Any = EmrHook(aws_conn_id="aws_default").conn
        return (
            lambda job: emr.cancel_steps(ClusterId=job.scope, StepIds=[job.id]),
            lambda job: (
                emr.describe_step(ClusterId=job.scope, StepId=job.id)["Step"]["Status"]["State"]
                in ("CANCELLED", "COMPLETED", "FAILED")
            ),
        )
    serverless: Any = EmrServerlessHook(aws_conn_id="aws_default").conn
    return (
        lambda job: serverless.cancel_job_run(applicationId=job.scope, jobRunId=job.id),
        lambda job: (
            serverless.get_job_run(applicationId=job.scope, jobRunId=job.id)["jobRun"]["state"]
            in ("CANCELLED", "SUCCESS", "FAILED")
        ),
    )


if __name__ == "__main__":
    main()
