"""What people and programs send: to the endpoint, the page and the command line."""

from __future__ import annotations

import io
import json
import sys
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest
from botocore.session import get_session
from hypothesis import given
from hypothesis import strategies as st

from airflow_cancel_provider.cli.addresses import named_jobs
from airflow_cancel_provider.cli.service_commands.options import Parameter
from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.plugin.bodies import Refusal
from airflow_cancel_provider.plugin.endpoint import MOST_IDS, _ids
from tests.fuzz.strategies import ADDRESSES, ANY_JSON, examples, spoilt
from tests.model.world import ti_id

QUESTION = {"ti_ids": [str(ti_id(0)), str(ti_id(1))]}


@examples(100)
@given(
    st.binary()
    | ANY_JSON.map(lambda value: json.dumps(value).encode())
    | spoilt(QUESTION).map(lambda value: json.dumps(value).encode())
)
def test_a_question_for_owners_is_uuids_or_refused(body: bytes) -> None:
    try:
        ids = _ids(body)
    except Refusal as refusal:
        ids, status = [], refusal.status
    else:
        status = 200
    assert status in (200, 413, 422)
    assert len(ids) <= MOST_IDS
    assert all(isinstance(each, UUID) for each in ids)


def test_a_very_deep_question_is_refused() -> None:
    with pytest.raises(Refusal):
        _ids(b'{"ti_ids": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")


@examples(60)
@given(st.lists(ADDRESSES.map(str) | st.text(), max_size=5))
def test_standard_input_names_jobs_or_is_refused(words: list[str]) -> None:
    before, sys.stdin = sys.stdin, io.StringIO("\n".join(words))
    try:
        named = named_jobs(["-"])
    except InvalidInput:
        return
    finally:
        sys.stdin = before
    assert len(set(named.jobs)) == len(named.jobs)
    assert set(named.lines) == set(named.jobs)
    assert {*map(str, named.jobs)} <= {word for words_ in words for word in words_.split()}


LIST_JOBS: Any = get_session().get_service_model("batch").operation_model("ListJobs")
FILTERS = Parameter("filters", LIST_JOBS.input_shape.members["filters"], is_required=False)


@examples(80)
@given(st.text() | ANY_JSON.map(json.dumps))
def test_a_filter_is_json_or_refused(text: str) -> None:
    with suppress(InvalidInput):
        FILTERS.read([text])
