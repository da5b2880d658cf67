"""The parts that guard one try, put together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow_cancel_provider.guard.canceller import Canceller
from airflow_cancel_provider.guard.end_reports import EndReports
from airflow_cancel_provider.guard.label_lookups import LabelLookups
from airflow_cancel_provider.guard.ledger import TryLedger
from airflow_cancel_provider.guard.recorder import TryRecorder
from airflow_cancel_provider.guard.releases import Releases
from airflow_cancel_provider.guard.retries import Tries
from airflow_cancel_provider.guard.sentinel.log_file import log_file_in
from airflow_cancel_provider.guard.sentinel.process import is_in_process
from airflow_cancel_provider.guard.store import RecordStore
from airflow_cancel_provider.guard.submission_log import SubmissionLog
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.owner import Owner
from airflow_cancel_provider.settings import Settings
from airflow_cancel_provider.task_log import PrefixedLog, log_file_of

REPORTED = ("success", "failed", "skipped", "up_for_retry")
"""States of a task instance whose end Airflow has recorded. What it has before differs: see ``dags test``."""


class TryParts:
    """The parts that guard one try.

    The recorder gets each event of the try, and tells the ledger, which sums them up, and its readers: the
    canceller with its sentinel, the log, the record in XCom, and the releases.
    """

    def __init__(self, ti: Any, settings: Settings) -> None:
        self.ti = ti
        self.log = PrefixedLog(log_of(ti.task))
        self.settings = settings
        self.owner = Owner.from_context({"ti": ti}, settings.deployment)
        self.tries = Tries(ti, settings)
        self.access = Access.of_task(ti.task)
        """How jobs of before this process are reached."""
        self.ledger = TryLedger()
        reports = EndReports.of(self.owner.ti_id)
        begun_as = self.state
        self.recorder = TryRecorder(
            self.owner,
            settings,
            self.log,
            self.ledger,
            goes_on=self.tries.go_on,
            is_reported=lambda: self.state in REPORTED and self.state != begun_as,
        )
        self.canceller = Canceller(
            self.ledger,
            self.owner,
            settings,
            self.log,
            self.recorder.unguarded,
            log_file=_log_file(),
            task_log=log_file_of(ti),
            reports=reports,
            # Jobs that the next try takes over must survive a crash of this one; only SIGTERM cancels them.
            # With this process there is no next try where it runs all of them.
            is_armed=not self.tries.is_followed or is_in_process(),
        )
        self.store = RecordStore(ti, self.log, self.owner, self.ledger, proof=reports.proof)
        self.releases = Releases(self.owner, self.ledger, self.store, self.access, self.log)
        self.lookups = LabelLookups(self.ledger, self.recorder, self.log)
        self.submission_log = SubmissionLog(
            self.log, goes_on=self.tries.go_on, is_heard=lambda: self.canceller.is_heard
        )
        self.recorder.sentinel_over = self.canceller.if_killed
        # The store comes late: it writes over a channel that may be slow.
        self.recorder.readers = [
            self.canceller.hear,
            self.submission_log.hear,
            self.store.hear,
            self.releases.hear,
        ]

    @property
    def state(self) -> str:
        """The state of the task instance, as its own process knows it."""
        return str(getattr(self.ti, "state", None) or "")

    @property
    def has_nothing(self) -> bool:
        """Whether nothing was started or taken over."""
        return self.ledger.is_empty and not self.canceller.knows_more

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing left to cancel, not even jobs of forked children."""
        return self.ledger.is_settled and not self.canceller.knows_more


def log_of(task: Any) -> Any:
    """The task's logger; attributes that the first access caches on the task are removed again."""
    own = getattr(task, "__dict__", {})
    before = set(own)
    log = task.log
    for name in own.keys() - before:
        del own[name]
    return log


def _log_file() -> str | None:
    from airflow_cancel_provider.version_compat import conf

    folder = Path(conf.get("logging", "base_log_folder", fallback=""))
    return str(log_file_in(folder)) if folder.is_dir() else None
