"""Wait for jobs in the triggerer, and resume from it."""

from __future__ import annotations

import time
from abc import abstractmethod
from datetime import timedelta
from typing import Any

from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.version_compat import BaseOperator, Context
from airflow_cancel_provider.watch import Watch


class DefersWait(BaseOperator):
    """A task that may wait for its jobs in the triggerer."""

    jobs: list[RemoteJob]
    deferrable: bool

    def access(self) -> Access:
        """How to reach the service."""
        raise NotImplementedError

    def may_defer(self) -> bool:
        """Whether to wait in the triggerer: where that was asked for, and no login would be stored for it."""
        if not self.deferrable or not self.access().holds_login:
            return bool(self.deferrable)
        self.log.warning(
            "The task waits in its worker: a proxy in botocore_config holds a login, and Airflow would store "
            "that with the trigger. Put the proxies into the connection (config_kwargs)."
        )
        return False

    @abstractmethod
    def finish(self, context: Context, watch: Any) -> Any:
        """The task's result, from what was last seen of the jobs; raises what is wrong with them."""

    def defer_wait(
        self,
        watch: Watch,
        delay: float,
        max_attempts: int | None,
        *,
        timeout: timedelta | None,
        cancel_reason: str | None = None,
    ) -> None:
        """Defer until the watch is decided.

        :param cancel_reason: cancel the open jobs with these words if the task is killed; None never does.
        """
        # Here, not above: a Dag file that is parsed needs no trigger, which is most of an operator's import.
        from airflow_cancel_provider.settings import own_deployment
        from airflow_cancel_provider.triggers.remote_jobs import RemoteJobsTrigger

        trigger = RemoteJobsTrigger(
            watch=watch.as_json(),
            access=self.access().as_json(),
            waiter_delay=delay,
            waiter_max_attempts=max_attempts,
            started_at=time.time(),
            cancel_reason=cancel_reason,
            deployment=own_deployment(),
        )
        self.defer(trigger=trigger, method_name=self.execute_complete.__name__, timeout=timeout)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Take over from the trigger."""
        from airflow_cancel_provider.triggers.remote_jobs import raise_from_json, watch_from_json

        watch = watch_from_json(event["watch"])
        self.jobs = watch.jobs
        if event["error"]:
            raise_from_json(event["error"])
        return self.finish(context, watch)
