"""A recorder that takes down what it is told, and clients that it is told of."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import boto3
import pytest
from botocore.config import Config

from airflow_cancel_provider.exceptions import SubmissionRefused
from airflow_cancel_provider.guard import capture
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.submissions import SeenEnd, Submission, set_recorder
from tests.cloud.server import LocalCloud

LABEL = Label("abcd1234", uuid.UUID(int=7))
STEP: dict[str, Any] = {"Name": "step", "HadoopJarStep": {"Jar": "command-runner.jar", "Args": ["true"]}}
ROLE = "arn:aws:iam::123456789012:role/spark"
DRIVER = {"sparkSubmit": {"entryPoint": "s3://b/x.py"}}


class Notes:
    """A recorder; see :class:`~airflow_cancel_provider.services.submissions.Recorder`."""

    def __init__(self) -> None:
        self._tokens = count(1)
        self._clients: dict[str, ClientSpec] = {}
        self.told: list[tuple[str, ...]] = []
        """Each event after ``intend``, and its token."""
        self.jobs: list[RemoteJob] = []
        self.not_before: list[float] = []
        self.specs: list[ClientSpec] = []
        self.scopes: list[str | None] = []
        self.unlabelled: list[tuple[str, ...]] = []
        self.places: list[str] = []
        self.ends: list[tuple[str, str | None, list[SeenEnd]]] = []
        self.holes: list[str] = []
        self.asked: list[Submission] = []
        self.wanted_label: Label | None = LABEL
        self.carriers: dict[str, str] = {}
        self.refuses = False
        self.breaks = False
        self.is_cleaning_up = False

    @property
    def words(self) -> list[str]:
        """The events by name."""
        return [word for word, *_ in self.told]

    @property
    def is_open(self) -> bool:
        """Whether a submission is under way, or an attempt was lost."""
        settled = {token for word, token in self.told if word != "lost"}
        return bool(set(self._clients) - settled) or "lost" in self.words

    @property
    def is_empty(self) -> bool:
        """Whether nothing was started, and nothing may have been."""
        return not self.jobs and not self.places and not self.is_open

    def label(self, submission: Submission) -> Label | None:
        self.asked.append(submission)
        if self.refuses:
            raise SubmissionRefused("told to end")
        return self.wanted_label

    def carrier(self, service: str) -> str | None:
        return self.carriers.get(service)

    def intend(
        self, client: ClientSpec, scope: str | None, unlabelled: tuple[str, ...], *, is_labelled: bool
    ) -> str | None:
        if self.breaks:
            raise OSError("disk full")
        if self.is_cleaning_up:
            return None
        self.specs.append(client)
        self.scopes.append(scope)
        self.unlabelled.append(unlabelled)
        token = str(next(self._tokens))
        self._clients[token] = client
        return token

    def lost(self, token: str) -> None:
        self._tell("lost", token)

    def started(self, token: str, jobs: Sequence[tuple[str | None, str]], not_before: float = 0.0) -> None:
        self._tell("started", token)
        self.jobs += [self._clients[token].address(scope, job) for scope, job in jobs]
        self.not_before.append(not_before)

    def placed(self, token: str, scope: str) -> None:
        self._tell("placed", token)
        self.places.append(scope)

    def closed(self, token: str) -> None:
        self._tell("closed", token)

    def ended(self, service: str, region: str | None, seen: Sequence[SeenEnd]) -> None:
        self.ends.append((service, region, list(seen)))

    def unguarded(self, why: str) -> None:
        self.holes.append(why)

    def _tell(self, word: str, token: str) -> None:
        assert token in self._clients, f"{word} of a submission that was never intended"
        self.told.append((word, token))


@pytest.fixture(name="notes")
def recorder() -> Iterator[Notes]:
    """The only recorder of this process."""
    recorder = Notes()
    set_recorder(recorder)
    capture.install()
    yield recorder
    set_recorder(None)


def client(cloud: LocalCloud, service: str, retries: int = 0, **options: Any) -> Any:
    """A client that repeats a call so often."""
    session: Any = boto3.session.Session()
    options.setdefault("endpoint_url", cloud.url)
    config = Config(retries={"mode": "standard", "total_max_attempts": 1 + retries})
    if given := options.pop("config", None):
        config = config.merge(given)
    return session.client(service, region_name="us-east-1", config=config, **options)


def submit(made: Any, **extra: Any) -> Any:
    """Submit a Batch job."""
    return made.submit_job(jobName="job", jobQueue="queue", jobDefinition="def", **extra)


def application(made: Any) -> str:
    """A new application of EMR Serverless."""
    answer = made.create_application(name="a", releaseLabel="emr-7.9.0", type="SPARK")
    return str(answer["applicationId"])


def start(made: Any, app: str, **extra: Any) -> Any:
    """Start a run of EMR Serverless."""
    return made.start_job_run(applicationId=app, executionRoleArn=ROLE, jobDriver=DRIVER, **extra)
