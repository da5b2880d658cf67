"""The addresses of a service's jobs: whether it could have issued their ids."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import ClassVar, TypeVar

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.jobs import RemoteJob

T = TypeVar("T")
_LOCATOR = re.compile(r"\s*(arn:|https?://|[a-z-]+://)")
"""How an ARN, the address of a page and the address of a job begin, which are given for ids."""


class Addresses:
    """Makes and checks the addresses of one service, over one connection in one region."""

    name: ClassVar[str]
    """Scheme of the service's addresses."""
    scope_word: ClassVar[str | None]
    """What a job's scope is called (``cluster_id``), or None where jobs have none."""
    scope_pattern: ClassVar[re.Pattern[str] | None]
    scope_example: ClassVar[str | None] = None
    """One that the service could have issued, and has not."""
    id_word: ClassVar[str]
    id_pattern: ClassVar[re.Pattern[str]]
    id_example: ClassVar[str] = ""
    """One that the service could have issued, and has not."""

    def __init__(self, *, conn_id: str | None, region: str | None) -> None:
        self.conn_id = conn_id
        self.region = region

    def place(self, scope: str) -> str:
        """A cluster, queue or application whose jobs are listed, without white space around it.

        :raises InvalidInput: it has not the service's form.
        """
        plain = trimmed(self.scope_pattern, scope)
        self._check(self.scope_word, self.scope_pattern, plain, self.scope_example)
        return plain

    def address(self, id: str, scope: str | None = None) -> RemoteJob:
        """Address of a job of this service, connection and region.

        White space around an id that can't be part of it is left out: XComs end in line breaks.

        :raises InvalidInput: an id has not the service's form.
        """
        plain, scope = trimmed(self.id_pattern, id), trimmed(self.scope_pattern, scope)
        self._check(self.scope_word, self.scope_pattern, scope, self.scope_example)
        self._check(self.id_word, self.id_pattern, plain, self.id_example)
        return RemoteJob.of(self.name, plain, scope=scope, conn_id=self.conn_id, region=self.region)

    def addresses(self, ids: Iterable[str], scope: str | None = None) -> list[RemoteJob]:
        """Addresses of jobs of this service, connection and region.

        :raises InvalidInput: an id has not the service's form, or the ids are no list: of one text, the
            characters would be taken for ids, and of a dict the keys.
        """
        if isinstance(ids, (str, bytes, Mapping)) or not hasattr(ids, "__iter__"):
            kind = "one text" if isinstance(ids, str) else "no list"
            raise InvalidInput(f"{ids!r} is {kind}; expected a list of {self.id_word}s of {self.name}.")
        return [self.address(each, scope) for each in ids]

    def check(self, job: RemoteJob) -> RemoteJob:
        """The same job, if this service could have issued its ids.

        :raises InvalidInput: it could not.
        """
        if job.service != self.name:
            raise InvalidInput(f"{job} is a job of {job.service}, not of {self.name}.")
        if self.scope_word and job.scope is None:
            ends = f"/<{self.scope_word}>/<{self.id_word}>"
            raise InvalidInput(f"{job} is not whole: an address of {self.name} ends with {ends}.")
        self._check(self.scope_word, self.scope_pattern, job.scope, self.scope_example)
        self._check(self.id_word, self.id_pattern, job.id, self.id_example)
        return job

    def _check(
        self, word: str | None, pattern: re.Pattern[str] | None, value: str | None, example: str | None
    ) -> None:
        if word is None or pattern is None:
            if value is not None:
                raise InvalidInput(
                    f"The address of a job of {self.name} has no cluster or application; got {value!r}. "
                    f"Expected {self.name}://connection@region/<{self.id_word}>."
                )
        elif not isinstance(value, str) or not pattern.fullmatch(value):
            like = f"one looks like {example}" if example else f"expected {pattern.pattern}"
            alone = " Give the id alone." if _LOCATOR.match(str(value)) else ""
            article = "an" if word.startswith("a") else "a"
            raise InvalidInput(f"{value!r} is not {article} {word} of {self.name}; {like}.{alone}")


def trimmed(pattern: re.Pattern[str] | None, value: T) -> T | str:
    """The value without white space around it, where only that keeps it from being an id."""
    if pattern is None or not isinstance(value, str) or pattern.fullmatch(value):
        return value
    return value.strip() if pattern.fullmatch(value.strip()) else value
