"""Quotas and page sizes as AWS publishes them, for an account in a region.

Written down here on their own, and not read from the package: a wrong figure there is to be throttled here.
"""

from __future__ import annotations

TOGETHER = "*"
"""Stands for all operations of a service: their calls share this quota, beside the one of their own."""

QUOTAS: dict[str, dict[str, tuple[int, float]]] = {
    # https://docs.aws.amazon.com/general/latest/gr/emr.html
    "emr": {
        "ListClusters": (20, 0.5),
        "ListSteps": (10, 0.5),
        "DescribeStep": (10, 0.5),
        "DescribeCluster": (10, 1.0),
        "CancelSteps": (10, 0.5),
        TOGETHER: (25, 5.0),
    },
    # https://docs.aws.amazon.com/batch/latest/userguide/service_limits.html
    "batch": {TOGETHER: (50, 50.0)},
    # https://docs.aws.amazon.com/emr/latest/EMR-Serverless-UserGuide/endpoints-quotas.html
    "emr-serverless": {
        "ListJobRuns": (25, 1.0),
        "CancelJobRun": (25, 1.0),
        "GetJobRun": (50, 10.0),
        "GetApplication": (50, 10.0),
        "ListApplications": (50, 10.0),
    },
}
"""By service and operation: calls at once, and calls a second in the long run."""

CLUSTERS_PER_PAGE = 50
STEPS_PER_PAGE = 50
STEPS_PER_LOOKUP = 10
STEPS_PER_CANCEL = 256
STEPS_PER_CLUSTER = 256
"""Steps that may live in a cluster at a time."""
QUEUES_PER_PAGE = 100
JOBS_PER_PAGE = 1000
JOBS_PER_LOOKUP = 100
JOBS_PER_CANCEL = 50
APPLICATIONS_PER_PAGE = 50
RUNS_PER_PAGE = 50
