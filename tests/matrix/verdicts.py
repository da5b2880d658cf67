"""What became of a victim's jobs, by the truth of the cloud."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.matrix.scenario import Expected, Result, Verdict
from tests.matrix.victim import Victim

WATCHED_SECONDS = 10.0
"""For how long jobs that are to be left alone are looked at."""
ENDING_SECONDS = 8.0
"""What a job may take to end after the request."""
STEP = 0.2
PATIENCE = 90.0
"""What Airflow may take to start a task again whose deferral is over."""
ON_ITS_WAY = ("deferred", "scheduled", "queued")


def observe(victim: Victim) -> Result:
    """Look on until it is clear what becomes of the jobs."""
    alone = victim.scenario.expected is Expected.LEFT_ALONE
    if victim.scenario.resumes:
        _wait_for_worker(victim)
    begun = max(victim.strikes)
    limit = WATCHED_SECONDS if alone else victim.scenario.within
    deadline = (max(begun, time.time()) if alone or victim.scenario.resumes else begun) + limit
    while time.time() < deadline and (alone or not _is_settled(victim)):
        if _touched(victim):
            break
        time.sleep(STEP)
    if not alone:
        _let_end(victim)
    return judge(victim)


def _wait_for_worker(victim: Victim) -> None:
    """Wait until each task has left its trigger and got a worker, or its jobs are asked to end."""
    deadline = time.time() + PATIENCE
    while time.time() < deadline and not _is_settled(victim):
        if not any(victim.task(run)["state"] in ON_ITS_WAY for run in victim.runs):
            return
        time.sleep(1)


def judge(victim: Victim) -> Result:
    """The verdict as things stand."""
    doomed = _doomed(victim)
    if wrong := _touched(victim):
        return Result(victim.cell, Verdict.WRONG_CANCEL, note=_names(wrong))
    if victim.scenario.expected is Expected.LEFT_ALONE:
        return Result(victim.cell, Verdict.OK)
    left = [job for job in doomed if not (job["cancelled"] and job["ended_at"])]
    if not doomed:
        return Result(victim.cell, Verdict.ERROR, note="no job was there to be cancelled")
    if left:
        return _left_over(victim, left)
    return Result(victim.cell, Verdict.OK, max(_seconds(victim, job) for job in doomed))


def _left_over(victim: Victim, left: list[dict[str, Any]]) -> Result:
    if victim.scenario.expected is Expected.REAPER:
        return Result(victim.cell, Verdict.REAPER, note=_names(left))
    verdict = Verdict.GOES_ON if _lives(victim) else Verdict.ORPHAN
    return Result(victim.cell, verdict, note=_names(left))


def _doomed(victim: Victim) -> list[dict[str, Any]]:
    """Jobs that a task has left behind which did not succeed."""
    if victim.scenario.expected is Expected.LEFT_ALONE:
        return []
    return [job for job in victim.own_jobs() if job["created_at"] < max(victim.strikes)]


def _touched(victim: Victim) -> list[dict[str, Any]]:
    """Jobs that somebody asked to end who should not have."""
    doomed = {job["id"] for job in _doomed(victim)}
    return [job for job in victim.jobs() if job["cancel_requested_at"] and job["id"] not in doomed]


def _is_settled(victim: Victim) -> bool:
    doomed = _doomed(victim)
    return bool(doomed) and all(job["cancel_requested_at"] for job in doomed)


def _let_end(victim: Victim) -> None:
    """Give what was asked to end the time for it, and the wrong cancels time to come."""
    deadline = time.time() + ENDING_SECONDS
    while time.time() < deadline:
        asked = [job for job in _doomed(victim) if job["cancel_requested_at"]]
        if all(job["ended_at"] for job in asked) and time.time() > deadline - ENDING_SECONDS + 3:
            return
        time.sleep(STEP)


def _seconds(victim: Victim, job: dict[str, Any]) -> float:
    """From the fault that killed this job's task to the request."""
    strike = min(at for at in victim.strikes if at > job["created_at"])
    return max(0.0, float(job["cancel_requested_at"]) - strike)


def _lives(victim: Victim) -> bool:
    """Whether the struck task is still there: the fault did not end it."""
    for run, before in zip(victim.runs, victim.tasks, strict=False):
        try:
            task = victim.task(run)
        except RuntimeError:
            return False
        same = task["try_number"] == before["try_number"] and task["state"] == before["state"]
        if same and (task["state"] == "deferred" or _is_running(task["pid"])):
            return True
    return False


def _is_running(pid: int | None) -> bool:
    return pid is not None and Path(f"/proc/{pid}").exists()


def _names(jobs: list[dict[str, Any]]) -> str:
    return ", ".join(f"{job['id']} is {job['state']}" for job in jobs)
