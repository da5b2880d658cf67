"""Faults in the package that the model has to find: each takes away one thing that the promises rest on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

from airflow_cancel_provider.engine import recorded
from airflow_cancel_provider.engine.cancel import CancelEngine
from airflow_cancel_provider.engine.label_search import LabelSearch
from airflow_cancel_provider.guard import inherited
from airflow_cancel_provider.guard.at_end import AtEnd
from airflow_cancel_provider.guard.cancel_loop import LedgerClaimant
from airflow_cancel_provider.guard.canceller import Canceller
from airflow_cancel_provider.guard.ledger import TryLedger
from airflow_cancel_provider.guard.recorder import TryRecorder
from airflow_cancel_provider.guard.releases import Releases
from airflow_cancel_provider.guard.retries import Tries
from airflow_cancel_provider.guard.sentinel import main
from airflow_cancel_provider.guard.store import RecordStore
from airflow_cancel_provider.guard.task import TaskGuard
from airflow_cancel_provider.plugin import marked_tries
from airflow_cancel_provider.reaper import judge
from airflow_cancel_provider.reaper.backends import base
from airflow_cancel_provider.reaper.backends.base import TryPhase
from airflow_cancel_provider.record import TryRecord, TryState
from airflow_cancel_provider.release import Release
from airflow_cancel_provider.triggers import ownership
from airflow_cancel_provider.triggers.ownership import DeferredStanding, Verdict
from tests.model import guards, sentinels
from tests.model.guards import Rules

LAYERS = Rules(has_reaper=False)
REAPER = Rules()
RETRIES = Rules(has_reaper=False, max_tries=1)
RETRIES_AND_REAPER = Rules(max_tries=1)
KEPT = Rules(max_tries=1, goes_on=True)


@dataclass(frozen=True)
class Mutant:
    """A fault.

    :param what: what the package does with it, in words.
    :param target: what is replaced, as an object and a name. An attribute of instances is none of its class.
    :param rules: in which exploration it shows.
    """

    what: str
    target: Any
    name: str
    change: Callable[[Any], Any]
    rules: Rules
    faults: int = 1
    doubled_by: str = ""
    """What does the same beside it, so that it does not show; empty where it has to be found."""

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Have the fault in the package."""
        is_of_instances = self.name == "is_armed"
        changed = self.change(getattr(self.target, self.name, None))
        with mock.patch.object(self.target, self.name, changed, create=is_of_instances):
            sentinels.watched.cache_clear()
            sentinels.ledger_of.cache_clear()
            guards.guard_of.cache_clear()
            yield
        for cache in (sentinels.watched, sentinels.ledger_of, guards.guard_of):
            cache.cache_clear()


def always(value: Any) -> Callable[[Any], Any]:
    """A function that gives this value, whatever it is called with."""
    return lambda _: lambda *_, **__: value


def constant(value: Any) -> Callable[[Any], Any]:
    return lambda _: value


def prop(value: Any) -> Callable[[Any], Any]:
    return lambda _: property(lambda _: value)


def _no_phase(phase: TryPhase) -> Callable[[Any], Any]:
    """The judge takes tries of this phase for failed ones."""

    def change(original: Any) -> Any:
        def decide(case: Any) -> Any:
            if case.owner is not None and case.owner.phase is phase:
                case = replace(case, owner=replace(case.owner, phase=TryPhase.FAILED))
            return original(case)

        return decide

    return change


def _judged(change: Callable[[Any, Any, Any], DeferredStanding | None]) -> Callable[[Any], Any]:
    """A deferred try stands otherwise than it does."""

    def changed(original: Any) -> Any:
        def judged(deferred: Any, state: Any, record: Any) -> Any:
            return change(deferred, state, record) or original(deferred, state, record)

        return judged

    return changed


def _is_own(deferred: Any, record: Any) -> bool:
    return record is not None and record.ti_id == deferred.ti_id


DEAD = DeferredStanding(Verdict.DEAD)


def _closed_anyway(_: Any) -> Any:
    def answered(self: TryLedger, token: str) -> None:
        self._intents.pop(token, None)

    return answered


def _added_anyway(_: Any) -> Any:
    def release(self: TryLedger, event: Any) -> None:
        for named in event.jobs:
            self._released[named.identity] = named

    return release


def _as_running(original: Any) -> Any:
    def flush(self: RecordStore, state: TryState | None = None) -> None:
        original(self, TryState.RUNNING if state is TryState.RETURNED else state)

    return flush


def _cancel_of_failing_task(original: Any) -> Any:
    """Cancels only where no signal handler asks."""

    def cancel(self: Any, why: str) -> None:
        if sys._getframe(1).f_code is not TaskGuard._on_sigterm.__code__:
            original(self, why)

    return cancel


def _without_object(_: Any) -> Any:
    def claims(_: LedgerClaimant, known: Any) -> Any:
        from airflow_cancel_provider.engine.cancel import Claim

        return Claim(None, known.at, is_by_submitter=known.ti_id is None)

    return claims


