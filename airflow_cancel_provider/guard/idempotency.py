"""Who has made a submission's idempotency token: with a user's token, no parameter may be changed."""

from __future__ import annotations

import re
import sys
from inspect import unwrap
from typing import Any

_RANDOM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_KEPT = 1000
_made_up: dict[str, None] = {}
_PARAMETER = "client_request_token"
_MISSING = object()
_at_start: Any = None
"""The token of the operator that this process executes, as it was before ``pre_execute``."""


def is_random(token: Any) -> bool:
    """Whether a token has the form of those that botocore and the Amazon provider generate."""
    return isinstance(token, str) and _RANDOM.fullmatch(token) is not None


def remember_made_up(token: str) -> None:
    """Remember a token that botocore has filled in."""
    _made_up[token] = None
    while len(_made_up) > _KEPT:
        _made_up.pop(next(iter(_made_up)), None)


def is_made_up(token: Any) -> bool:
    """Whether botocore filled in this token before, in a dictionary that the caller uses again."""
    return token in _made_up


def remember_of_operator(task: Any) -> None:
    """Remember the token of an operator that is about to be executed: code may set another as it runs."""
    global _at_start  # noqa: PLW0603  one process runs one task at a time
    _at_start = getattr(task, _PARAMETER, None)


def is_made_by_operator(token: Any) -> bool:
    """Whether the running task's operator generated this token, as the Dag gives none.

    Operators of the Amazon provider do: ``self.client_request_token = client_request_token or str(uuid4())``,
    or, where the attribute stays empty, ``self.client_request_token or str(uuid4())`` as they submit.
    Such a token belongs to one try. A token from the Dag may be the same in other tries and tasks; so may one
    that a user's own operator gives, or sets.
    """
    task = _running_task()
    given = getattr(task, "_BaseOperator__init_kwargs", None)
    kept = getattr(task, _PARAMETER, _MISSING)
    return (
        is_random(token)
        and (
            (kept == token == _at_start and not _may_be_set_by(type(task)))
            or (kept in (None, "") and _submits_as_the_provider_does(task))
        )
        and isinstance(given, dict)
        and given.get(_PARAMETER) in (None, "")
    )


def _may_be_set_by(operator: type) -> bool:
    """Whether code of a class that is not Airflow's names the attribute: it may set it last."""
    own = (kind for kind in operator.__mro__ if not kind.__module__.startswith("airflow."))
    codes = (getattr(unwrap(value), "__code__", None) for kind in own for value in vars(kind).values())
    return any(_PARAMETER in (*code.co_names, *code.co_consts) for code in codes if code)


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
    except (RuntimeError, KeyError, AttributeError):  # no task is running, or not in a task runner
        return None
