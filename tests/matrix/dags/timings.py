"""Times that the Dags and those who watch them share."""

from __future__ import annotations

EXECUTION_TIMEOUT = 20.0
"""Seconds; on a busy machine a task takes longer than ten to submit its job."""
RUN_TIMEOUT = 45.0
SHAPE_NAMES = ("waits", "retries", "timeout", "attempts", "run_timeout", "forgets", "paused")
MODES = ("sync", "plain", "deferred")
