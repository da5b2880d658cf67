"""Which job is an orphan: every kind in a table, and what never happens as properties."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob
from airflow_cancel_provider.owner import Label, Owner
from airflow_cancel_provider.reaper.airflows.base import (
    owner_in,
    standing,
    standing_before,
    task_name,
    undisputed,
)
from airflow_cancel_provider.reaper.decide import Action, Case, Kind, OwnerState, Standing, decide

JOB = RemoteJob("emr://aws_default@us-east-1/j-1/s-1")
OURS, THEIRS = "0a1b2c3d", "99999999"
TI = UUID("01997d3c-6e9f-7c3a-9d15-3f1b5a4c2d10")
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
GRACE = timedelta(seconds=30)
LONG_AGO = NOW - timedelta(hours=1)
S = Standing
GOING_ON = (S.ALIVE, S.RETRYING, S.SUCCEEDED)


def case(
    owner: Standing | None,
    later: Standing | None = None,
    *,
    state: JobState = JobState.RUNNING,
    deployment: str | None = OURS,
    reconnects: bool = False,
    waits: bool = False,
    unfinished: bool = False,
    since: datetime | None = LONG_AGO,
    **more: Any,
) -> Case:
    label = Label(deployment, TI, reconnects, waits) if deployment else None
    known = OwnerState(owner, later, "dag / run / task", "failed", unfinished) if owner else None
    return Case(JobStatus(JOB, state, label=label), known, since, **more)


TABLE = [
    (case(S.FAILED, state=JobState.CANCELLED), Action.KEEP, Kind.ENDED),
    (case(S.FAILED, state=JobState.GONE), Action.KEEP, Kind.ENDED),
    (case(None, deployment=None), Action.KEEP, Kind.UNLABELLED),
    (case(S.FAILED, deployment=None), Action.KEEP, Kind.UNLABELLED),
    (case(S.FAILED, deployment=THEIRS), Action.KEEP, Kind.FOREIGN),
    (case(S.DELETED, deployment=THEIRS, is_recorded=True), Action.KEEP, Kind.FOREIGN),
    (case(None), Action.WAIT, Kind.UNANSWERED),
    (case(S.UNKNOWN), Action.KEEP, Kind.UNKNOWN),
    # Fire and forget, and the run was tidied up since.
    (case(S.DELETED), Action.KEEP, Kind.UNKNOWN),
    (case(S.DELETED, deployment=None, is_recorded=True), Action.KEEP, Kind.UNKNOWN),
    # Fire and forget, and its task was expanded anew, to fewer, since.
    (case(S.REMOVED), Action.KEEP, Kind.UNKNOWN),
    (case(S.REMOVED, deployment=None, is_recorded=True), Action.KEEP, Kind.UNKNOWN),
    (case(S.SUCCEEDED, waits=True, unfinished=True), Action.KEEP, Kind.SUCCEEDED),
    (case(S.ALIVE), Action.KEEP, Kind.ALIVE),
    (case(S.SUCCEEDED), Action.KEEP, Kind.SUCCEEDED),
    (case(S.SUCCEEDED, S.FAILED), Action.KEEP, Kind.SUCCEEDED),
    (case(S.RETRYING, reconnects=True), Action.KEEP, Kind.RECONNECTING),
    (case(S.FAILED, S.ALIVE, reconnects=True), Action.KEEP, Kind.RECONNECTING),
    (case(S.FAILED, S.SUCCEEDED, reconnects=True), Action.KEEP, Kind.RECONNECTING),
    (case(S.FAILED, S.UNKNOWN, reconnects=True), Action.KEEP, Kind.RECONNECTING),
    (case(S.FAILED, S.REMOVED, reconnects=True), Action.KEEP, Kind.RECONNECTING),
    (case(S.DELETED, S.ALIVE, reconnects=True, waits=True), Action.KEEP, Kind.RECONNECTING),
    # A record does not say whether the next try reconnects.
    (case(S.RETRYING, deployment=None, is_recorded=True), Action.KEEP, Kind.RECONNECTING),
    (case(S.FAILED, is_released=True), Action.KEEP, Kind.RELEASED),
    (case(S.FAILED, letter="denied"), Action.KEEP, Kind.DEAD_LETTER),
    (case(S.FAILED, since=None), Action.WAIT, Kind.SUSPECT),
    (case(S.FAILED, since=NOW - GRACE + timedelta(seconds=1)), Action.WAIT, Kind.SUSPECT),
    (case(S.FAILED, since=NOW + timedelta(hours=1)), Action.WAIT, Kind.SUSPECT),
    (case(S.FAILED, since=NOW - GRACE), Action.CANCEL, Kind.ORPHAN),
    (case(S.FAILED), Action.CANCEL, Kind.ORPHAN),
    (case(S.FAILED, state=JobState.PENDING), Action.CANCEL, Kind.ORPHAN),
    (case(S.FAILED, state=JobState.CANCELLING), Action.CANCEL, Kind.ORPHAN),
    (case(S.FAILED, S.FAILED, reconnects=True), Action.CANCEL, Kind.ORPHAN),
    (case(S.FAILED, reconnects=True), Action.CANCEL, Kind.ORPHAN),
    (case(S.FAILED, S.ALIVE), Action.CANCEL, Kind.ORPHAN),
    (case(S.FAILED, S.SUCCEEDED), Action.CANCEL, Kind.ORPHAN),
    (case(S.DELETED, waits=True), Action.CANCEL, Kind.ORPHAN),
    (case(S.DELETED, unfinished=True), Action.CANCEL, Kind.ORPHAN),
    (case(S.REMOVED, waits=True), Action.CANCEL, Kind.ORPHAN),
    (case(S.REMOVED, unfinished=True), Action.CANCEL, Kind.ORPHAN),
    (case(S.FAILED, S.REMOVED), Action.CANCEL, Kind.ORPHAN),
    (case(S.DELETED, reconnects=True, waits=True), Action.CANCEL, Kind.ORPHAN),
    (case(S.RETRYING), Action.CANCEL, Kind.ORPHAN),
    (case(S.FAILED, deployment=None, is_recorded=True), Action.CANCEL, Kind.ORPHAN),
]


@pytest.mark.parametrize("given_case, action, kind", TABLE)
def test_table(given_case: Case, action: Action, kind: Kind) -> None:
    decision = decide(given_case, OURS, NOW, GRACE)
    assert (decision.action, decision.kind) == (action, kind)
    assert decision.because


def test_table_has_every_kind() -> None:
    assert {kind for _, _, kind in TABLE} == set(Kind)


def test_the_reason_names_the_task_and_its_state() -> None:
    words = decide(case(S.FAILED, S.ALIVE), OURS, NOW, GRACE).because
    assert words == "dag / run / task is failed, replaced by a try that is alive"
    assert str(OwnerState(S.DELETED)) == "its task is deleted"
    waiting = decide(case(S.FAILED, since=NOW - timedelta(seconds=7)), OURS, NOW, GRACE)
    assert waiting.because.endswith("first seen 7 s ago")


@pytest.mark.parametrize(
    "state, expected",
    [
        (None, S.ALIVE),
        ("running", S.ALIVE),
        ("queued", S.ALIVE),
        ("deferred", S.ALIVE),
        ("restarting", S.ALIVE),
        ("up_for_reschedule", S.ALIVE),
        ("a state to come", S.ALIVE),
        ("up_for_retry", S.RETRYING),
        ("success", S.SUCCEEDED),
        ("failed", S.FAILED),
        ("skipped", S.FAILED),
        ("upstream_failed", S.FAILED),
        ("awaiting_input", S.ALIVE),
        ("removed", S.REMOVED),
    ],
)
def test_what_a_state_means(state: str | None, expected: Standing) -> None:
    assert standing(state) is expected
    is_kept = expected in (S.SUCCEEDED, S.REMOVED)
    assert standing_before(state) is (expected if is_kept else S.FAILED)


def test_a_try_for_people() -> None:
    assert task_name("d", "r", "t", 3, 2) == "d / r / t[3] try 2"
    assert task_name("d", "r", "t", -1) == "d / r / t"


def test_a_variable_names_an_owner_of_its_own_label_only() -> None:
    owner = Owner(OURS, "d", "r", "t", -1, 1, TI)
    assert owner_in(str(owner), owner.label) == owner
    assert owner_in(str(owner), Label(THEIRS, TI)) is None
    assert owner_in(str(owner), Label(OURS, UUID(int=1))) is None
    assert owner_in("broken", owner.label) is None
    assert owner_in(None, owner.label) is None


def test_names_that_are_disputed_or_none_are_not_asked_for() -> None:
    owner, other = Owner(OURS, "d", "r", "t", -1, 1, TI), Label(OURS, UUID(int=1))
    label = Label(OURS, TI, waits=True, owner=owner)
    forged = replace(label, owner=replace(owner, dag_id="none"))
    assert read(undisputed([label, other, label])) == read([label, other])
    for disputed in ([label, forged], [forged, label, label], [label, Label(OURS, TI, waits=True)]):
        assert read(undisputed(disputed)) == [(Label(OURS, TI), None, False, False)]
    assert read(undisputed([label, Label(OURS, TI)])) == [(Label(OURS, TI), None, False, False)]
    # That a next try may take over counts, whoever says it.
    reconnects = undisputed([Label(OURS, TI), Label(OURS, TI, reconnects=True), Label(OURS, TI)])
    assert read(reconnects) == [(Label(OURS, TI), None, True, False)]


@pytest.mark.parametrize(
    "names",
    [
        {"dag_id": ".."},
        {"run_id": "a/b"},
        {"task_id": ""},
        {"task_id": "."},
        {"dag_id": "a\0"},
        {"run_id": "a" * 251},
        {"map_index": 2**40},
        {"map_index": -2},
    ],
)
def test_names_that_no_task_has(names: dict[str, Any]) -> None:
    owner = replace(Owner(OURS, "d", "r", "t", -1, 1, TI), **names)
    assert read(undisputed([Label(OURS, TI, owner=owner)])) == [(Label(OURS, TI), None, False, False)]
    assert owner_in(str(owner), Label(OURS, TI)) is None


def read(labels: list[Label]) -> list[tuple[Label, Owner | None, bool, bool]]:
    """All that labels say; they are equal by their try alone."""
    return [(label, label.owner, label.reconnects, label.waits) for label in labels]


def test_of_two_labels_the_last_counts() -> None:
    first, last = Label(OURS, UUID(int=1), waits=True), Label(OURS, TI, reconnects=True)
    found = Label.find(f"nightly {first} {last}")
    assert found == last
    assert (found.reconnects, found.waits) == (True, False)
    assert Label.find(f"nightly-{first}-{last}") == last
    # The names behind a label may look like one.
    owner = Owner(OURS, "d", f"r {first}", "t", -1, 1, TI)
    assert read([Label.find(owner.label.in_full)]) == read([owner.label])  # type: ignore[list-item]


labels = st.none() | st.builds(
    Label, st.sampled_from([OURS, THEIRS]), st.just(TI), st.booleans(), st.booleans()
)
owners = st.none() | st.builds(
    OwnerState,
    st.sampled_from(S),
    st.none() | st.sampled_from(S),
    st.just(""),
    st.just(""),
    st.booleans(),
)
moments = st.none() | st.timedeltas(timedelta(days=-2), timedelta(days=2)).map(lambda past: NOW - past)
cases = st.builds(
    Case,
    st.builds(JobStatus, st.builds(JobStatus, st.just(JOB), st.sampled_from(JobState)), labels),
    owners,
    moments,
    st.booleans(),
    st.booleans(),
    st.none() | st.just("denied"),
)
graces = st.timedeltas(timedelta(0), timedelta(days=1))


def has_a_right(of: Case, grace: timedelta) -> bool:
    """Whether a job must be left alone: said in another way than the code does."""
    label, owner, since = of.claim.label, of.owner, of.suspected_since
    reconnects = label is None or label.reconnects
    return any(
        [
            label is None and not of.is_recorded,
            label is not None and label.deployment != OURS,
            owner is None,
            owner is not None and owner.standing in (S.UNKNOWN, S.ALIVE, S.SUCCEEDED),
            owner is not None and owner.standing in (S.DELETED, S.REMOVED) and not is_known_unfinished(of),
            reconnects and owner is not None and owner.standing is S.RETRYING,
            reconnects and owner is not None and owner.later in (*GOING_ON, S.REMOVED, S.UNKNOWN),
            of.is_released,
            of.letter is not None,
            of.claim.state.is_terminal,
            since is None or NOW - since < grace,
        ]
    )


def is_known_unfinished(of: Case) -> bool:
    waits = of.claim.label is not None and of.claim.label.waits
    return waits or (of.owner is not None and of.owner.is_unfinished)


@given(cases, graces)
def test_who_has_a_right_lives_and_nobody_else(of: Case, grace: timedelta) -> None:
    assert (decide(of, OURS, NOW, grace).action is Action.CANCEL) is not has_a_right(of, grace)


dead = st.builds(
    OwnerState,
    st.sampled_from([S.FAILED, S.DELETED, S.REMOVED, S.RETRYING]),
    st.none() | st.sampled_from(S),
    is_unfinished=st.just(value=True),
)
orphans = st.builds(
    Case,
    st.builds(
        JobStatus,
        st.builds(JobStatus, st.just(JOB), st.sampled_from([s for s in JobState if not s.is_terminal])),
        st.just(Label(OURS, TI, waits=True)),
    ),
    dead,
    st.timedeltas(timedelta(days=1), timedelta(days=9)).map(lambda past: NOW - past),
)


@given(orphans, graces)
def test_an_orphan_is_cancelled_once_its_time_has_come(of: Case, grace: timedelta) -> None:
    assert not has_a_right(of, grace)
    assert decide(of, OURS, NOW, grace).kind is Kind.ORPHAN
    assert decide(replace(of, suspected_since=None), OURS, NOW, grace).kind is Kind.SUSPECT
    early = replace(of, suspected_since=NOW - grace + timedelta(seconds=1))
    assert decide(early, OURS, NOW, grace).kind is Kind.SUSPECT


RECONNECTING = Label(OURS, TI, reconnects=True)
RIGHTS: dict[str, Callable[[Case], Case]] = {
    "ended": lambda of: _claim(of, status=JobStatus(JOB, JobState.SUCCEEDED)),
    "no label": lambda of: _claim(of, label=None),
    "foreign": lambda of: _claim(of, label=Label(THEIRS, TI)),
    "unanswered": lambda of: replace(of, owner=None),
    "unknown": lambda of: replace(of, owner=OwnerState(S.UNKNOWN)),
    "alive": lambda of: replace(of, owner=OwnerState(S.ALIVE)),
    "maybe succeeded": lambda of: _claim(replace(of, owner=OwnerState(S.DELETED)), label=Label(OURS, TI)),
    "succeeded": lambda of: replace(of, owner=OwnerState(S.SUCCEEDED)),
    "reconnects": lambda of: _claim(replace(of, owner=OwnerState(S.RETRYING)), label=RECONNECTING),
    "taken over": lambda of: _claim(replace(of, owner=OwnerState(S.FAILED, S.ALIVE)), label=RECONNECTING),
    "released": lambda of: replace(of, is_released=True),
    "lettered": lambda of: replace(of, letter="denied"),
    "not seen before": lambda of: replace(of, suspected_since=None),
    "in the future": lambda of: replace(of, suspected_since=NOW + timedelta(days=1)),
}


def _claim(of: Case, **changes: Any) -> Case:
    return replace(of, claim=replace(of.claim, **changes))


@pytest.mark.parametrize("right", RIGHTS)
@given(orphans, graces)
def test_one_right_is_enough(right: str, of: Case, grace: timedelta) -> None:
    assert decide(RIGHTS[right](of), OURS, NOW, grace).action is not Action.CANCEL


@given(cases, graces)
def test_every_decision_has_its_action(of: Case, grace: timedelta) -> None:
    decision = decide(of, OURS, NOW, grace)
    expected = {Kind.ORPHAN: Action.CANCEL, Kind.SUSPECT: Action.WAIT, Kind.UNANSWERED: Action.WAIT}
    assert decision.action is expected.get(decision.kind, Action.KEEP)
