"""Report to Airflow how jobs have ended whose task can't do so any more: the sentinel to the API server.

The sentinel has no access to Airflow of its own. It has a random key of its try, and the record of the try in
XCom has the digest of that key. With the key it can put on record how jobs of this one record have ended, and
nothing else. Nothing is cancelled, or left alone, by what is put there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from secrets import token_urlsafe
from typing import Any
from uuid import UUID

from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.record import JobEnd, proof_of
from airflow_cancel_provider.task_log import Log

PATH = "/remote-jobs/v1/try-ends"
PAUSES = (0.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each attempt: an API server that is restarted is away for half a minute."""
TIMEOUT = 5.0
LARGEST = 500
"""Jobs of one report; an answer that is late must not hold up a host's shutdown."""


@dataclass(frozen=True, slots=True)
class EndReports:
    """Where and with which key the sentinel of one try reports.

    :param urls: of API servers; the first that accepts a report is enough.
    :param ca: file with the certificates that Airflow's clients trust; None: the usual ones.
    """

    ti_id: str
    urls: Sequence[str]
    ca: str | None = None
    key: str = field(default_factory=lambda: token_urlsafe(32), repr=False)

    @classmethod
    def of(cls, ti_id: UUID) -> EndReports:
        """Those of a try, by Airflow's configuration in its process."""
        from airflow_cancel_provider.version_compat import conf

        execution = conf.get("core", "execution_api_server_url", fallback="") or ""
        base = conf.get("api", "base_url", fallback="") or ""
        ca = conf.get("api", "ssl_cert", fallback="") or None
        return cls(str(ti_id), tuple(dict.fromkeys(_urls(execution, base))), ca)

    @property
    def proof(self) -> str:
        """What the record holds of the key."""
        return proof_of(self.key)

    def send(self, ends: Mapping[RemoteJob, JobEnd], log: Log) -> bool:
        """Report ends; return whether that was possible. Raises nothing: the jobs have ended all the same."""
        some = dict(list(ends.items())[:LARGEST])
        body = {
            "ti_id": self.ti_id,
            "key": self.key,
            "ends": {str(job): end.as_json() for job, end in some.items()},
        }
        troubles: dict[str, str] = {}
        for pause in PAUSES if self.urls else ():
            time.sleep(pause)
            for url in self.urls:
                trouble = self._posted(url, body)
                if not trouble:
                    return True
                troubles[url] = trouble
        log.info("Airflow was not told how the jobs have ended: %s", troubles or "its address is not known")
        return False

    def _posted(self, url: str, body: Mapping[str, Any]) -> str:
        """Send a report; return why it was not accepted."""
        import requests

        try:
            answer = requests.post(
                url + PATH, json=body, timeout=TIMEOUT, verify=self.ca or True, allow_redirects=False
            )
        except (OSError, ValueError) as error:  # as all errors of requests are
            return type(error).__name__
        return "" if answer.status_code == 200 else f"HTTP {answer.status_code}"


def _urls(execution: str, base: str) -> Iterator[str]:
    """Addresses of API servers: the one that the task itself asks, and the one that people use.

    Where Airflow's execution API has servers of its own, only the second has the page and this endpoint.
    """
    if execution.startswith("http"):
        yield execution.rstrip("/").removesuffix("/execution")
    if base.startswith("http"):
        yield base.rstrip("/")
    elif not execution:
        yield f"http://localhost:8080{base.rstrip('/')}"  # as Airflow itself
