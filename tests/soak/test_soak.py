"""The soak and the thirty: their plans depend on nothing but a seed, and their judge sees what went wrong."""

from __future__ import annotations

from typing import Any

import pytest

from tests.matrix.scenario import MODES, SERVICES
from tests.matrix.thirty import MANY, choose
from tests.soak.disturbances import FAULTS, Trouble
from tests.soak.judge import Fate, Verdict, judge
from tests.soak.kinds import KINDS
from tests.soak.plan import CLOUD, COMPONENTS, Task, make_plan
from tests.soak.record import Cause, Record, Try
from tests.soak.traces import requested

TASK = Task(4, 0.0, "SIGKILL of the task", "emr", "sync", "", 0.0, "", "poll", 1, "", "success")
STARTED, STRUCK, ASKED, OVER = 100.0, 110.0, 112.0, 120.0


def job(**truth: Any) -> dict[str, Any]:
    alive = {"created_at": STARTED, "cancel_requested_at": None, "ended_at": None}
    return {"id": "s-1", "service": "emr", "scope": "j-1", **alive, **truth}


def cancelled(at: float = ASKED) -> dict[str, Any]:
    return job(cancel_requested_at=at, ended_at=at + 1)


def record(*states: str, struck: bool = True, **more: Any) -> Record:
    """A task with a try of ten seconds for each state; the job is of the first."""
    tries = [Try(n + 1, state, 99.0 + 10 * n, 109.0 + 10 * n) for n, state in enumerate(states)]
    if len(tries) == 1:
        tries[0].end = OVER
    there = Record(TASK, scope="j-1", leased=98.0, tries=tries, **more)
    if struck:
        there.strikes.append(STRUCK)
        there.causes.append(Cause("fault", STRUCK))
    return there


def verdict(truth: dict[str, Any], *records: Record, **others: Any) -> Verdict:
    (only,) = judge([truth], records, others.get("troubles", ()), others.get("company", {}))
    return only


def test_a_job_of_a_struck_task_is_cancelled() -> None:
    found = verdict(cancelled(), record("failed"))
    assert (found.fate, found.seconds, found.is_calm) == (Fate.CANCELLED, 2.0, True)


@pytest.mark.parametrize("state", ["failed", "skipped", "up_for_retry", "deleted"])
def test_a_job_that_lives_on_is_an_orphan(state: str) -> None:
    there = record(state, "success")
    assert verdict(job(), there).fate is Fate.ORPHAN


def test_a_job_that_does_not_end_is_an_orphan_though_it_was_asked_to() -> None:
    assert verdict(job(cancel_requested_at=ASKED), record("failed")).fate is Fate.ORPHAN


@pytest.mark.parametrize("state", ["success", "running", "deferred", "up_for_retry"])
def test_a_job_whose_task_succeeded_or_lives_is_left_alone(state: str) -> None:
    assert verdict(job(), record(state)).fate is Fate.KEPT
    assert verdict(cancelled(), record(state)).fate is Fate.WRONG


def test_a_mark_as_success_is_a_kill() -> None:
    there = record("success", is_marked_success=True)
    assert verdict(cancelled(), there).fate is Fate.CANCELLED
    assert verdict(job(), there).fate is Fate.ORPHAN


def test_a_cancel_before_the_fault_is_wrong_though_the_task_failed_then() -> None:
    assert verdict(cancelled(at=105.0), record("failed")).fate is Fate.WRONG
    assert verdict(cancelled(at=105.0), record("failed", struck=False)).fate is Fate.WRONG
    assert verdict(cancelled(at=OVER), record("failed", struck=False)).fate is Fate.CANCELLED


def test_a_fault_of_an_earlier_try_explains_nothing() -> None:
    there = record("failed", "failed", struck=False)
    there.causes.append(Cause("fault", 101.0, 101.0))
    second = job(created_at=112.0, cancel_requested_at=114.0, ended_at=115.0)
    assert verdict(second, there).fate is Fate.WRONG


def test_trouble_of_its_service_explains_an_error_and_the_triggerer_does_not() -> None:
    there = record("failed", struck=False)
    outage = Trouble("outage", "emr", 103.0, 140.0)
    assert verdict(cancelled(), there, troubles=[outage]).fate is Fate.CANCELLED
    elsewhere = Trouble("outage", "batch", 103.0, 140.0)
    assert verdict(cancelled(), there, troubles=[elsewhere]).fate is Fate.WRONG
    triggerer = Trouble("triggerer killed", "", 103.0, 140.0)
    assert verdict(cancelled(), there, troubles=[triggerer]).fate is Fate.WRONG


def test_seconds_in_troubled_times_are_told_apart() -> None:
    trouble = Trouble("triggerer killed", "", 103.0, 140.0)
    assert not verdict(cancelled(), record("failed"), troubles=[trouble]).is_calm


@pytest.mark.parametrize("whose", ["by hand", "foreign"])
def test_jobs_of_others_are_left_alone(whose: str) -> None:
    company = {"s-1": whose}
    assert verdict(job(), company=company).fate is Fate.KEPT
    assert verdict(cancelled(), company=company).fate is Fate.WRONG


def test_a_job_is_of_the_task_that_had_its_place_when_it_was_started() -> None:
    first, second = record("failed"), record("success")
    second.leased = 101.0
    assert verdict(cancelled(), second, first).fate is Fate.CANCELLED
    assert verdict(job(created_at=102.0), first, second).fate is Fate.KEPT
    assert verdict(job(scope="j-2"), first, second).whose == "nobody's"


def test_a_living_job_that_nobody_knows_is_an_orphan() -> None:
    assert verdict(job()).fate is Fate.ORPHAN


def test_a_plan_depends_on_its_seed_alone() -> None:
    assert make_plan(7, 30) == make_plan(7, 30)
    assert make_plan(7, 30).tasks != make_plan(8, 30).tasks
    assert str(make_plan(7, 2)) == str(make_plan(7, 2))


def test_a_longer_plan_begins_as_a_shorter_one() -> None:
    short, long = make_plan(7, 2), make_plan(7, 30)
    assert long.tasks[: len(short.tasks)] == short.tasks
    assert long.disturbances[: len(short.disturbances)] == short.disturbances


def test_half_an_hour_has_hundreds_of_tasks_and_everything_happens() -> None:
    plan = make_plan(7, 30)
    assert len(plan.tasks) > 300
    assert {task.kind for task in plan.tasks} == set(KINDS)
    assert {each.what for each in plan.disturbances} == {*COMPONENTS, *CLOUD}
    assert set(FAULTS) == set(CLOUD)


def test_the_thirty_are_different_and_of_all_services_and_modes() -> None:
    cells = choose()
    assert len({cell.name for cell in cells}) == len(cells) == MANY
    assert len({(cell.service, cell.mode) for cell in cells}) == len(SERVICES) * len(MODES)


def test_logs_tell_who_asked() -> None:
    lines = [
        "2026 INFO 1 emr://aws_default@us-east-1/j-1/s-1: REQUESTED",
        "2026 INFO 1 emr://aws_default@us-east-1/j-1/s-2: ALREADY_ENDED: it is FAILED",
        "  ORPHAN batch://aws_default@us-east-1/b-1 'job af-1', submitted 2026-01-01: it is failed: ended",
        "  ORPHAN batch://aws_default@us-east-1/b-2: its task is deleted: refused [no]",
    ]
    assert list(requested(lines)) == ["s-1", "b-1"]
