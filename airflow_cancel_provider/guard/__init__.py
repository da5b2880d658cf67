"""No remote job outlives its task: capture, ledger, and what acts when a task ends badly.

Installing the package is enough. For Dags, there are :func:`guard`, :func:`track` and :func:`release`.
"""

from __future__ import annotations

from airflow_cancel_provider.guard.api import guard, release, track

__all__ = ["guard", "release", "track"]
