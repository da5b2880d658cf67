"""DescribeJobQueues of AWS Batch: queues that were made, and those that jobs were merely sent to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.cloud.aws import AwsError, Place
from tests.cloud.batch_jobs import short_name
from tests.cloud.rest import page

PAGE = 100


def queue_detail(name: str, place: Place) -> dict[str, Any]:
    """A JobQueueDetail of a queue that takes jobs."""
    return {
        "jobQueueName": name,
        "jobQueueArn": f"arn:aws:batch:{place.region}:{place.account}:job-queue/{name}",
        "state": "ENABLED",
        "status": "VALID",
        "statusReason": "JobQueue Healthy",
        "jobQueueType": "ECS",
        "priority": 1,
        "computeEnvironmentOrder": [],
        "tags": {},
    }


def describe_job_queues(
    made: Iterable[dict[str, Any]],
    used: Iterable[str],
    changed: dict[str, dict[str, str]],
    params: dict[str, Any],
    place: Place,
) -> dict[str, Any]:
    """A page of queues, by name.

    :param made: details of queues that were created.
    :param used: names of queues that jobs are in.
    :param changed: ``state``, ``status`` and ``jobQueueType`` of queues that a test has set, by name.
    """
    shown = {name: queue_detail(name, place) for name in [*used, *changed]}
    shown |= {queue["jobQueueName"]: queue for queue in made}
    rows = [shown[name] | changed.get(name, {}) for name in sorted(shown)]
    wanted = {short_name(name) for name in params.get("jobQueues") or []}
    return _page([row for row in rows if not wanted or row["jobQueueName"] in wanted], params)


def _page(rows: list[dict[str, Any]], params: dict[str, Any]) -> dict[str, Any]:
    size, token = params.get("maxResults") or PAGE, params.get("nextToken") or "0"
    if not 1 <= size <= PAGE or not token.isdigit() or len(params.get("jobQueues") or []) > PAGE:
        raise AwsError("ClientException", f"1 to {PAGE} queues, and a nextToken that was given before.")
    return page("jobQueues", rows, int(token), size)
