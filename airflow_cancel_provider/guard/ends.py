"""Record jobs that a reply to the task's own calls shows as ended: they need no cancel and no release."""

from __future__ import annotations

import logging
from typing import Any

from airflow_cancel_provider.services.registry import service_info
from airflow_cancel_provider.services.submissions import tell_ended

log = logging.getLogger(__name__)


def note_ends(service: str, operation: str, region: str | None, answer: Any) -> None:
    """Record which jobs of a reply have ended. Raises nothing, whatever the reply holds."""
    try:
        row = service_info(service)
        seen = row.looks[operation](answer)
        ends = row.ends
        ended = [(scope, job, ends[state]) for scope, job, state in seen if job and state in ends]
    except Exception:  # a reply may be anything, and the caller's call must not fail for it
        log.exception("[remote jobs] A reply to %s could not be read", operation)
        return
    tell_ended(service, region, ended)
