"""Every error this package raises.

::

    CancelProviderError
    ├── InvalidInput          a parameter, an address or a connection is unusable; nothing was sent
    ├── ServiceError          the service answered with an error
    │   ├── AccessDenied      the identity may not do this
    │   │   └── IdentityError  no credentials, or the service does not accept them (renewed ones may do)
    │   ├── ConnectionUnusable  TLS, proxy or endpoint of the connection are set wrongly
    │   ├── UnknownScope      the service does not know the cluster or application, over this connection
    │   └── ServiceUnavailable  throttled, failing or out of reach until patience ran out
    ├── AirflowUnavailable    Airflow did not answer a question about its tasks, Variables or connections
    ├── SubmissionRefused     the task received SIGTERM and may not start more jobs
    └── JobsError             some jobs are not in the expected state; names each of them
        ├── CancelRefused     the service will not cancel them
        ├── NotRunning        they had ended before the cancel, and ``fail_if_not_running`` was set
        ├── NotEnded          they have not ended within the attempts allowed
        └── UnexpectedEnd     they ended in a state the caller calls a failure
    Killed                    a BaseException: the task was killed; ``except Exception`` must not catch it
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_UNWRITABLE = re.compile("[\x00\ud800-\udfff]")


def writable(text: str) -> str:
    """A text of others without what JSON has, and PostgreSQL, UTF-8 or msgpack have not.

    A trigger's event with it ends the triggerer. Services quote errors of programs, and cut texts anywhere.
    """
    if text.isascii() and "\0" not in text:  # thousands of states are read
        return text
    return _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", text)


class CancelProviderError(Exception):
    """Base of every error of this package."""


class InvalidInput(CancelProviderError, ValueError):
    """A parameter, an address or a connection is unusable. Nothing was sent."""


class ServiceError(CancelProviderError):
    """A service answered a call with an error.

    :param message: one sentence: what, which job or scope, and what to do.
    :param operation: the call, under the service's own name.
    :param code: the service's error code.
    """

    def __init__(self, message: str, operation: str | None = None, code: str | None = None) -> None:
        message = writable(message)
        super().__init__(message, operation, code)
        self.message = message
        self.operation = operation
        self.code = code

    def __str__(self) -> str:
        return self.message


class AccessDenied(ServiceError):
    """The identity may not make this call: asking again does not help."""


class IdentityError(AccessDenied):
    """The service does not accept the identity, or there are no credentials.

    After a renewal of the credentials the same call may succeed. Whether the identity has the permission is
    not known.
    """


class ConnectionUnusable(ServiceError):
    """The service is not reached as the connection is set up: TLS, proxy, endpoint."""


class UnknownScope(ServiceError):
    """The service does not know the cluster or application over this connection, in this region."""


class ServiceUnavailable(ServiceError):
    """The service throttled, failed or stayed out of reach until patience ran out."""


class AirflowUnavailable(CancelProviderError):
    """Airflow did not answer a question about its tasks, Variables or connections."""


class SubmissionRefused(CancelProviderError):
    """A task that has received SIGTERM tried to start another job. Nothing was sent."""


class _NamesJobs(BaseException):
    """A message, and one line for each job that it is about."""

    def __init__(self, message: str, jobs: Sequence[str] = ()) -> None:
        super().__init__(message, tuple(jobs))
        self.message = message
        self.jobs = tuple(jobs)

    def __str__(self) -> str:
        return "\n  ".join([self.message, *self.jobs])


class JobsError(_NamesJobs, CancelProviderError):
    """Some jobs are not in the expected state.

    :param message: what is wrong with them, and what to do.
    :param jobs: one line for each job.
    """


class CancelRefused(JobsError):
    """The service will not cancel these jobs; they may still be running."""


class NotRunning(JobsError):
    """These jobs had ended before the cancel, and the caller asked for that to be an error."""


class NotEnded(JobsError):
    """These jobs have not ended within the attempts allowed; they may still be running."""


class UnexpectedEnd(JobsError):
    """These jobs ended in a state that the caller calls a failure."""


class Killed(_NamesJobs):
    """The task was killed; the cancel of its jobs was requested.

    Like Airflow's ``AirflowTaskTerminated`` it is no ``Exception``: ``except Exception`` in a task must not
    catch it.

    :param message: what happened.
    :param jobs: one line for each job.
    """
