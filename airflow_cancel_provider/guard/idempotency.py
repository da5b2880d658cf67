"""Whose idempotency token a submission carries: nothing that the service compares with it may change."""

from __future__ import annotations

import re
import sys
from typing import Any

_RANDOM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_KEPT = 1000
_made_up: dict[str, None] = {}
_PARAMETER = "client_request_token"
_MISSING = object()


def is_random(token: Any) -> bool:
    """Whether a token looks like those that botocore and the Amazon provider make up."""
    return isinstance(token, str) and _RANDOM.fullmatch(token) is not None


def remember_made_up(token: str) -> None:
    """Take note of a token that botocore has filled in."""
    _made_up[token] = None
    while len(_made_up) > _KEPT:
        _made_up.pop(next(iter(_made_up)), None)


def is_made_up(token: Any) -> bool:
    """Whether botocore has filled this token in before, into a dictionary that its caller uses again."""
    return token in _made_up


def is_made_by_operator(token: Any) -> bool:
    """Whether the running task's operator made up this token, because its author gave none.

    Operators of the Amazon provider do: ``self.client_request_token = client_request_token or str(uuid4())``,
    or, where the attribute stays empty, ``self.client_request_token or str(uuid4())`` as they submit.
    Such a token belongs to one try. One that the author gave may be the same in other tries and tasks, also
    one that an ``execute`` of the author's own gives as it submits.
    """
    task = _running_task()
    given = getattr(task, "_BaseOperator__init_kwargs", None)
    kept = getattr(task, _PARAMETER, _MISSING)
    return (
        is_random(token)
        and (kept == token or (kept in (None, "") and _submits_as_the_provider_does(task)))
        and isinstance(given, dict)
        and given.get(_PARAMETER) in (None, "")
    )


def _submits_as_the_provider_does(task: Any) -> bool:
    execute = getattr(type(task), "execute", None)
    return str(getattr(execute, "__module__", "")).startswith("airflow.providers.amazon.")


def _running_task() -> Any:
    """The operator that this process executes, or None."""
    sdk: Any = sys.modules.get("airflow.sdk")
    if sdk is None:
        return None
    try:
        return sdk.get_current_context()["ti"].task
    except (RuntimeError, KeyError, AttributeError):  # nothing is executed, or not by a task runner
        return None
