"""What every terminal-state sensor does."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_cancel_provider.exceptions import CancelProviderError, InvalidInput
from airflow_cancel_provider.jobs import JobState
from airflow_cancel_provider.links.console import remote_job_links
from airflow_cancel_provider.mixins.deferral import DefersWait
from airflow_cancel_provider.mixins.on_kill import CancelsWhenKilled
from airflow_cancel_provider.mixins.targets import DEFERRABLE, Targets, listed
from airflow_cancel_provider.owner import TaskKey
from airflow_cancel_provider.record import TryState
from airflow_cancel_provider.services.submissions import current_recorder
from airflow_cancel_provider.version_compat import (
    AirflowException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
    Context,
    PokeReturnValue,
    TaskDeferralError,
)
from airflow_cancel_provider.watch import ENDS, Watch, poll

if TYPE_CHECKING:
    from airflow_cancel_provider.services.pool import ServicePool


class RemoteJobsTerminalSensor(DefersWait, CancelsWhenKilled, Targets, BaseSensorOperator):
    """Wait until every job has ended, with as few calls as the service allows.

    By default the sensor succeeds for every final state, and returns the states. A job that the service does
    not show may have been submitted a moment ago: it is looked for a minute before it counts as ``GONE``.

    :param target_states: states to wait for (``SUCCEEDED``, ``FAILED``, ``CANCELLED``, ``GONE``, but also
        ``RUNNING`` …); a job that ends in another fails the sensor, with the service's reason.
    :param deferrable: wait in the triggerer, polling every ``poke_interval`` seconds.
    :param cancel_on_kill: cancel the jobs when the sensor is told to end or times out, and after SIGKILL,
        unless a retry goes on with the wait. Without it a killed sensor leaves them alone. In ``reschedule``
        mode no process is there to cancel between two pokes, nor after SIGKILL.
    :return: state of each job by its address.
    :raises UnexpectedEnd: a job ended in a state that is not a target.
    :raises InvalidInput: a parameter is unusable; nothing was sent.
    """

    common_fields = ("remote_jobs", "target_states")
    flags: ClassVar[tuple[str, ...]] = ("deferrable", "cancel_on_kill")
    operator_extra_links = remote_job_links()
    ui_color = "#d9e7f7"

    def __init__(
        self,
        *,
        target_states: str | Collection[str] = ENDS,
        deferrable: bool = DEFERRABLE,
        cancel_on_kill: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.target_states = target_states
        self.deferrable = deferrable
        self.cancel_on_kill = cancel_on_kill
        self._pool: ServicePool | None = None
        self._watch: Watch | None = None

    def execute(self, context: Context) -> Any:
        """Poke, or defer."""
        pool, watch = self._begin(context)
        if not self.may_defer():
            try:
                with self._cancelled_if_killed(context, pool):
                    states = super().execute(context)
            except (AirflowSensorTimeout, AirflowSkipException) as end:
                self._cancel_on_timeout(end)
                raise
            self._release(context)
            return states
        with self._never_failing():
            return self._poll_or_defer(context, pool, watch)

    def _cancelled_if_killed(self, context: Context, pool: ServicePool) -> AbstractContextManager[None]:
        """Have the sentinel cancel the jobs after SIGKILL, unless a retry goes on with the wait."""
        ti: Any = context["ti"]
        recorder = current_recorder() if self.cancel_on_kill and self.is_the_task else None
        if recorder is None or self.reschedule or ti.try_number <= ti.max_tries:
            return nullcontext()
        groups, _ = pool.by_service(self.jobs)
        return recorder.if_killed([(service.spec, jobs) for service, jobs in groups])

    def _poll_or_defer(self, context: Context, pool: ServicePool, watch: Watch) -> dict[str, str]:
        poll(watch, pool, self.log)
        if not watch.is_decided:
            if self.cancel_on_kill:
                self.keep_record(context, TryState.DEFERRED)
            reason = self._reason(context) if self.cancel_on_kill else None
            timeout = timedelta(seconds=self.timeout)
            self.defer_wait(watch, self.poke_interval, None, timeout=timeout, cancel_reason=reason)
        return self.finish(context, watch)

    def finish(self, context: Context, watch: Watch) -> dict[str, str]:
        """States of the jobs, by address."""
        return watch.verdict()

    def poke(self, context: Context) -> PokeReturnValue:
        """Poll once."""
        pool, watch = self._begin(context)
        poll(watch, pool, self.log)
        if not watch.is_decided:
            return PokeReturnValue(is_done=False)
        return PokeReturnValue(is_done=True, xcom_value=watch.verdict())

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Take over from the trigger, or fail because it timed out."""
        if self.cancel_on_kill:
            self.keep_record(context, TryState.RUNNING)
        try:
            with self._never_failing(), self._skipping():
                states = super().resume_execution(next_method, next_kwargs, context)
                self._release(context)
                return states
        except (AirflowSensorTimeout, AirflowSkipException) as end:
            if self.cancel_on_kill:
                self._begin(context)
                self._cancel_on_timeout(end)
            raise

    @contextmanager
    def _skipping(self) -> Iterator[None]:
        """Skip instead of failing after a deferral, as Airflow 3.1.8 and later do.

        Earlier ones let a timeout fail with ``soft_fail``, and anything with ``never_fail``.
        """
        try:
            yield
        except AirflowSkipException:
            raise
        except (AirflowException, TaskDeferralError) as error:
            for switch in ("soft_fail", "never_fail"):
                if getattr(self, switch):
                    raise AirflowSkipException(f"Skipping due to {switch} is set to True.") from error
            raise

    def _release(self, context: Context) -> None:
        """Leave the jobs alone: the wait is over."""
        if self.cancel_on_kill:
            self.keep_record(context, TryState.RETURNED)
        self.disarm()

    @contextmanager
    def _never_failing(self) -> Iterator[None]:
        """Skip instead of failing with ``never_fail``, which Airflow handles only while poking."""
        try:
            yield
        except CancelProviderError as error:
            if self.never_fail:
                raise AirflowSkipException("Skipping due to never_fail is set to True.") from error
            raise

    def _begin(self, context: Context) -> tuple[ServicePool, Watch]:
        if self._pool is None or self._watch is None:
            pool = self.access().pool()
            self.jobs = self.named_jobs(pool)
            self._pool = pool
            self._watch = Watch(self.jobs, self._targets(), since=self._begun_at(context))
            if self.cancel_on_kill:
                self.arm(context, pool, self.jobs, self._reason(context))
        return self._pool, self._watch

    def _begun_at(self, context: Context) -> float | None:
        """When the first poke was, in epoch seconds, if each poke has a process of its own."""
        if not self.reschedule:
            return None
        ti: Any = context["ti"]
        first = ti.get_first_reschedule_date(context)
        return first.timestamp() if first else None

    def check_literals(self) -> None:
        """Check what is known when the Dag is parsed.

        :raises InvalidInput: a parameter, or two of them together, can't be right.
        """
        super().check_literals()
        if self._is_given("target_states"):
            self._targets()

    def _targets(self) -> list[JobState]:
        try:
            targets = [JobState(state) for state in listed(self.target_states)]
        except ValueError:
            targets = []
        if not targets:
            raise InvalidInput(f"target_states is {self.target_states!r}; states are {', '.join(JobState)}.")
        return targets

    def _cancel_on_timeout(self, end: BaseException) -> None:
        """A skip is a timeout too with ``soft_fail``, unless it stands for another error."""
        timeouts = (AirflowSensorTimeout, AirflowTaskTimeout)
        if isinstance(end, timeouts) or isinstance(end.__cause__, (*timeouts, type(None))):
            self.cancel_armed()

    def _reason(self, context: Context) -> str:
        return f"Cancelled by Airflow: {TaskKey.of(context['ti'])} waited for this job"
