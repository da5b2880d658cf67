"""Addresses, states, results, owners and errors come through every road unchanged."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_cancel_provider import exceptions
from airflow_cancel_provider.exceptions import (
    CancelProviderError,
    InvalidInput,
    JobsError,
    ServiceError,
    writable,
)
from airflow_cancel_provider.owner import Owner
from tests.job_strategies import hostile_text, jobs

# What tears addresses apart: delimiters, escapes and half escapes, line ends, invisible and reversing marks.


owners = st.builds(
    Owner,
    deployment=st.text() | hostile_text,
    dag_id=hostile_text,
    run_id=hostile_text,
    task_id=hostile_text,
    map_index=st.integers(min_value=-1, max_value=2**31),
    try_number=st.integers(min_value=0, max_value=2**31),
    ti_id=st.uuids(),
)


class TestOwner:
    @given(owners)
    def test_comes_back_from_its_text(self, owner: Owner) -> None:
        assert Owner.parse(str(owner)) == owner
        assert str(owner).isascii()
        assert str(owner).isprintable()
        assert pickle.loads(pickle.dumps(owner)) == owner

    @given(owners, owners)
    def test_text_is_equal_exactly_where_the_owner_is(self, left: Owner, right: Owner) -> None:
        assert (str(left) == str(right)) is (left == right)

    @given(owners, st.uuids())
    def test_another_try_is_another_owner(self, owner: Owner, ti_id: Any) -> None:
        other = Owner.parse(str(owner).replace(str(owner.ti_id), str(ti_id)))
        assert (other == owner) is (ti_id == owner.ti_id)

    @pytest.mark.parametrize("text", ["", "None", "dag_id=x", "dag_id=%ff", "deployment=\ud800", "&&&=", "%"])
    def test_names_the_text_that_is_none(self, text: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            Owner.parse(text)
        assert repr(text) in str(caught.value)

    @given(owners, st.sampled_from(["map_index", "try_number", "ti_id"]), hostile_text)
    def test_wants_numbers_where_numbers_belong(self, owner: Owner, field: str, text: str) -> None:
        broken = str(owner).replace(f"{field}=", f"{field}={quote(text)}x")
        with pytest.raises(InvalidInput):
            Owner.parse(broken)


ERRORS = [
    kind
    for kind in vars(exceptions).values()
    if isinstance(kind, type) and issubclass(kind, CancelProviderError)
]


class TestErrors:
    def test_each_is_drawn_in_the_tree(self) -> None:
        assert ERRORS
        assert all(kind.__name__ in (exceptions.__doc__ or "") for kind in ERRORS)

    @given(st.text(), st.none() | st.text(), st.none() | st.text())
    @pytest.mark.parametrize("kind", [kind for kind in ERRORS if issubclass(kind, ServiceError)])
    def test_service_error_pickles_and_prints(
        self, kind: type[ServiceError], message: str, operation: str | None, code: str | None
    ) -> None:
        back = pickle.loads(pickle.dumps(kind(message, operation, code)))
        assert type(back) is kind
        assert (back.message, back.operation, back.code) == (writable(message), operation, code)
        assert str(back) == writable(message)

    @given(st.text(), st.lists(jobs.map(str), max_size=3))
    @pytest.mark.parametrize("kind", [kind for kind in ERRORS if issubclass(kind, JobsError)])
    def test_jobs_error_pickles_and_names_each_job(
        self, kind: type[JobsError], message: str, some: list[str]
    ) -> None:
        back = copy.copy(pickle.loads(pickle.dumps(kind(message, some))))
        assert type(back) is kind
        assert (back.message, back.jobs) == (message, tuple(some))
        assert all(job in str(back) for job in [message, *some])

    def test_bad_input_is_a_value_error(self) -> None:
        back = pickle.loads(pickle.dumps(InvalidInput("no such id")))
        assert isinstance(back, ValueError)
        assert str(back) == "no such id"


def test_the_vocabulary_loads_nothing_heavy() -> None:
    code = (
        "from airflow_cancel_provider import exceptions, jobs, owner; import sys;"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not set(loaded.stdout.split()) & {"airflow", "boto3", "botocore", "requests", "keystoneauth1"}
