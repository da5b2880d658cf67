"""How many tags a Batch job gets from its job definition: with more than 50 in all, Batch fails the job.

https://docs.aws.amazon.com/batch/latest/APIReference/API_SubmitJob.html, ``propagateTags``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from inspect import isawaitable
from typing import Any

from airflow_cancel_provider.services.credentials import without_logins

_definitions: dict[Hashable, Any] = {}
"""Answers of DescribeJobDefinitions in this process, by credentials, endpoint and definition."""


class TagRoom:
    """Looks a job's definition up, once in a process, where its tags count.

    :param client: of the submission: what it may see is what counts.
    :param say: takes the words for a definition that can't be looked up.
    """

    def __init__(self, client: Any, params: Mapping[str, Any], say: Callable[[str], None]) -> None:
        self._client, self._params, self._say = client, params, say
        credentials = client._request_signer._credentials  # noqa: SLF001  there is no public way
        self._key = (
            credentials,
            client.meta.endpoint_url,
            client.meta.region_name,
            params.get("jobDefinition"),
        )

    def taken(self) -> Any:
        """How many tags the definition adds; None: nobody knows. With an asynchronous client: a promise."""
        name = self._params.get("jobDefinition")
        if self._params.get("propagateTags") is False or not isinstance(name, str) or not name:
            return 0
        if self._key in _definitions:
            return self._counted(_definitions[self._key])
        # An ARN or a name with a revision, or a name alone.
        asked = {"jobDefinitions": [name]} if ":" in name else {"jobDefinitionName": name, "status": "ACTIVE"}
        try:
            answer = self._client.describe_job_definitions(**asked)
        except Exception as error:  # noqa: BLE001  of a call that the user did not make; it is said
            self._note_unknown(error)
            return None
        return self._taken_later(answer) if isawaitable(answer) else self._learnt(answer)

    async def _taken_later(self, promise: Any) -> int | None:
        try:
            return self._learnt(await promise)
        except Exception as error:  # noqa: BLE001  as above
            self._note_unknown(error)
            return None

    def _learnt(self, answer: Any) -> int | None:
        _definitions[self._key] = answer
        return self._counted(answer)

    def _note_unknown(self, error: Exception) -> None:
        _definitions[self._key] = None
        why = without_logins(str(error))
        self._say(
            f"no tags on SubmitJob: how many tags its job definition has can't be read ({why});"
            " allow batch:DescribeJobDefinitions to this identity"
        )

    def _counted(self, answer: Any) -> int | None:
        """The most tags that one of these definitions gives to a job."""
        if answer is None:
            return None
        counts = [
            len(definition.get("tags") or {})
            for definition in answer.get("jobDefinitions") or []
            if self._params.get("propagateTags") or definition.get("propagateTags")
        ]
        return max(counts, default=0)
