"""Record every submission that any boto3 or aiobotocore client makes in this process.

``botocore.register_initializer`` is called for every session that is made from now on. The event
``creating-client-class`` adds a base class of ours to each client class of our services, which registers the
handlers on the client itself. So a handler knows the client of a call, and its order among other handlers
does not depend on when they were registered: the label is written into the serialised request, after all of
them. https://boto3.amazonaws.com/v1/documentation/api/latest/guide/events.html
"""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any
from weakref import ref

from airflow_cancel_provider.exceptions import SubmissionRefused
from airflow_cancel_provider.guard.calls import SubmissionCall
from airflow_cancel_provider.services.aws.client import spec_of
from airflow_cancel_provider.services.aws.submission import AwsSubmission
from airflow_cancel_provider.services.registry import SERVICES as REGISTRY
from airflow_cancel_provider.services.submissions import current_recorder, tell_ended

log = logging.getLogger(__name__)
_BY_CALL = {
    (submission.service, submission.operation): submission
    for row in REGISTRY.values()
    for submission in row.submissions
    if isinstance(submission, AwsSubmission)
}
SERVICES = frozenset(service for service, _ in _BY_CALL)
_KEY = "airflow_cancel_provider"
_FACTORY_DEPTH = 20
"""Frames between the Amazon provider's session factory and botocore's session; there are about ten."""
_under_way: ContextVar[SubmissionCall | None] = ContextVar("airflow_cancel_provider_call", default=None)
"""The submitting call of this thread or coroutine: ``before-send`` does not name the call it belongs to."""
_installed = False


def install() -> None:
    """Capture the clients of all sessions, new and existing ones. Further calls do nothing.

    Imports almost nothing: a task that never uses AWS has no cost.
    """
    global _installed  # noqa: PLW0603  botocore keeps the initializer for the whole process, too
    if _installed:
        return
    import botocore

    botocore.register_initializer(see_session)
    _installed = True
    if "botocore.session" in sys.modules:
        from airflow_cancel_provider.guard.preloaded import clients, sessions

        for session in sessions():
            see_session(session)
        for client in clients(SERVICES):
            see_client(client)


def see_session(session: Any) -> None:
    """Capture the clients that a session makes from now on."""
    with _shielded("submissions of one AWS session can't be captured"):
        conn_id = _connection_at_work()
        for service in sorted(SERVICES):
            event = f"creating-client-class.{service}"
            session.register(event, partial(_add_base, conn_id), unique_id=f"{_KEY}-{event}")


def see_client(client: Any, conn_id: str | None = None) -> None:
    """Capture what a client submits from now on.

    :param conn_id: the Airflow connection that it was made with; None: by hand.
    """
    with _shielded("submissions of one AWS client can't be captured"):
        _Handlers(client, conn_id).register(client._endpoint)  # noqa: SLF001  no event tells of all ends


def _add_base(conn_id: str | None, base_classes: list[type], **_: Any) -> None:
    base_classes.insert(0, _seen(conn_id))


