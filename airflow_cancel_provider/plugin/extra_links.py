"""Links to the consoles of the services on every task that has started remote jobs, whatever its operator.

Airflow evaluates a plugin's links in the API server, and shows a button for those with an address. The
operators of this package have links of their own with the same names, which Airflow prefers.
"""

from __future__ import annotations

import logging
from typing import Any

log = logging.getLogger(__name__)
MOST = 3
"""Most jobs of a task that have a link."""


class ConsoleLink:
    """The page of one of a task's jobs in the console of its service.

    :param number: which of the task's jobs, from 1 on.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = "Remote job" if number == 1 else f"Remote job {number}"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The address; empty where there is no such job, or its service has no console."""
        try:
            return _console_url(ti_key, self.number)
        except Exception:
            # Raised, it would remove all other links from the page.
            log.exception("%s of %s could not be read", self.name, ti_key)
            return ""


def _console_url(ti_key: Any, number: int) -> str:
    from airflow_cancel_provider.links.console import console_url
    from airflow_cancel_provider.owner import TaskKey
    from airflow_cancel_provider.plugin.page.on_record import records
    from airflow_cancel_provider.reaper.backends.database import session_of_airflow

    task = TaskKey.of(ti_key)
    with session_of_airflow() as session:
        jobs = next((record.jobs for _, record, is_earlier in records(session, [task]) if not is_earlier), ())
    return console_url(jobs[number - 1]) if len(jobs) >= number else ""


LINKS = [ConsoleLink(number) for number in range(1, MOST + 1)]
