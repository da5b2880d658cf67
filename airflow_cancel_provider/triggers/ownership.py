"""Whether the task that waits here is really dead, or its trigger is only being moved.

A triggerer cancels a trigger for many reasons: the task was marked or cleared, the triggerer stops, the
trigger goes to another triggerer (https://github.com/apache/airflow/issues/73454). Only the first may
cancel what the task waits for.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, TypeVar
from uuid import UUID

from airflow.triggers.base import BaseTrigger

from airflow_cancel_provider.engine.recorded import CancelRequest
from airflow_cancel_provider.exceptions import AirflowUnavailable, InvalidInput
from airflow_cancel_provider.hooks.variables import read_release
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import TaskKey
from airflow_cancel_provider.record import RECORD_KEY, TryRecord, TryState
from airflow_cancel_provider.release import Release
from airflow_cancel_provider.triggers.event_loop import AirflowRequests, PerLoop, ask_airflow, in_thread
from airflow_cancel_provider.version_compat import request_xcom

T = TypeVar("T")

HAS_ON_KILL = hasattr(BaseTrigger, "on_kill")
"""From Airflow 3.3 on; before, a trigger is told of a kill by its cancellation alone."""
USER_ACTION = "__airflow_user_action__"

_OVER = frozenset({"success", "failed", "skipped", "upstream_failed", "removed", "up_for_retry"})
_AT_WORK = frozenset({"running", "restarting"})


def may_be_killed(error: asyncio.CancelledError) -> bool:
    """Whether a cancellation may mean that a person ended the task.

    Airflow 3.3 calls ``on_kill`` after it, but cancels again every second, also while it is on its way
    there, and may never arrive. So what is to be done then is done at once. Airflow's message is looked for
    in the errors that this one was raised from, too: who is cancelled in ``sync_to_async``, while its thread
    waits for the triggerer, gets another error, without the message.
    """
    if not HAS_ON_KILL:
        return not is_stopping()
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, asyncio.CancelledError) and cause.args[:1] == (USER_ACTION,):
            return True
        cause = cause.__context__
    return False


def is_stopping() -> bool:
    """Whether the triggerer ends, and nobody reads what Airflow answers any more; from Airflow 3.2 on."""
    task_runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    reader = getattr(getattr(task_runner, "SUPERVISOR_COMMS", None), "_reader_task", None)
    return reader is not None and reader.done()


class Verdict(StrEnum):
    """Who is responsible for what a deferred try has started."""

    LIVES = "lives"
    """Another triggerer or the task's own process; or nobody, as the work is done."""
    DEAD = "dead"
    """Whoever finds that out."""
    UNCLEAR = "unclear"
    """It can't be told yet: it was cleared, or is about to be resumed."""


@dataclass(frozen=True, slots=True)
class DeferredStanding:
    """How a deferred try stands.

    :param is_followed: a next try exists.
    :param kept: jobs that the try has released, or that the next one has taken over.
    :param trouble: why Airflow did not say how it stands.
    """

    verdict: Verdict
    is_followed: bool = False
    kept: frozenset[RemoteJob] = frozenset()
    trouble: str = ""


LIVES, UNCLEAR = DeferredStanding(Verdict.LIVES), DeferredStanding(Verdict.UNCLEAR)


@dataclass(slots=True, eq=False)
class DeferredTry:
    """A try that was deferred, by the names under which Airflow is asked for it.

    :param has_run: the task was seen running while the record was still this try's: a next try deletes the
        record before it runs, so it was resumed.
    :param had_no_record: nothing was on record while no try ran: that there is nothing later tells nothing.
    """

    task: TaskKey
    ti_id: UUID
    has_run: bool = field(default=False, kw_only=True)
    had_no_record: bool = field(default=False, kw_only=True)

    @classmethod
    def of(cls, ti: Any) -> DeferredTry:
        """The try of a trigger's task instance."""
        return cls(TaskKey.of(ti), UUID(str(ti.id)))

    def __str__(self) -> str:
        return str(self.task)


