"""Airflow connections, found where Airflow itself finds them: the one place in which they are read.

In a task, a triggerer and a Dag processor the supervisor is asked, after the environment and a secrets
backend; everywhere else (command line, API server, a program) the metadata database is. Airflow's own
``BaseHook`` looks into the database only in some processes, and takes every error for "not defined".
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import cached_property
from typing import Any, TypeVar

from airflow_cancel_provider.exceptions import AirflowUnavailable, InvalidInput
from airflow_cancel_provider.version_compat import AirflowNotFoundException, BaseHook, mask_secret

T = TypeVar("T")
AWS_DEFAULT = "aws_default"
"""The default of every operator and hook of the Amazon provider, which need not be defined."""
_NAMES = {"MetastoreBackend": "Airflow's database", "EnvironmentVariablesBackend": "the environment"}
_UNREADABLE = (ValueError, TypeError, KeyError)
"""What an invalid connection raises. The message is not repeated: it may hold secrets."""
_LONGEST = 300


class unlocked(cached_property[T]):  # noqa: N801  a decorator
    """A ``cached_property`` without the lock that it has in Python 3.11, one for all instances.

    A thread would hold it while it waits for Airflow or for credentials, and hold up all other hooks: for
    ever where Airflow is asked over an event loop that waits for the lock. Remove this when Python 3.12 is
    the oldest.
    """

    def __init__(self, function: Callable[[Any], T]) -> None:
        super().__init__(function)
        self.lock = nullcontext()


def plain(param: str, value: Any) -> str | None:
    """A text that may be None, without white space around it: XComs end in line breaks.

    :raises InvalidInput: it is neither.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidInput(f"{param} is {value!r}; it must be text.")
    return value.strip() or value  # white space alone is no name


def get_connection(conn_id: str) -> Any:
    """Read a connection as Airflow does: secrets backend, environment, then Airflow's database.

    :raises AirflowNotFoundException: it is defined nowhere.
    :raises InvalidInput: it is defined, and can't be read (``extra`` is not JSON), or its id is no text.
    :raises AirflowUnavailable: the database, a secrets backend or the supervisor did not answer.
    """
    if not isinstance(conn_id, str):
        raise InvalidInput(f"{conn_id!r} is no connection; expected the id of one, as text.")
    return _checked(conn_id, _found(conn_id))


def used_connection(conn_id: str | None, log: Any) -> str | None:
    """The connection that operators and hooks use: None, the process's own credentials, where it is so.

    That is the case for ``aws_default`` that is not defined, as for every hook of the Amazon provider.

    :raises AirflowUnavailable: as :func:`get_connection`.
    """
    if conn_id != AWS_DEFAULT:
        return conn_id or None
    try:
        get_connection(conn_id)
    except AirflowNotFoundException:
        log.warning("Connection %r is not defined: the process's own AWS credentials are used.", conn_id)
        return None
    except InvalidInput:
        pass  # raised again when it is opened
    return conn_id


def check_type(conn_id: str, connection: Any, needed: str, hook: str) -> None:
    """Check that a connection is of the type that a hook needs.

    :raises InvalidInput: it is of another, or of none.
    """
    kind = connection.conn_type
    if kind == needed:
        return
    if kind:
        raise InvalidInput(f"Connection {conn_id!r} has type {kind!r}; {hook} needs type {needed!r}.")
    raise InvalidInput(
        f"Connection {conn_id!r} has no type; {hook} needs type {needed!r}: conn_type in JSON; a URI begins "
        f"with {needed.replace('_', '-')}://."
    )


def parse_extra(conn_id: str, text: str | None) -> dict[str, Any]:
    """Fields in ``extra``.

    :raises InvalidInput: it is not a JSON object. The text is not repeated: it may hold secrets.
    """
    try:
        extra = json.loads(text or "{}")
    except ValueError:
        raise InvalidInput(f"Connection {conn_id!r}: extra is not JSON.") from None
    if not isinstance(extra, dict):
        raise InvalidInput(f"Connection {conn_id!r}: extra is not a JSON object.")
    return extra


