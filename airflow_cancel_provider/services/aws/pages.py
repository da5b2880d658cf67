"""Jobs that are picked from the pages of a listing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice

from airflow_cancel_provider.jobs import JobStatus, RemoteJob


def pick(wanted: Sequence[RemoteJob], pages: Iterable[Iterable[JobStatus]]) -> dict[RemoteJob, JobStatus]:
    """Statuses of the wanted jobs of one scope, reading no page more than it takes to find them all.

    Jobs are found by id: an address without a region is as good as the full one.
    """
    missing, found = {job.id for job in wanted}, dict[str, JobStatus]()
    for page in pages:
        # Of a job that is shown twice, in doubt it lives.
        for status in sorted(page, key=lambda status: status.state.is_terminal):
            if status.job.id in missing:
                missing.remove(status.job.id)
                found[status.job.id] = status
        if not missing:
            break
    return {job: replace(found[job.id], job=job) for job in wanted if job.id in found}


def pick_listed(
    wanted: Sequence[RemoteJob],
    live: Iterable[list[JobStatus]],
    recent: Iterable[list[JobStatus]],
    page_size: int,
) -> dict[RemoteJob, JobStatus]:
    """As :func:`pick`, for many jobs: those that are live, then those that ended lately.

    :param recent: pages of all jobs, newest first: most jobs that are not live ended a moment ago.
    """
    found = pick(wanted, live)
    missing = [job for job in wanted if job not in found]
    pages = len(missing) // page_size + 1
    # A single one takes no more calls by its id.
    return found | (pick(missing, islice(recent, pages + 1)) if len(missing) > pages else {})