def judged(deferred: DeferredTry, state: str | None, record: TryRecord | None) -> DeferredStanding:
    """How a try stands, from the task's state and the record that is in XCom now.

    The state is that of the task's latest try, which may be another; the record tells whose it is. It is
    kept when a task is marked, cleared or deferred, and deleted when a next try starts.
    """
    if record is not None and record.ti_id == deferred.ti_id:
        # From ``running`` on its own process sees to the jobs, as ``returned`` nobody.
        return _judged_own(deferred, state) if record.state is TryState.DEFERRED else LIVES
    if record is None and state not in _OVER | _AT_WORK:
        # A later try that has no jobs yet, or somebody has tidied XCom up.
        deferred.had_no_record = True
        return UNCLEAR
    if record is None and deferred.had_no_record:
        # It may be this try, which was resumed, or a later one.
        if state in _AT_WORK:
            return UNCLEAR
        if state == "success":
            return LIVES
    taken_over = frozenset(_all_jobs(record) if record is not None else ())
    is_followed = record is not None or state not in _OVER or state == "up_for_retry"
    return DeferredStanding(Verdict.DEAD, is_followed, taken_over)


def _all_jobs(record: TryRecord) -> list[RemoteJob]:
    return [job for one in (record, *record.earlier) for job in one.jobs]


def _judged_own(deferred: DeferredTry, state: str | None) -> DeferredStanding:
    if state == "deferred":
        return LIVES
    if state in _OVER:
        return LIVES if deferred.has_run else DeferredStanding(Verdict.DEAD, state == "up_for_retry")
    deferred.has_run |= state == "running"
    return UNCLEAR


async def ask_first(deferred: DeferredTry) -> DeferredStanding:
    """How a try stands that was told to end: its record is read, whatever its state."""
    try:
        state = await _FirstStates.here().of(deferred)
    except Exception as error:  # noqa: BLE001  whatever it is, it tells nothing of the task
        return DeferredStanding(Verdict.UNCLEAR, trouble=repr(error))
    return await _standing(deferred, state)


async def ask(tries: Sequence[DeferredTry]) -> dict[DeferredTry, DeferredStanding]:
    """How tries of one task stand; where Airflow does not answer it is unclear.

    Airflow is asked once for the states of all of them, and for the record of each whose state tells
    something: not while a task is in the queue.
    """
    try:
        states = await ask_airflow(_states, tries)
    except Exception as error:  # noqa: BLE001  whatever it is, it tells nothing of the tasks
        return dict.fromkeys(tries, DeferredStanding(Verdict.UNCLEAR, trouble=repr(error)))
    return {
        deferred: await _standing(deferred, states[deferred])
        if states[deferred] in _OVER | _AT_WORK | {"deferred"}
        else UNCLEAR
        for deferred in tries
    }


