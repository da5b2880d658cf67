"""What every cancel operator does: find the jobs, request, escalate, confirm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow_cancel_provider.cancellation import FIRST_POLL_SECONDS, Cancellation, request
from airflow_cancel_provider.exceptions import InvalidInput, UnknownScope
from airflow_cancel_provider.jobs import CancelOutcome, RemoteJob
from airflow_cancel_provider.links.console import remote_job_links
from airflow_cancel_provider.mixins.deferral import DefersWait
from airflow_cancel_provider.mixins.targets import (
    DEFERRABLE,
    Targets,
    check_literal,
    is_empty,
    is_literal,
    number,
    rendered_text,
    text,
    whole_number,
)
from airflow_cancel_provider.owner import TaskKey
from airflow_cancel_provider.version_compat import Context
from airflow_cancel_provider.watch import MANY, poll, wait

if TYPE_CHECKING:
    from airflow_cancel_provider.services.pool import ServicePool


class CancelRemoteJobsOperator(DefersWait, Targets):
    """Cancel jobs, and succeed only when each has ended.

    A job that had ended already is a success, and so, with a warning, is one that the service does not know.
    As a job may be shown late, it is looked for a minute, and cancelled when it is shown.
    One that the service refuses to cancel, or whose cluster or application it does not know, fails the task,
    by name, after the others were handled. Killing this task neither stops nor undoes what was requested; a
    retry only waits for jobs that are already being cancelled.

    :param all_live: cancel every job that lives in the scope, instead of named ones.
    :param name_prefix: with ``all_live``, only jobs whose name starts so.
    :param reason: words that the service keeps with the job where it can, at most 1,024 characters;
        by default, which Dag, run and task cancelled it.
    :param wait_for_completion: wait until every job has ended; otherwise return the states right after the
        request.
    :param waiter_delay: seconds between two polls.
    :param waiter_max_attempts: polls at most.
    :param deferrable: wait in the triggerer.
    :param fail_if_not_running: fail if a job had ended before.
    :return: final state of each job by its address.
    :raises CancelRefused: the service will not cancel some jobs.
    :raises NotEnded: some have not ended in time.
    :raises NotRunning: see ``fail_if_not_running``.
    :raises UnknownScope: with ``all_live``, the service does not know the cluster or application.
    :raises InvalidInput: a parameter is unusable; nothing was sent.
    """

    common_fields = ("remote_jobs", "name_prefix", "reason", "waiter_delay", "waiter_max_attempts")
    flags: ClassVar[tuple[str, ...]] = (
        "all_live",
        "wait_for_completion",
        "deferrable",
        "fail_if_not_running",
    )
    operator_extra_links = remote_job_links()
    ui_color = "#f7d9d0"
    escalate_after: float | None = None

    def __init__(
        self,
        *,
        all_live: bool = False,
        name_prefix: str | None = None,
        reason: str | None = None,
        wait_for_completion: bool = True,
        waiter_delay: float = 10,
        waiter_max_attempts: int = 360,
        deferrable: bool = DEFERRABLE,
        fail_if_not_running: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.all_live = all_live
        self.name_prefix = name_prefix
        self._is_prefixed = name_prefix not in (None, "")
        self.reason = reason
        self.wait_for_completion = wait_for_completion
        self.waiter_delay = waiter_delay
        self.waiter_max_attempts = waiter_max_attempts
        self.deferrable = deferrable
        self.fail_if_not_running = fail_if_not_running

    def execute(self, context: Context) -> dict[str, str]:
        """Cancel, and wait or defer."""
        self.waiter_delay = number("waiter_delay", self.waiter_delay)
        self.waiter_max_attempts = whole_number("waiter_max_attempts", self.waiter_max_attempts)
        if self.reason is not None:
            self.reason = rendered_text("reason", self.reason)
        pool = self.access().pool()
        self.jobs = self._find(pool)
        if not self.jobs:
            self.log.info("No job is running there; nothing to cancel.")
            return {}
        return self._cancel(context, pool)

    @property
    def leave_running(self) -> bool:
        """Whether jobs that are seen running are left running."""
        return False

    def live_scope(self) -> str:
        """What ``all_live`` is all of.

        :raises InvalidInput: it was not given.
        """
        scope = self.scope()
        if scope is None:
            raise InvalidInput(f"all_live is not available for {self.service_name}.")
        return scope

    def check_literals(self) -> None:
        """Check what is known when the Dag is parsed.

        :raises InvalidInput: a parameter, or two of them together, can't be right.
        """
        check_literal(self, number, "waiter_delay")
        check_literal(self, whole_number, "waiter_max_attempts")
        check_literal(self, text, "reason")
        super().check_literals()
        place = [getattr(self, name) for name in (self.scope_param, *self.service_fields) if name]
        if self.all_live and is_literal(self, place):
            self.live_scope()
        if self._is_given("name_prefix"):
            self._prefix()

    def _ways(self) -> list[Any]:
        return [*super()._ways(), self.name_prefix]

    def _check_one_way(self) -> None:
        if not self.all_live:
            if self.name_prefix is not None:
                raise InvalidInput(
                    "name_prefix is for all_live=True; named jobs are cancelled whatever their name."
                )
            super()._check_one_way()
        elif self.remote_jobs is not None or getattr(self, self.ids_param) is not None:
            raise InvalidInput(f"Give either all_live or {self.ids_param} or remote_jobs, not two of them.")

    def _find(self, pool: ServicePool) -> list[RemoteJob]:
        self._check_one_way()
        return self._live_jobs(pool) if self.all_live else self.named_jobs(pool)

    def _live_jobs(self, pool: ServicePool) -> list[RemoteJob]:
        scope, prefix = self.live_scope(), self._prefix()
        service = pool.service(self.service_name, *self.connection())
        try:
            return [status.job for status in service.living(scope, prefix)]
        except UnknownScope as error:
            over = f"connection {service.conn_id!r}" if service.conn_id else "the process's own credentials"
            region = f" in region {service.region}" if service.region else ""
            words = f"{self.scope_param} {scope!r} is unknown over {over}{region}: {error}"
            raise UnknownScope(words, error.operation, error.code) from error

    def _prefix(self) -> str:
        """An empty prefix means every job; a template that renders to nothing does not."""
        prefix = self.name_prefix
        if self._is_prefixed and (is_empty(prefix) or not isinstance(prefix, str)):
            raise InvalidInput(
                f"name_prefix is {prefix!r}, which begins no name; leave it out for every job."
            )
        return prefix or ""

    def _cancel(self, context: Context, pool: ServicePool) -> dict[str, str]:
        cancellation = Cancellation(
            self.jobs,
            self._reason(context),
            escalate_after=self.escalate_after,
            leave_running=self.leave_running,
            awaits_unseen=self.wait_for_completion,
        )
        request(cancellation, pool, self.log)
        delay, most = self.waiter_delay, self.waiter_max_attempts
        if self._polls_at_once(cancellation):
            poll(cancellation, pool, self.log)
        elif not self.deferrable:
            # No call is spent before the first jobs have ended.
            wait(cancellation, pool, self.log, delay=min(delay, FIRST_POLL_SECONDS), max_attempts=1)
        if self.wait_for_completion and cancellation.open:
            if self.may_defer():
                self.defer_wait(cancellation, delay, most, timeout=self.execution_timeout)
            wait(cancellation, pool, self.log, delay=delay, max_attempts=most)
        return self.finish(context, cancellation)

    def _polls_at_once(self, cancellation: Cancellation) -> bool:
        """Whether to poll right after the request: nothing has to end first, or a deferral may be spared."""
        outcomes = {result.outcome for result in cancellation.results.values()}
        nothing_ends = not outcomes & {CancelOutcome.REQUESTED, CancelOutcome.ALREADY_CANCELLING}
        is_cheaper = self.deferrable and len(self.jobs) <= MANY
        return nothing_ends or is_cheaper or not self.wait_for_completion

    def finish(self, context: Context, watch: Cancellation) -> dict[str, str]:
        """States of the jobs, by address."""
        # Not at the top: a Dag file that is parsed loads as little as possible.
        from airflow_cancel_provider.metrics import Layer, send_cancel, stats_of_task

        outcomes = watch.outcomes(is_watched=self.wait_for_completion)
        send_cancel(outcomes, Layer.OPERATOR, stats_of_task, self.log, requested_at=watch.requested_at)
        states = watch.verdict(fail_if_not_running=self.fail_if_not_running, ended=self.wait_for_completion)
        jobs = "1 job" if len(states) == 1 else f"{len(states)} jobs"
        self.log.info("%s: %s", jobs, ", ".join(sorted(set(states.values()))))
        return states

    def _reason(self, context: Context) -> str:
        from airflow_cancel_provider.services.base import LONGEST_REASON

        reason = self.reason or f"Cancelled by Airflow: {TaskKey.of(context['ti'])}"
        if len(reason) > LONGEST_REASON:
            self.log.warning("reason has %d characters; the first %d are sent.", len(reason), LONGEST_REASON)
        return reason[:LONGEST_REASON]