def _found(conn_id: str) -> Any:
    supervisor = _supervisor()
    if supervisor is None:
        from airflow.configuration import ensure_secrets_loaded

        return _first(conn_id, ensure_secrets_loaded())
    try:
        return BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        # Airflow raises this for a source that failed, too.
        return _first(conn_id, _sources_of_client(supervisor))
    except Exception as error:
        raise _unavailable(conn_id, "Airflow", error) from error


def _supervisor() -> Any:
    """The channel to the supervisor, or None in a process that has none."""
    task_runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    return getattr(task_runner, "SUPERVISOR_COMMS", None)


def _sources_of_client(supervisor: Any) -> list[Any]:
    """Where a task looks, with a supervisor whose errors are not taken for "not defined"."""
    from airflow.sdk.execution_time.supervisor import ensure_secrets_backend_loaded

    backends = ensure_secrets_backend_loaded()
    own = [backend for backend in backends if type(backend).__name__ != "ExecutionAPISecretsBackend"]
    return [*own, _Supervisor(supervisor)]


class _Supervisor:
    """Asks the supervisor, which asks the API server."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def get_connection(self, conn_id: str) -> Any:
        from airflow.sdk import Connection
        from airflow.sdk.exceptions import ErrorType
        from airflow.sdk.execution_time.comms import ErrorResponse, GetConnection

        answer = self._channel.send(GetConnection(conn_id=conn_id))
        if not isinstance(answer, ErrorResponse):
            return Connection(**answer.model_dump(exclude={"type"}, by_alias=True))
        if answer.error is ErrorType.CONNECTION_NOT_FOUND:
            return None
        raise RuntimeError(f"{answer.error.name} {answer.detail or ''}".strip())


def _first(conn_id: str, sources: Iterable[Any]) -> Any:
    """The first source's that has it; one that fails matters only if no other has it, as in Airflow."""
    failed: list[tuple[str, Exception]] = []
    for source in sources:
        name = type(source).__name__.lstrip("_")
        try:
            if connection := source.get_connection(conn_id=conn_id):
                return connection
        except Exception as error:  # noqa: BLE001  backends have errors of their own; raised below
            failed.append((_NAMES.get(name, name), error))
    for name, failure in failed:
        if isinstance(failure, _UNREADABLE):
            raise _unreadable(conn_id, name, failure)
    if failed:
        raise _unavailable(conn_id, *failed[0]) from failed[0][1]
    raise AirflowNotFoundException(f"The conn_id {conn_id!r} isn't defined")


def _checked(conn_id: str, connection: Any) -> Any:
    """The same connection, whose fields can be read and are masked in logs."""
    try:
        password, extra = connection.password, connection.extra
    except _UNREADABLE as error:
        raise _unreadable(conn_id, "Airflow's database", error) from None
    except Exception as error:
        raise _unavailable(conn_id, "Airflow's database", error) from error
    fields = parse_extra(conn_id, extra)
    if _supervisor() is None:  # otherwise Airflow has done so
        for secret in filter(None, (password, fields)):
            mask_secret(secret)
    return connection


def _unreadable(conn_id: str, source: str, error: Exception) -> InvalidInput:
    # Airflow's words: "Encountered non-JSON in `extra` field for connection 'x'."
    words, what = str(error), f"what is there is no connection ({type(error).__name__})"
    if "`extra`" in words:
        what = "extra is not JSON" if "non-JSON" in words else "extra is not a JSON object"
    return InvalidInput(f"Connection {conn_id!r} can't be read from {source}: {what}.")


def _unavailable(conn_id: str, source: str, error: Exception) -> AirflowUnavailable:
    # SQLAlchemy's own words hold the statement and its parameters.
    words = str(getattr(error, "orig", None) or error).strip().partition("\n")[0].rstrip(".")
    return AirflowUnavailable(
        f"Connection {conn_id!r} could not be looked up, {source} did not answer: "
        f"{type(error).__name__}: {words[:_LONGEST]}."
    )