class _FirstStates(PerLoop):
    """The states of tries that were told to end: one request for those of a task that come while it waits."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: dict[tuple[str, str], dict[DeferredTry, asyncio.Future[str | None]]] = {}

    async def of(self, deferred: DeferredTry) -> str | None:
        """The state of a try.

        :raises Exception: Airflow did not answer.
        """
        task = (deferred.task.dag_id, deferred.task.task_id)
        if task not in self._waiting:
            self._waiting[task] = {}
            self.begin(self._ask(task))
        found: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._waiting[task][deferred] = found
        return await found

    async def _ask(self, task: tuple[str, str]) -> None:
        async with AirflowRequests.here().turn():
            waiting = self._waiting.pop(task)
            try:
                states = await in_thread(_states, [*waiting])
            except Exception as error:  # noqa: BLE001  each raises it where it is awaited
                for found in waiting.values():
                    found.set_exception(error)
            else:
                for deferred, found in waiting.items():
                    found.set_result(states[deferred])


async def _standing(deferred: DeferredTry, state: str | None) -> DeferredStanding:
    try:
        return await ask_airflow(_found, deferred, state)
    except Exception as error:  # noqa: BLE001  whatever it is, it tells nothing of the task
        return DeferredStanding(Verdict.UNCLEAR, trouble=repr(error))


def _found(deferred: DeferredTry, state: str | None) -> DeferredStanding:
    """How a try stands, once its record and its release are read."""
    try:
        record = _record(deferred)
    except InvalidInput:
        # Somebody has written over the record: only what the state says can be relied on.
        standing = DeferredStanding(Verdict.DEAD) if state in _OVER else UNCLEAR
    else:
        standing = judged(deferred, state, record)
    return _without_released(deferred, standing) if standing.verdict is Verdict.DEAD else standing


async def undisturbed(work: Awaitable[T]) -> T:
    """Finish ``work`` although the task that awaits it is cancelled again and again.

    Airflow 3.3 cancels a trigger anew at every turn of its loop, about once a second, while it is in
    ``on_kill``; remove this when it cancels once. ``work`` must bound its own time.
    """
    task = asyncio.ensure_future(work)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            continue
    return task.result()


def _states(tries: Sequence[DeferredTry]) -> dict[DeferredTry, str | None]:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    one = tries[0].task
    states = RuntimeTaskInstance.get_task_states(
        dag_id=one.dag_id,
        task_ids=[one.task_id],
        run_ids=list(dict.fromkeys(deferred.task.run_id for deferred in tries)),
        map_index=one.map_index if len(tries) == 1 else None,
    )
    return {deferred: _state_in(states, deferred.task) for deferred in tries}


def state_of(task: TaskKey, ti_id: UUID) -> str | None:
    """The state of a running try; ``removed`` where Airflow has it no more. Asks Airflow.

    ``restarting``: it was cleared while it ran. From Airflow 3.2 on the task instance has a new id then, but
    no next try runs before this one has ended. ``success`` is mostly the try's own: one request less.

    :raises Exception: it does not answer.
    """
    own = DeferredTry(task, ti_id)
    state = _states([own])[own]
    return state if state in ("restarting", "success") or _is_there(ti_id) else "removed"


def _is_there(ti_id: UUID) -> bool:
    """Whether a try is its task instance's present one: the state that Airflow gives may be another's.

    Asked with the one request that names a try by its id and changes nothing; from Airflow 3.2 on.
    """
    from airflow.sdk.exceptions import AirflowRuntimeError
    from airflow.sdk.execution_time import comms, task_runner

    channel: Any = getattr(task_runner, "SUPERVISOR_COMMS", None)
    if not hasattr(channel, "_thread_lock"):
        return True
    try:
        channel.send(comms.ValidateInletsAndOutlets(ti_id=ti_id))
    except AirflowRuntimeError as error:
        if _is_not_found(error.error.detail):
            return False
        raise
    return True


def _is_not_found(detail: dict[str, Any] | None) -> bool:
    """Whether these are the API server's words, and not a proxy's."""
    match detail:
        case {"status_code": 404, "detail": {"detail": {"reason": "not_found"}}}:
            return True
    return False


def _state_in(states: dict[str, Any], task: TaskKey) -> str | None:
    # A mapped task's state comes under "task_id_index".
    name = task.task_id if task.map_index < 0 else f"{task.task_id}_{task.map_index}"
    state = states.get(task.run_id, {}).get(name, "removed")
    return str(state) if state else None


def recorded(task: TaskKey) -> Any:
    """XCom ``remote_jobs`` of a task instance, in which anybody may have written anything; None: nothing."""
    from airflow.sdk.execution_time.xcom import XCom

    return request_xcom(XCom.get_one, asdict(task), key=RECORD_KEY)


def _record(deferred: DeferredTry) -> TryRecord | None:
    found = recorded(deferred.task)
    return TryRecord.from_json(found) if found is not None else None


def _without_released(deferred: DeferredTry, standing: DeferredStanding) -> DeferredStanding:
    """What a try has let go is to live on, also when its record is gone."""
    # A right to let jobs live on that can't be read is no reason to end them.
    try:
        release = read_release(deferred.ti_id)
    except InvalidInput as error:
        raise AirflowUnavailable(f"The release of {deferred} can't be read: {error}") from error
    if release is None:
        return standing
    if release.all:
        return LIVES
    kept = standing.kept.union(release.jobs)
    return DeferredStanding(standing.verdict, standing.is_followed, kept)


def without_released(request: CancelRequest) -> CancelRequest:
    """A request without what its try has released; nothing of it is left where Airflow does not say that."""
    try:
        release = read_release(request.record.ti_id) if request.record else None
    except (AirflowUnavailable, InvalidInput) as error:
        request.log.warning("%s", error)
        release = Release(all=True, is_readable=False)
    return request.heeding(release)
