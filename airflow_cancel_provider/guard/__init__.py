"""The guard: record the remote jobs that a task starts, and cancel them unless the task succeeds.

Installing the package is enough. For Dags, there are :func:`guard`, :func:`track` and :func:`release`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_cancel_provider.guard.api import guard, release, track

__all__ = ["guard", "release", "track"]


def __getattr__(name: str) -> Any:
    """Import the public functions on first use: the sentinel imports this package without Airflow."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from airflow_cancel_provider.guard import api

    return getattr(api, name)
