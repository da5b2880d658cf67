"""A time-out of the task may come at any place of a submission: no job is started that is not on record."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

import pytest
from botocore.client import BaseClient
from botocore.endpoint import Endpoint
from botocore.hooks import HierarchicalEmitter

from airflow_cancel_provider.guard import capture
from airflow_cancel_provider.guard.calls import SubmissionCall
from airflow_cancel_provider.guard.ledger import TryLedger
from airflow_cancel_provider.guard.recorder import TryRecorder
from airflow_cancel_provider.services.submissions import set_recorder
from airflow_cancel_provider.settings import Settings
from tests.capture_fixtures import client, submit
from tests.cloud.server import LocalCloud
from tests.guard_fixtures import OWNER
from tests.strikes import Striker

CLASSES: tuple[type[Any], ...] = (
    *(BaseClient, Endpoint, HierarchicalEmitter, capture._Handlers),
    *(SubmissionCall, TryRecorder, TryLedger),
)


def functions() -> set[CodeType]:
    found = [each for cls in CLASSES for each in vars(cls).values()]
    found += [capture._make_request, capture._given_up, capture._over]
    return {each.__code__ for each in found if isinstance(each, FunctionType)}


@pytest.fixture(autouse=True)
def _none_afterwards() -> Iterator[None]:
    capture.install()
    yield
    set_recorder(None)


# Sockets that are struck.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_job_is_started_of_which_nothing_is_known(cloud: LocalCloud) -> None:
    made, places = client(cloud, "batch"), functions()
    submit(made)  # what is loaded once
    place, number = "the first", 0
    while place:
        number += 1
        set_recorder(recorder := TryRecorder(OWNER, Settings(), logging.getLogger("task"), TryLedger()))
        before = len(cloud.batch.jobs())
        striker = Striker(number, places)
        striker.run(lambda: submit(made))
        recorder.tell_again()
        started = len(cloud.batch.jobs()) - before
        place = striker.place
        assert started == len(recorder.ledger.jobs) or recorder.ledger.intents, place
    assert number > 100
    gc.collect()