def _seen(conn_id: str | None) -> type:
    class Seen:
        """Base of a client class that captures each of its clients."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            see_client(self, conn_id)

    return Seen


class _Handlers:
    """The handlers of one client's events."""

    def __init__(self, client: Any, conn_id: str | None) -> None:
        self._client = ref(client)  # its events must not keep it alive
        self._events = client.meta.events
        self._service = client.meta.service_model.service_name
        self._conn_id = conn_id

    def register(self, endpoint: Any) -> None:
        """Put the handlers on the client, and a wrapper on its endpoint.

        botocore calls handlers with the longest event name first, so the last ones have the shortest names.
        """
        for service, operation in _BY_CALL:
            if service == self._service:
                self._add("register_last", f"before-parameter-build.{service}.{operation}", self._build)
                self._add("register_first", f"needs-retry.{service}.{operation}", self._judge)
                self._add("register_first", f"after-call.{service}.{operation}", self._answered)
                self._add("register_first", f"after-call-error.{service}.{operation}", self._failed)
        self._add("register_last", "before-call", self._write)
        self._add("register_last", "before-send", self._sending)
        for operation in REGISTRY[self._service].state_readers:
            self._add("register_first", f"after-call.{self._service}.{operation}", self._shown)
        endpoint.make_request = partial(_make_request, ref(endpoint))

    def _add(self, how: str, event: str, handler: Any) -> None:
        getattr(self._events, how)(event, handler, unique_id=f"{_KEY}-{event}")

    def _build(self, params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        """Keep the parameters, before botocore fills in an idempotency token."""
        recorder = current_recorder()
        if recorder is None:
            return
        with _recording(model.name):
            token_name = next(iter(model.idempotent_members), None)
            is_given = bool(token_name and params.get(token_name))
            submission = _BY_CALL[self._service, model.name]
            context[_KEY] = SubmissionCall(recorder, submission, params, token_name, is_token_given=is_given)

    def _write(self, model: Any, params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        """Refuse the submission, or add the label and record the intent. Nothing is sent yet."""
        call: SubmissionCall | None = context.get(_KEY)
        if call is None or current_recorder() is None:
            return
        with _recording(model.name):
            call.write(params)
            call.intend(spec_of(self._client(), self._conn_id, params))
            _under_way.set(call)

    def _sending(self, **_: Any) -> None:
        if call := _under_way.get():
            call.sending()

    def _judge(self, response: Any, caught_exception: Any, request_dict: dict[str, Any], **_: Any) -> None:
        """Evaluate an attempt; whether there is another is botocore's to say."""
        call: SubmissionCall | None = request_dict["context"].get(_KEY)
        if call is not None:
            with _recording(call.submission.operation):
                http, answer = response or (None, None)
                call.judge(http, answer, caught_exception)

    def _answered(self, http_response: Any, parsed: Any, context: dict[str, Any], **_: Any) -> None:
        """Record which jobs were started, or that none was."""
        if call := _over(context):
            with _recording(call.submission.operation):
                call.answered(http_response, parsed)

    def _failed(self, exception: BaseException, context: dict[str, Any], **_: Any) -> None:
        """Record that nothing was sent, or that the outcome is unknown."""
        if call := _over(context):
            with _recording(call.submission.operation):
                call.failed(exception)

    def _shown(self, http_response: Any, parsed: Any, model: Any, context: dict[str, Any], **_: Any) -> None:
        """Record jobs that a reply shows as ended."""
        if current_recorder() and http_response.status_code < 300:
            note_ends(self._service, model.name, context.get("client_region"), parsed)


def note_ends(service: str, operation: str, region: str | None, answer: Any) -> None:
    """Record which jobs a reply to the task's own call shows as ended: they need no cancel and no release."""
    try:
        row = REGISTRY[service]
        seen = row.state_readers[operation](answer)
        ended = [(scope, job, row.ends[state]) for scope, job, state in seen if job and state in row.ends]
    except Exception:  # a reply may be anything, and the caller's call must not fail for it
        log.exception("[remote jobs] A reply to %s could not be read", operation)
        return
    tell_ended(service, region, ended)


def _over(context: dict[str, Any]) -> SubmissionCall | None:
    _under_way.set(None)
    call: SubmissionCall | None = context.pop(_KEY, None)
    return call


def _make_request(endpoint: ref[Any], model: Any, request: dict[str, Any]) -> Any:
    """Send a request as the endpoint does, and record where nobody waits for its answer any more.

    botocore reports an Exception. A time-out of the task, SystemExit and the end of a coroutine are none.
    """
    this: Any = endpoint()
    try:
        answer = type(this).make_request(this, model, request)
    except BaseException as end:
        _given_up(end, request)
        raise
    return _awaited(answer, request) if inspect.isawaitable(answer) else answer


async def _awaited(answer: Awaitable[Any], request: dict[str, Any]) -> Any:
    try:
        return await answer
    except BaseException as end:
        _given_up(end, request)
        raise


def _given_up(end: BaseException, request: dict[str, Any]) -> None:
    if not isinstance(end, Exception) and (call := _over(request["context"])):
        with _recording(call.submission.operation):
            call.failed(end)


@contextmanager
def _recording(operation: str) -> Iterator[None]:
    """Keep errors of the recorder out of the user's call; log that the call is not guarded."""
    with _shielded(f"a submission ({operation}) could not be recorded"):
        yield


@contextmanager
def _shielded(what: str) -> Iterator[None]:
    try:
        yield
    except SubmissionRefused:
        raise
    except Exception as error:  # reported below; the user's own call must go on
        log.exception("[remote jobs] Not guarded: %s", what)
        _say_unguarded(f"{what}: {error!r}")


def _say_unguarded(why: str) -> None:
    if recorder := current_recorder():
        recorder.unguarded(why)


def _connection_at_work() -> str | None:
    """Id of the Airflow connection from which the Amazon provider is making a session, or None.

    A session does not know its connection. So the session factory of the provider is looked up in the frames
    of the call: it holds the connection that Airflow found for the hook's ``aws_conn_id``, or none where that
    is not defined. Sends no request to Airflow.
    """
    base_aws = sys.modules.get("airflow.providers.amazon.aws.hooks.base_aws")
    factory_class = getattr(base_aws, "BaseSessionFactory", None)
    frame = inspect.currentframe() if factory_class else None
    for _ in range(_FACTORY_DEPTH):
        if frame is None:
            break
        maker = frame.f_locals.get("self")
        if factory_class and isinstance(maker, factory_class):
            conn_id = getattr(maker._conn, "conn_id", None)  # noqa: SLF001  ``conn`` may read the connection
            return conn_id if conn_id and isinstance(conn_id, str) else None
        frame = frame.f_back
    return None