MUTANTS = (
    Mutant(
        "the reaper does not see that a try is alive",
        judge,
        "_kept_for_its_try",
        _no_phase(TryPhase.ALIVE),
        REAPER,
        0,
    ),
    Mutant(
        "the reaper does not see success", judge, "_kept_for_its_try", _no_phase(TryPhase.SUCCEEDED), REAPER
    ),
    Mutant(
        "the reaper takes an archived try by its last state",
        base,
        "phase_of_replaced",
        always(TryPhase.ALIVE),
        RETRIES_AND_REAPER,
    ),
    Mutant(
        "the reaper keeps every job",
        judge,
        "_kept_unasked",
        always(judge.Decision(judge.DecisionKind.UNKNOWN, "")),
        REAPER,
    ),
    Mutant(
        "the reaper cancels what the next try goes on with",
        judge,
        "_kept_for_the_next_try",
        always(None),
        KEPT,
        0,
    ),
    Mutant("a release covers nothing", Release, "covers", always(False), REAPER),
    Mutant("a release covers everything", Release, "covers", always(True), Rules(jobs=2)),
    Mutant("success is not written down", Releases, "succeeded", always(None), REAPER),
    Mutant("a release is not written down", Releases, "hear", always(None), REAPER),
    Mutant(
        "a lost attempt is forgotten once another is answered", TryLedger, "_answered", _closed_anyway, LAYERS
    ),
    Mutant("a released job stays in the ledger", TryLedger, "_release", _added_anyway, LAYERS),
    Mutant("a job that ends is taken for one that lives", TryLedger, "is_settled", prop(True), LAYERS, 0),
    Mutant("a ledger is always taken for empty", TryLedger, "is_empty", prop(True), LAYERS),
    Mutant("nothing is searched by label", LabelSearch, "update", always(None), LAYERS),
    Mutant("a search is over at once", LabelSearch, "_is_over", always(True), LAYERS),
    Mutant("labels on jobs are not read", TryRecord, "foreign", always(None), LAYERS),
    Mutant(
        "what is only on record is cancelled without being described",
        LedgerClaimant,
        "_claim",
        _without_object,
        LAYERS,
    ),
    Mutant("the engine never asks", CancelEngine, "_send", always(None), LAYERS, 0),
    Mutant(
        "a request without an answer is not repeated",
        CancelEngine,
        "_is_unanswered",
        always(False),
        LAYERS,
        doubled_by="the cancel asks again by itself where a request was not answered",
    ),
    Mutant("the sentinel is not disarmed by a success", main, "RETURNED", constant(b"?"), LAYERS),
    Mutant(
        "the sentinel does not act when the task dies",
        main.TaskWatch,
        "is_armed",
        lambda _: Disarmed(),
        LAYERS,
    ),
    Mutant(
        "the sentinel is not told that its work is done",
        Canceller,
        "done",
        always(None),
        LAYERS,
        0,
        doubled_by="it was told before that the task has returned",
    ),
    Mutant(
        "the sentinel is not told that the task has returned", Canceller, "returned", always(None), LAYERS
    ),
    Mutant(
        "the sentinel is not told to cancel on SIGTERM",
        Canceller,
        "cancel",
        _cancel_of_failing_task,
        LAYERS,
        doubled_by="the task's own end tells it",
    ),
    Mutant("the sentinel hears of no job", Canceller, "hear", always(None), LAYERS),
    Mutant("a crash of a try is an end although the next goes on", Tries, "is_followed", prop(False), KEPT),
    Mutant(
        "a killed task may submit",
        TryRecorder,
        "_refuse_after_end",
        always(None),
        LAYERS,
        doubled_by="what it submits is cancelled with the rest",
    ),
    Mutant("a task that fails leaves its jobs", AtEnd, "cancel", always(None), RETRIES, 0),
    Mutant(
        "a deferred task has no guard",
        AtEnd,
        "defer",
        lambda _: lambda self, _: self.hand_over(TryState.DEFERRED),
        LAYERS,
    ),
    Mutant(
        "the record is not marked as the trigger's",
        TryRecord,
        "as_json",
        lambda original: lambda self: original(self) | {"state": "running"},
        LAYERS,
    ),
    Mutant("a resumed task does not take its jobs back", inherited, "take_over", always(None), LAYERS, 0),
    Mutant(
        "what earlier tries left is not looked at",
        RecordStore,
        "of_earlier",
        always(None),
        RETRIES,
        2,
        doubled_by="the layers of the try that left it come first",
    ),
    Mutant(
        "a try that has returned is on record as running",
        RecordStore,
        "flush",
        _as_running,
        RETRIES,
        2,
        doubled_by="its record is deleted from the task state store, too",
    ),
    Mutant(
        "a moved trigger is taken for a dead task",
        ownership,
        "judged",
        _judged(lambda d, s, r: DEAD if s == "deferred" and _is_own(d, r) else None),
        LAYERS,
    ),
    Mutant(
        "a late kill of a resumed task's trigger cancels",
        ownership,
        "judged",
        _judged(lambda d, _, r: DEAD if _is_own(d, r) and r.state is TryState.RUNNING else None),
        LAYERS,
    ),
    Mutant(
        "a cleared deferred task is taken for alive",
        ownership,
        "judged",
        _judged(lambda d, _, r: ownership.LIVES if not _is_own(d, r) else None),
        LAYERS,
    ),
    Mutant(
        "a marked deferred task is taken for alive",
        ownership,
        "_judged_own",
        always(ownership.LIVES),
        Rules(has_reaper=False),
        doubled_by="the API server sees to the mark",
    ),
    Mutant(
        "triggers do not heed releases",
        ownership,
        "_without_released",
        lambda _: lambda _, standing: standing,
        LAYERS,
        2,
        doubled_by="what was released is on no record",
    ),
    Mutant(
        "the API server does not see to marks",
        marked_tries,
        "left_records",
        always(()),
        Rules(has_reaper=False, has_triggerer=False),
    ),
    Mutant("whoever acts on a record cancels nothing", recorded.RecordClaimant, "claims", always({}), LAYERS),
)


class Disarmed:
    """An attribute that is always false."""

    def __get__(self, *_: object) -> bool:
        return False

    def __set__(self, *_: object) -> None:
        pass
