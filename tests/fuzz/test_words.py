"""Addresses and labels: read from anything, and the same after each way there and back."""

from __future__ import annotations

import pickle

from hypothesis import given
from hypothesis import strategies as st

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import Label, Owner
from airflow_cancel_provider.reaper.places import Place
from tests.fuzz.strategies import ADDRESSES, OWNERS, examples

ALMOST = st.from_regex(r"[a-z-]*:?/{0,3}[^/@]{0,8}@?[^/]{0,8}(/[^/]{0,8}){0,4}")


@examples(60)
@given(st.text() | ALMOST)
def test_a_text_is_an_address_or_refused(text: str) -> None:
    try:
        job = RemoteJob(text)
    except InvalidInput:
        return
    assert RemoteJob(str(job)) == job
    assert RemoteJob(str(job)).identity == job.identity
    assert RemoteJob.of(job.service, job.id, scope=job.scope, conn_id=job.conn_id, region=job.region) == job


@examples(40)
@given(ADDRESSES)
def test_an_address_keeps_its_parts(job: RemoteJob) -> None:
    again = pickle.loads(pickle.dumps(RemoteJob(str(job))))
    assert (again.service_key, again.identity) == (job.service_key, job.identity)


@examples(40)
@given(ADDRESSES, ADDRESSES)
def test_two_jobs_never_share_an_address(one: RemoteJob, other: RemoteJob) -> None:
    assert (str(one) == str(other)) is (
        (one.service_key, one.identity) == (other.service_key, other.identity)
    )


@examples(40)
@given(st.text())
def test_a_text_is_a_place_or_refused(text: str) -> None:
    try:
        places = Place.parse(text)
    except InvalidInput:
        return
    assert places


@examples(60)
@given(st.text(), OWNERS, st.booleans(), st.text())
def test_a_label_is_found_as_it_was_written(before: str, owner: Owner, reconnects: bool, after: str) -> None:
    label = Label(owner.deployment, owner.ti_id, reconnects, owner, owner.key.digest)
    found = Label.find(f"{before} {label} {after}")
    # Another that was written into the text, too, can't be told from it.
    if "af-" not in before + after:
        assert found == label
        assert found is not None
        assert (found.reconnects, found.task) == (reconnects, label.task)
    full = Label.find(label.in_full)
    assert full is not None
    assert full.owner in (owner, None)


@examples(60)
@given(st.text() | st.from_regex(r"af-[0-9a-z]{6,9}-[0-9a-zA-Z]{20,40}(-r)?.{0,5}"))
def test_any_text_has_a_label_or_none(text: str) -> None:
    found = Label.find(text)
    assert found is None or str(found).removesuffix("-r") in text


@examples(40)
@given(st.text() | OWNERS.map(str))
def test_a_text_names_an_owner_or_is_refused(text: str) -> None:
    try:
        owner = Owner.parse(text)
    except InvalidInput:
        return
    assert Owner.parse(str(owner)) == owner
