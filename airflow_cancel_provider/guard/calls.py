"""One submitting call, from its parameters to its last answer, as it is recorded."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from typing import Any

from airflow_cancel_provider.guard.idempotency import (
    is_made_by_operator,
    is_made_up,
    is_random,
    remember_made_up,
)
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.services.aws.submission import AwsSubmission
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.replies import came_over_a_socket, earliest_start, was_never_sent
from airflow_cancel_provider.services.submissions import ANSWERED_INSIDE, Recorder

log = logging.getLogger(__name__)
Request = dict[str, Any]


class SubmissionCall:
    """The label on a submission, and the outcome of each attempt to send it.

    :param params: of the call; botocore's other handlers may change them until it is serialised.
    :param token_name: the parameter that holds its idempotency token; None: the operation has none.
    :param is_token_given: whether the caller gave that token, before botocore fills one in.
    """

    def __init__(
        self,
        recorder: Recorder,
        submission: AwsSubmission,
        params: Mapping[str, Any],
        token_name: str | None,
        *,
        is_token_given: bool,
    ) -> None:
        self.submission = submission
        self.params = params
        self._token_name = token_name
        self._is_token_given = is_token_given
        self._recorder = recorder
        self._token: str | None = None
        """Of the submission; None while it is not recorded."""
        self._label: Label | None = None
        self._sent: Mapping[str, Any] = params
        """The parameters as they are sent, label included."""
        self._first_sent: float | None = None
        self._is_out = False
        """Whether an attempt was sent whose outcome is not evaluated yet."""
        self._is_taken = False
        """Whether the last attempt was answered with a success, which is not read yet."""
        self._is_unknown = False
        """Whether the outcome of an attempt can't become known any more."""
        self._is_told = False
        """Whether that is recorded."""

    def write(self, request: Request) -> None:
        """Add the label to a serialised request that is about to be sent, and take others' labels away.

        The caller's parameters, and what other handlers made of them, stay as they are.

        :raises SubmissionRefused: the task may not start more jobs.
        """
        label = self._recorder.label(self.submission)
        if self._has_users_token:
            label = None
        body = _body(request)
        if body is None:
            self._label, self._sent = None, dict(self.params)
            return
        before = {**self.params, **body}
        # Of whatever job they were copied: with its label the reaper would take this one for that one's.
        after = self.submission.bare(before)
        if label:
            carrier = self._recorder.carrier(self.submission.service)
            after = self.submission.labelled(after, label, carrier)
        if after is not before:
            request["body"] = _changed(body, before, after)
        self._label, self._sent = label, after

    def intend(self, client: ClientSpec) -> None:
        """Record that it is about to be sent."""
        scope = self.submission.scope(self._sent)
        unlabelled = self.submission.unlabelled(self._sent, self._label)
        is_labelled = len(unlabelled) < self._job_count
        self._token = self._recorder.intend(client, scope, unlabelled, is_labelled=is_labelled)

    def sending(self) -> None:
        """Note that an attempt is sent now."""
        self._is_out = True
        if self._first_sent is None:
            self._first_sent = time.monotonic()

    def judge(self, http_response: Any, answer: Any, error: BaseException | None) -> None:
        """Evaluate an attempt that was answered or has failed."""
        if not self._is_out:
            return
        if http_response is not None:
            self._is_taken = http_response.status_code < 300 and came_over_a_socket(http_response)
            unknown = _is_no_verdict(http_response, answer) and came_over_a_socket(http_response)
        else:
            unknown = error is None or not was_never_sent(error)
        if unknown:
            self._is_unknown = True
            # Repeated with its token, a request gives the same job: the last answer counts.
            if not self._idempotency_token:
                self._tell_lost()
        # Last: what a time-out of the task interrupts before is not evaluated.
        self._is_out = False

    def answered(self, http_response: Any, answer: Any) -> None:
        """Record the last answer.

        :raises Killed: the task received SIGTERM meanwhile.
        """
        self.judge(http_response, answer, None)
        if self._token is None:
            return
        if self._first_sent is None or not came_over_a_socket(http_response):
            self._answered_inside()
        elif http_response.status_code >= 300:
            self._end()
        else:
            self._taken(http_response, answer if isinstance(answer, Mapping) else {})

    def failed(self, error: BaseException) -> None:
        """Record that no answer will come, or that the one that has come is not read."""
        self.judge(None, None, error)
        self._is_unknown |= self._is_taken
        self._end()

    def _taken(self, http_response: Any, answer: Mapping[str, Any]) -> None:
        if self.submission.place is not None:
            self._placed(self.submission.place(answer))
            return
        jobs = list(self.submission.jobs(self._sent, answer))
        if len(jobs) != self._job_count:
            self._tell_lost()  # a success without the ids is not the service's own answer
        if len(jobs) > self._job_count:
            return  # nor is one with more: it is another request's
        not_before = self._not_before(http_response)
        if jobs and self._token:
            self._recorder.started(self._token, jobs, not_before)

    def _placed(self, place: Any) -> None:
        if not isinstance(place, str) or not place:
            self._tell_lost()
        elif self._job_count and self._token:
            self._recorder.placed(self._token, place)
        else:
            self._end()  # a cluster without steps: no job to guard

    @property
    def _job_count(self) -> int:
        """How many jobs the call is to start."""
        return len(list(self.submission.texts(self._sent)))

    def _not_before(self, http_response: Any) -> float:
        if not self._has_users_token or self._first_sent is None:
            return 0.0
        return earliest_start(http_response.headers, time.monotonic() - self._first_sent)

    def _answered_inside(self) -> None:
        log.info(ANSWERED_INSIDE, self.submission.operation)
        self._end()

    def _end(self) -> None:
        """Record that nothing more was started, except perhaps by an attempt of unknown outcome."""
        if self._is_unknown:
            self._tell_lost()
        elif self._token:
            self._recorder.closed(self._token)

    def _tell_lost(self) -> None:
        was_told, self._is_told = self._is_told, True
        if self._token and not was_told:
            self._recorder.lost(self._token)

    @property
    def _idempotency_token(self) -> Any:
        return self.params.get(self._token_name) if self._token_name else None

    @property
    def _has_users_token(self) -> bool:
        """Whether other submissions may have the same token: then no parameter may change."""
        token = self._idempotency_token
        if not token:
            return False
        if not self._is_token_given and is_random(token):
            remember_made_up(token)
            return False
        return not is_made_up(token) and not is_made_by_operator(token)


def _body(request: Request) -> dict[str, Any] | None:
    """The request's body, or None where it is no JSON object."""
    try:
        body = json.loads(request["body"])
    except (TypeError, ValueError):
        return None
    return body if isinstance(body, dict) else None


def _changed(body: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> bytes:
    kept = {name: value for name, value in body.items() if name in after}
    changes = {name: value for name, value in after.items() if value is not before.get(name)}
    return json.dumps(kept | changes).encode()


def _is_no_verdict(http_response: Any, answer: Any) -> bool:
    from airflow_cancel_provider.services.aws.errors import is_no_verdict

    return http_response.status_code >= 300 and is_no_verdict(answer)
