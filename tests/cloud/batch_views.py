"""How AWS Batch shows its jobs: JobDetail of DescribeJobs and JobSummary of ListJobs."""

from __future__ import annotations

from typing import Any

from tests.cloud.batch_jobs import Job


def millis(at: float | None) -> int | None:
    """Epoch milliseconds, the unit of all times in this service."""
    return None if at is None else int(at * 1000)


def without_none(values: dict[str, Any]) -> dict[str, Any]:
    """Members that have no value are left out of answers."""
    return {key: value for key, value in values.items() if value is not None}


def times(job: Job, now: float) -> dict[str, Any]:
    """createdAt, startedAt and stoppedAt as far as they have come."""
    end = job.end()
    return {
        "createdAt": millis(job.life.created_at),
        "startedAt": None if job.children else millis(job.life.entered("RUNNING", now)),
        "stoppedAt": millis(end.at) if now >= end.at else None,
    }


def array_properties(job: Job, now: float) -> dict[str, Any] | None:
    """Size and counts of a parent, index of a child."""
    if job.children:
        return {"size": len(job.children), "statusSummary": job.summary_of_children(now)}
    return None if job.index is None else {"index": job.index}


def _stream(job: Job, now: float) -> str | None:
    if job.life.entered("RUNNING", now) is None:
        return None
    return f"{job.name}/default/{job.id.replace(':', '-')}"


def container(job: Job, now: float) -> dict[str, Any] | None:
    """The container of a single-container job; other kinds show none."""
    if job.children or job.nodes or {"ecsPropertiesOverride", "eksPropertiesOverride"} & set(job.request):
        return None
    overrides = job.request.get("containerOverrides") or {}
    requirements = overrides.get("resourceRequirements") or [
        {"type": "VCPU", "value": "1"},
        {"type": "MEMORY", "value": "512"},
    ]
    end = job.end()
    exit_code = None
    if now >= end.at and job.life.entered("RUNNING", now) is not None:
        exit_code = 137 if end.cancelled else 0 if end.state == "SUCCEEDED" else 1
    return without_none(
        {
            "image": "public.ecr.aws/amazonlinux/amazonlinux:latest",
            "command": overrides.get("command") or ["true"],
            "environment": overrides.get("environment") or [],
            "resourceRequirements": requirements,
            "logStreamName": _stream(job, now),
            "exitCode": exit_code,
        }
    )


def detail(job: Job, now: float) -> dict[str, Any]:
    """A JobDetail."""
    request = job.request
    shown = without_none(
        {
            "jobArn": job.arn,
            "jobName": job.name,
            "jobId": job.id,
            "jobQueue": request["jobQueue"],
            "jobDefinition": request["jobDefinition"],
            "status": job.state(now),
            "statusReason": job.reason(now) or None,
            "shareIdentifier": request.get("shareIdentifier"),
            "schedulingPriority": request.get("schedulingPriorityOverride"),
            "retryStrategy": request.get("retryStrategy"),
            "timeout": request.get("timeout"),
            "dependsOn": request.get("dependsOn") or [],
            "parameters": request.get("parameters") or {},
            # A child of an array carries no tags of its own.
            "tags": {} if job.parent else request.get("tags") or {},
            "propagateTags": request.get("propagateTags"),
            "container": container(job, now),
            "arrayProperties": array_properties(job, now),
            "isCancelled": job.is_cancelled,
            "isTerminated": job.is_terminated,
            "attempts": [],
            **times(job, now),
        }
    )
    if job.nodes:
        shown["nodeProperties"] = {"numNodes": job.nodes, "mainNode": 0, "nodeRangeProperties": []}
    return shown


def node_detail(job: Job, node: int, now: float) -> dict[str, Any]:
    """A JobDetail of one node: it shares the fate of the whole job."""
    shown = {key: value for key, value in detail(job, now).items() if key not in ("nodeProperties", "tags")}
    node_id = f"{job.id}#{node}"
    return {**shown, "jobId": node_id, "nodeDetails": {"nodeIndex": node, "isMainNode": node == 0}}


def summary(job: Job, now: float) -> dict[str, Any]:
    """A JobSummary. It has no tags, and its flags are there only when they are true."""
    shown = without_none(
        {
            "jobArn": job.arn,
            "jobId": job.id,
            "jobName": job.name,
            "status": job.state(now),
            "statusReason": job.reason(now) or None,
            "shareIdentifier": job.request.get("shareIdentifier"),
            "jobDefinition": job.request["jobDefinition"],
            "arrayProperties": array_properties(job, now),
            "isCancelled": True if job.is_cancelled else None,
            "isTerminated": True if job.is_terminated else None,
            **times(job, now),
        }
    )
    if job.nodes:
        shown["nodeProperties"] = {"isMainNode": False, "numNodes": job.nodes}
    return shown


def node_summary(job: Job, node: int, now: float) -> dict[str, Any]:
    """A JobSummary of one node of a multi-node parallel job."""
    shown = summary(job, now)
    properties = {"isMainNode": node == 0, "numNodes": job.nodes, "nodeIndex": node}
    return {**shown, "jobId": f"{job.id}#{node}", "nodeProperties": properties}
