"""Who cancels later: the trigger, the API server for a mark, and the reaper."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from airflow_cancel_provider.engine.recorded import CancelRequest, cancel_over_connections, cancel_requests
from airflow_cancel_provider.owner import release_key
from airflow_cancel_provider.plugin import api_server
from airflow_cancel_provider.plugin.marked_tries import Mark
from airflow_cancel_provider.reaper.backends import base
from airflow_cancel_provider.reaper.backends.base import Airflow, OwnerState, TryPhase, phase_of
from airflow_cancel_provider.reaper.judge import DecisionKind, Judge
from airflow_cancel_provider.record import TryRecord
from airflow_cancel_provider.release import Release
from airflow_cancel_provider.triggers import ownership
from airflow_cancel_provider.triggers.ownership import DeferredTry, Verdict
from tests.model.open_world import OPEN, QUIET, SERVICE
from tests.model.world import (
    CLOCK,
    DEPLOYMENT,
    STRANGER,
    TASK,
    Trigger,
    World,
    ti_id,
)


def cancel_over(requests: Iterable[CancelRequest]) -> bool:
    """Two rounds of the cancel of what records name; whether nothing is left to do."""
    is_early = any(not job.is_listed for job in OPEN[0].jobs.values())
    with CLOCK.later(1.0 if is_early else 3600.0):
        engine = cancel_over_connections(lambda *_: SERVICE, requests, DEPLOYMENT, call_seconds=1)
        engine.step()
        engine.step()
        return engine.is_done


def standing_of(world: World, trigger: Trigger) -> tuple[Any, Trigger]:
    """How a deferred try stands, and what is remembered of it."""
    deferred = DeferredTry(TASK, ti_id(trigger.number))
    deferred.has_run, deferred.had_no_record = trigger.has_run, trigger.had_no_record
    state = "removed" if world.is_deleted else world.row.state
    try:
        standing = ownership._found(deferred, state)
    except Exception:  # noqa: BLE001  as _standing() does
        standing = ownership.UNCLEAR
    return standing, trigger._replace(has_run=deferred.has_run, had_no_record=deferred.had_no_record)


def settle_trigger(world: World, trigger: Trigger) -> bool:
    """Whether a trigger that was told to end has done what there is to do; as ``KilledTrigger``."""
    standing, _ = standing_of(world, trigger)
    if standing.verdict is not Verdict.DEAD:
        return True
    requests = [
        ownership.without_released(each)
        if each.record and each.record.ti_id != ti_id(trigger.number)
        else each
        for each in cancel_requests(TryRecord.from_json(json.loads(trigger.record)), "model", QUIET, TASK)
    ]
    return cancel_over(each.without(standing.kept, is_followed=standing.is_followed) for each in requests)


def settle_mark(world: World, number: int) -> bool:
    """Whether the API server has done what a mark asks for."""
    if world.is_deleted:
        return True
    marks = [Mark(TASK, ti_id(number), world.rows[number].state or "failed")]
    return cancel_over([request for _, request in api_server._requests(marks)])


def answers_of(ti_ids: Collection[UUID]) -> dict[UUID, OwnerState]:
    """How tries stand in Airflow's database."""
    return {each: _answer(each) for each in ti_ids}


def _answer(id: UUID) -> OwnerState:
    world = OPEN[0]
    release = release_of(id)
    number = next((n for n in range(-1, len(world.rows)) if ti_id(n) == id), None)
    if number == STRANGER:
        return OwnerState(TryPhase.ALIVE)
    if number is None or world.is_deleted:
        return OwnerState(TryPhase.DELETED, release=release)
    row = world.rows[number]
    if not row.is_archived:
        return OwnerState(phase_of(row.state), release=release)
    return OwnerState(base.phase_of_replaced(row.state), phase_of(world.row.state), release=release)


class Answers(Airflow):
    """Airflow's answers in the world."""

    def owners(self, ti_ids: Collection[UUID]) -> Mapping[UUID, OwnerState]:
        return answers_of(ti_ids)

    def releases(self, most: int) -> Mapping[str, str | None]:
        return {}

    def variable(self, key: str) -> str | None:
        return None

    def set_variable(self, key: str, value: str | None) -> None:
        raise AssertionError

    def write_ends(self, *_: Any) -> None:
        raise AssertionError


def release_of(ti: UUID) -> Release | None:
    text = dict(OPEN[0].variables).get(release_key(ti))
    return Release.parse(text) if text is not None else None


JUDGE = Judge(Answers(), DEPLOYMENT, timedelta(0), {})


def first_check() -> tuple[str, ...]:
    """Jobs that a sweep suspects."""
    found = JUDGE.decide(list(SERVICE.claims("queue")))
    return tuple(each.job.id for each in found if each.decision.kind is DecisionKind.SUSPECT)


def second_check(suspects: Collection[str]) -> None:
    """Have those cancelled that a second check finds to be orphans, too."""
    before = [each for each in JUDGE.decide(list(SERVICE.claims("queue"))) if each.job.id in suspects]
    again = JUDGE.decide_again(before, SERVICE.describe([each.job for each in before]))
    if orphans := [each.job for each in again if each.decision.kind is DecisionKind.ORPHAN]:
        SERVICE.cancel(orphans, "reaper")
