"""See every submission that any boto3 or aiobotocore client makes in this process.

``botocore.register_initializer`` reaches every session made from now on, whoever makes it. Only events
that boto3 documents are used: https://boto3.amazonaws.com/v1/documentation/api/latest/guide/events.html
"""

from __future__ import annotations

import inspect
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from airflow_cancel_provider.exceptions import Killed, SubmissionRefused
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.submissions import RECORDERS, SUBMISSIONS, Intent, Recorder, Submission

log = logging.getLogger(__name__)
_KEY = "airflow_cancel_provider"
_DEEP = 40
_installed = False


def install() -> None:
    """See all sessions made from now on, and boto3's default one if it is there already. Once is enough."""
    global _installed  # noqa: PLW0603  botocore keeps the initializer for the whole process, too
    if _installed:
        return
    import botocore

    botocore.register_initializer(_initialize)
    default = getattr(sys.modules.get("boto3"), "DEFAULT_SESSION", None)
    if default is not None:
        _initialize(default._session)  # noqa: SLF001  boto3 has no other way to it
    _installed = True


def _initialize(session: Any) -> None:
    try:
        hook = _hook_at_work()
        for submission in SUBMISSIONS:
            handlers = _Handlers(submission, session, hook)
            for event, handler in handlers.by_event.items():
                name = f"{event}.{submission.service}.{submission.operation}"
                session.register(name, handler, unique_id=f"{_KEY}-{name}")
    except Exception:
        # A session must come to life whatever happens here; the task is then unguarded, and says so.
        log.exception("Submissions of one AWS session can't be seen")
        _say_unguarded("submissions of one AWS session can't be seen")


class _Handlers:
    """What happens at each point of one submitting call."""

    def __init__(self, submission: Submission, session: Any, hook: Any) -> None:
        self.submission = submission
        self.session = session
        self.hook = hook
        self.by_event = {
            "provide-client-params": self.provide_client_params,
            "before-call": self.before_call,
            "needs-retry": self.needs_retry,
            "after-call": self.after_call,
        }

    def provide_client_params(self, params: dict[str, Any], context: dict[str, Any], **_: Any) -> Any:
        """Refuse, or add the label; the caller's own dict stays as it is."""
        written: Any = params
        with _shielded(self.submission):
            label = next((recorder.label() for recorder in RECORDERS), None)
            carrier = next((recorder.carrier(self.submission.service) for recorder in RECORDERS), None)
            written = self.submission.labelled(params, label, carrier) if label else params
            tags = next((recorder.tags() for recorder in RECORDERS), None)
            written = self.submission.tagged(written, tags) if tags else written
            context[_KEY] = {"params": written, "own tags": params.get("tags"), "tagged": bool(tags)}
        # botocore takes the first answer, so where nothing is added the next handler may have its say.
        return None if written is params else written

    def before_call(
        self, params: dict[str, Any], request_signer: Any, context: dict[str, Any], **_: Any
    ) -> None:
        """Write down the intent: the request is ready, nothing is sent yet."""
        with _shielded(self.submission):
            noted = context[_KEY]
            line = self._line(params["url"], request_signer, context)
            scope = self.submission.scope(noted["params"])
            bare = self.submission.unlabelled(noted["params"])
            noted["intents"] = [(recorder, recorder.intend(line, scope, bare)) for recorder in RECORDERS]

    def needs_retry(self, response: Any, request_dict: dict[str, Any], **_: Any) -> float | None:
        """Send once more without our tags what the identity may not tag; seconds to wait, or no opinion."""
        with _shielded(self.submission):
            noted = request_dict["context"].get(_KEY, {})
            if noted.get("tagged") and response is not None and _is_about_tags(*response):
                noted["tagged"] = False
                body = json.loads(request_dict["body"])
                body.pop("tags", None)
                request_dict["body"] = json.dumps(body | _if_any(tags=noted["own tags"])).encode()
                _say_unguarded(f"tags on {self.submission.operation} are not allowed; it goes without")
                return 0.0
        return None

    def after_call(
        self, http_response: Any, parsed: dict[str, Any], context: dict[str, Any], **_: Any
    ) -> None:
        """Write down what was started, or that nothing was."""
        with _shielded(self.submission):
            noted = context.get(_KEY, {})
            for recorder, intent in noted.get("intents", ()):
                if http_response.status_code < 300:
                    self._taken(recorder, intent, noted["params"], parsed)
                elif http_response.status_code < 500:
                    recorder.refused(intent)

    def _taken(
        self, recorder: Recorder, intent: Intent, params: dict[str, Any], answer: dict[str, Any]
    ) -> None:
        place = self.submission.place(answer)
        if place is None:
            recorder.started(intent, list(self.submission.jobs(params, answer)))
        elif params.get("Steps"):
            recorder.placed(intent, place)
        else:
            recorder.refused(intent)  # a cluster without steps: no job of ours

    def _line(self, url: str, request_signer: Any, context: dict[str, Any]) -> ClientSpec:
        return ClientSpec(
            service=self.submission.service,
            conn_id=getattr(self.hook, "aws_conn_id", None) or None,
            region=context.get("client_region") or getattr(request_signer, "region_name", None),
            endpoint=_origin(url),
            verify=_verify_of_client_at_work(self.session),
            proxies=getattr(context.get("client_config"), "proxies", None),
            secrets={"credentials": getattr(request_signer, "_credentials", None)},
        )


@contextmanager
def _shielded(submission: Submission) -> Iterator[None]:
    """Keep the recorder's own trouble out of the user's call, but say that it goes unguarded."""
    try:
        yield
    except (Killed, SubmissionRefused):
        raise
    except Exception as error:
        log.exception("A submission (%s) could not be recorded", submission.operation)
        _say_unguarded(f"a submission ({submission.operation}) could not be recorded: {error!r}")


def _say_unguarded(why: str) -> None:
    for recorder in RECORDERS:
        recorder.unguarded(why)


def _is_about_tags(http: Any, answer: dict[str, Any]) -> bool:
    refused = http.status_code in (400, 403)
    return refused and "TagResource" in str(answer.get("Error", {}).get("Message", ""))


def _if_any(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _hook_at_work() -> Any:
    """The Amazon provider's hook that is making a session right now, or None.

    A session does not know who made it, so the calling frames are asked. Code that makes its own
    session has no Airflow connection: its jobs are addressed with the default credentials.
    """
    return _at_work(lambda each: hasattr(type(each), "conn_config") and hasattr(each, "aws_conn_id"))


def _verify_of_client_at_work(session: Any) -> Any:
    """How the client that is calling right now verifies TLS: events do not tell who calls."""
    from botocore.client import BaseClient

    client = _at_work(lambda each: isinstance(each, BaseClient))
    transport = getattr(getattr(client, "_endpoint", None), "http_session", None)
    return getattr(transport, "_verify", session.get_config_variable("ca_bundle"))


def _at_work(is_it: Callable[[Any], bool]) -> Any:
    """The nearest object whose method is being run, of which this is true; or None."""
    frame = inspect.currentframe()
    for _ in range(_DEEP):
        if frame is None:
            break
        if is_it(owner := frame.f_locals.get("self")):
            return owner
        frame = frame.f_back
    return None
