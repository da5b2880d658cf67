"""Which job is an orphan: every kind in a table, and what never happens as properties."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob
from airflow_cancel_provider.owner import Label, Owner
from airflow_cancel_provider.reaper.backends.base import NOT_THERE, OwnerState, TryPhase
from airflow_cancel_provider.reaper.judge import Case, DecisionKind, Judge, decide
from airflow_cancel_provider.release import Release
from tests.reaper_fixtures import MemoryAirflow

JOB, OTHER = (RemoteJob(f"emr://aws_default@us-east-1/j-1/s-{number}") for number in (1, 2))
OURS, THEIRS = "0a1b2c3d", "99999999"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
BEGUN = NOW - timedelta(hours=10)
TI = UUID(int=(int(BEGUN.timestamp() * 1000) << 80) | 0x7C3A_9D15_3F1B_5A4C_2D10)
OTHER_ID = UUID(int=2**128 - 1, version=4)
GRACE = timedelta(seconds=30)
LONG_AGO = NOW - timedelta(hours=1)
ENDED = NOW - timedelta(hours=9)
ALMOST_LATE, SOON, LATER = (timedelta(minutes=15, seconds=seconds) for seconds in (-1, 0, 1))
WEEK = BEGUN - ENDED + timedelta(days=7)
OVER_A_WEEK = WEEK + timedelta(seconds=1)
S = TryPhase
GOING_ON = (S.ALIVE, S.RETRYING, S.SUCCEEDED)


def case(
    owner: TryPhase | None,
    later: TryPhase | None = None,
    *,
    state: JobState = JobState.RUNNING,
    deployment: str | None = OURS,
    reconnects: bool = False,
    release: Release | None = None,
    since: datetime | None = LONG_AGO,
    after: timedelta | None = None,
    ti_id: UUID = TI,
    ended: datetime = ENDED,
    **more: Any,
) -> Case:
    label = Label(deployment, ti_id, reconnects) if deployment else None
    known = OwnerState(owner, later, "dag / run / task", "failed", release, ended) if owner else None
    submitted = None if after is None else ENDED + after
    return Case(JobStatus(JOB, state, label=label, submitted_at=submitted), known, since, **more)


ALL, THIS, ANOTHER = Release(all=True), Release(all=False, jobs=(JOB,)), Release(all=False, jobs=(OTHER,))
BROKEN = Release.parse("no release")

TABLE = [
    (case(S.FAILED, state=JobState.CANCELLED), DecisionKind.ENDED),
    (case(S.FAILED, state=JobState.GONE), DecisionKind.ENDED),
    (case(None, deployment=None), DecisionKind.UNLABELLED),
    (case(S.FAILED, deployment=None), DecisionKind.UNLABELLED),
    (case(S.FAILED, deployment=THEIRS), DecisionKind.FOREIGN),
    (case(None), DecisionKind.UNANSWERED),
    (case(S.UNKNOWN), DecisionKind.UNKNOWN),
    # Fire and forget; then the run was deleted, or the task removed.
    (case(S.DELETED, release=ALL), DecisionKind.RELEASED),
    (case(S.REMOVED, release=ALL), DecisionKind.RELEASED),
    (case(S.DELETED, release=THIS), DecisionKind.RELEASED),
    (case(S.FAILED, release=THIS), DecisionKind.RELEASED),
    (case(S.RETRYING, release=THIS), DecisionKind.RELEASED),
    (case(S.DELETED, release=BROKEN), DecisionKind.RELEASED),
    (case(S.ALIVE, release=ANOTHER), DecisionKind.ALIVE),
    (case(S.ALIVE), DecisionKind.ALIVE),
    (case(S.SUCCEEDED), DecisionKind.SUCCEEDED),
    (case(S.SUCCEEDED, S.FAILED), DecisionKind.SUCCEEDED),
    (case(S.RETRYING, reconnects=True), DecisionKind.RECONNECTING),
    (case(S.FAILED, S.ALIVE, reconnects=True), DecisionKind.RECONNECTING),
    (case(S.FAILED, S.SUCCEEDED, reconnects=True), DecisionKind.RECONNECTING),
    (case(S.FAILED, S.REMOVED, reconnects=True), DecisionKind.RECONNECTING),
    # `airflow db clean` has removed an earlier try; a later one may go on with its job.
    (case(S.DELETED, reconnects=True), DecisionKind.UNKNOWN),
    # A person has cloned a job with its label.
    (case(S.FAILED, after=LATER), DecisionKind.COPIED),
    (case(S.RETRYING, after=LATER), DecisionKind.COPIED),
    (case(S.FAILED, S.FAILED, reconnects=True, after=LATER), DecisionKind.COPIED),
    (case(S.FAILED, S.ALIVE, reconnects=True, after=LATER), DecisionKind.RECONNECTING),
    (case(S.FAILED, after=SOON), DecisionKind.ORPHAN),
    (case(S.FAILED, after=-LATER), DecisionKind.ORPHAN),
    # It may have been removed while it ran: its end tells nothing.
    (case(S.REMOVED, after=LATER), DecisionKind.ORPHAN),
    # Its id tells when it was created.
    *((case(phase, after=WEEK), DecisionKind.ORPHAN) for phase in (S.DELETED, S.REMOVED)),
    *((case(phase, after=OVER_A_WEEK), DecisionKind.COPIED) for phase in (S.DELETED, S.REMOVED)),
    *(
        (case(phase, after=OVER_A_WEEK, ti_id=OTHER_ID), DecisionKind.ORPHAN)
        for phase in (S.DELETED, S.REMOVED)
    ),
    (case(S.DELETED, after=timedelta(days=-1)), DecisionKind.ORPHAN),
    (case(S.FAILED, letter="denied"), DecisionKind.DEAD_LETTER),
    (case(S.FAILED, since=None), DecisionKind.SUSPECT),
    (case(S.FAILED, since=NOW - GRACE + timedelta(seconds=1)), DecisionKind.SUSPECT),
    (case(S.FAILED, since=NOW + timedelta(hours=1)), DecisionKind.SUSPECT),
    (case(S.FAILED, since=NOW - GRACE), DecisionKind.ORPHAN),
    (case(S.FAILED), DecisionKind.ORPHAN),
    (case(S.FAILED, release=ANOTHER), DecisionKind.ORPHAN),
    (case(S.FAILED, state=JobState.PENDING), DecisionKind.ORPHAN),
    (case(S.FAILED, state=JobState.CANCELLING), DecisionKind.ORPHAN),
    # Its guard is at it.
    (case(S.FAILED, state=JobState.CANCELLING, ended=NOW - ALMOST_LATE), DecisionKind.ENDING),
    (case(S.FAILED, state=JobState.CANCELLING, ended=NOW - ALMOST_LATE, since=None), DecisionKind.ENDING),
    (case(S.FAILED, state=JobState.CANCELLING, ended=NOW - SOON), DecisionKind.ORPHAN),
    (case(S.FAILED, ended=NOW - ALMOST_LATE), DecisionKind.ORPHAN),
    (case(S.FAILED, S.FAILED, reconnects=True), DecisionKind.ORPHAN),
    (case(S.FAILED, reconnects=True), DecisionKind.ORPHAN),
    (case(S.REMOVED, reconnects=True), DecisionKind.ORPHAN),
    (case(S.FAILED, S.ALIVE), DecisionKind.ORPHAN),
    (case(S.FAILED, S.SUCCEEDED), DecisionKind.ORPHAN),
    (case(S.DELETED), DecisionKind.ORPHAN),
    (case(S.DELETED, release=ANOTHER), DecisionKind.ORPHAN),
    (case(S.REMOVED), DecisionKind.ORPHAN),
    (case(S.FAILED, S.REMOVED), DecisionKind.ORPHAN),
    (case(S.RETRYING), DecisionKind.ORPHAN),
]


@pytest.mark.parametrize("given_case, kind", TABLE)
def test_table(given_case: Case, kind: DecisionKind) -> None:
    decision = decide(given_case, OURS, NOW, GRACE)
    assert decision.kind is kind
    assert decision.because


def test_table_has_every_kind() -> None:
    assert {kind for _, kind in TABLE} == set(DecisionKind)


def test_the_reason_names_the_task_and_its_state() -> None:
    words = decide(case(S.FAILED, S.ALIVE), OURS, NOW, GRACE).because
    assert words == "dag / run / task is failed, replaced by a try that is alive"
    assert str(OwnerState(S.DELETED)) == "its task is deleted"
    copied = decide(case(S.FAILED, after=LATER), OURS, NOW, GRACE).because
    assert copied.startswith("dag / run / task is failed since 2026-11-20 03:00:00 UTC, and the job was")
    copied = decide(case(S.DELETED, after=OVER_A_WEEK), OURS, NOW, GRACE).because
    assert copied.startswith("dag / run / task is failed, and the job was started 7 days after its try")
    waiting = decide(case(S.FAILED, since=NOW - timedelta(seconds=7)), OURS, NOW, GRACE)
    assert waiting.because.endswith("first seen 7 s ago")


labels = st.none() | st.builds(Label, st.sampled_from([OURS, THEIRS]), st.just(TI), st.booleans())
releases = st.none() | st.sampled_from([ALL, THIS, ANOTHER, BROKEN])
owners = st.none() | st.builds(
    OwnerState, st.sampled_from(S), st.none() | st.sampled_from(S), st.just(""), st.just(""), releases
)
moments = st.none() | st.timedeltas(timedelta(days=-2), timedelta(days=2)).map(lambda past: NOW - past)
statuses = st.builds(JobStatus, st.just(JOB), st.sampled_from(JobState), label=labels)
cases = st.builds(Case, statuses, owners, moments, st.none() | st.just("denied"))
graces = st.timedeltas(timedelta(0), timedelta(days=1))


def has_a_right(of: Case, grace: timedelta) -> bool:
    """Whether a job must be left alone: said in another way than the code does."""
    label, owner, since = of.claim.label, of.owner, of.suspected_since
    if label is None or label.deployment != OURS or owner is None or since is None:
        return True
    return any(
        [
            owner.phase in (S.UNKNOWN, S.ALIVE, S.SUCCEEDED),
            owner.release in (ALL, THIS, BROKEN),
            label.reconnects and owner.phase in (S.RETRYING, S.DELETED),
            label.reconnects and owner.later in (*GOING_ON, S.REMOVED),
            of.letter is not None,
            of.claim.state.is_terminal,
            NOW - since < grace,
        ]
    )


@given(cases, graces)
def test_who_has_a_right_lives_and_nobody_else(of: Case, grace: timedelta) -> None:
    assert (decide(of, OURS, NOW, grace).kind is DecisionKind.ORPHAN) is not has_a_right(of, grace)


dead = st.builds(
    OwnerState,
    st.sampled_from([S.FAILED, S.DELETED, S.REMOVED, S.RETRYING]),
    st.none() | st.sampled_from(S),
    release=st.none() | st.just(ANOTHER),
)
orphans = st.builds(
    Case,
    st.builds(
        JobStatus,
        st.just(JOB),
        st.sampled_from([state for state in JobState if not state.is_terminal]),
        label=st.just(Label(OURS, TI)),
    ),
    dead,
    st.timedeltas(timedelta(days=1), timedelta(days=9)).map(lambda past: NOW - past),
)


@given(orphans, graces)
def test_an_orphan_is_cancelled_once_its_time_has_come(of: Case, grace: timedelta) -> None:
    assert not has_a_right(of, grace)
    assert decide(of, OURS, NOW, grace).kind is DecisionKind.ORPHAN
    assert decide(replace(of, suspected_since=None), OURS, NOW, grace).kind is DecisionKind.SUSPECT
    early = replace(of, suspected_since=NOW - grace + timedelta(seconds=1))
    assert decide(early, OURS, NOW, grace).kind is DecisionKind.SUSPECT


RECONNECTING = Label(OURS, TI, reconnects=True)
RIGHTS: dict[str, Callable[[Case], Case]] = {
    "ended": lambda of: _claim(of, state=JobState.SUCCEEDED),
    "no label": lambda of: _claim(of, label=None),
    "foreign": lambda of: _claim(of, label=Label(THEIRS, TI)),
    "unanswered": lambda of: replace(of, owner=None),
    "unknown": lambda of: replace(of, owner=OwnerState(S.UNKNOWN)),
    "alive": lambda of: replace(of, owner=OwnerState(S.ALIVE)),
    "maybe taken over": lambda of: _claim(replace(of, owner=OwnerState(S.DELETED)), label=RECONNECTING),
    "succeeded": lambda of: replace(of, owner=OwnerState(S.SUCCEEDED)),
    "reconnects": lambda of: _claim(replace(of, owner=OwnerState(S.RETRYING)), label=RECONNECTING),
    "taken over": lambda of: _claim(replace(of, owner=OwnerState(S.FAILED, S.ALIVE)), label=RECONNECTING),
    "released": lambda of: replace(of, owner=OwnerState(S.DELETED, release=THIS)),
    "all released": lambda of: replace(of, owner=OwnerState(S.REMOVED, release=ALL)),
    "copied": lambda of: _claim(
        replace(of, owner=OwnerState(S.FAILED, ended=ENDED)), submitted_at=ENDED + LATER
    ),
    "lettered": lambda of: replace(of, letter="denied"),
    "not seen before": lambda of: replace(of, suspected_since=None),
    "in the future": lambda of: replace(of, suspected_since=NOW + timedelta(days=1)),
}


def _claim(of: Case, **changes: Any) -> Case:
    return replace(of, claim=replace(of.claim, **changes))


@pytest.mark.parametrize("right", RIGHTS)
@given(orphans, graces)
def test_one_right_is_enough(right: str, of: Case, grace: timedelta) -> None:
    assert decide(RIGHTS[right](of), OURS, NOW, grace).kind is not DecisionKind.ORPHAN


@given(cases, graces)
def test_only_a_job_of_ours_whose_owner_is_known_is_suspected(of: Case, grace: timedelta) -> None:
    decision, label = decide(of, OURS, NOW, grace), of.claim.label
    is_ours = label is not None and label.deployment == OURS and not of.claim.state.is_terminal
    if decision.kind in (DecisionKind.SUSPECT, DecisionKind.ORPHAN):
        assert is_ours
        assert of.owner is not None
    elif decision.kind is DecisionKind.UNANSWERED:
        assert is_ours
        assert of.owner is None


class TestJudge:
    """The class around the decision: which owner is asked for, and what a second check knows of the first."""

    LABEL = Label(OURS, TI)
    RUNNING = JobStatus(JOB, JobState.RUNNING, name="etl", label=LABEL, submitted_at=LONG_AGO)

    @pytest.fixture
    def judge(self) -> Judge:
        failed = OwnerState(TryPhase.FAILED, None, "dag / run / task")
        return Judge(MemoryAirflow({TI: failed, UUID(int=1): failed}), OURS, timedelta(0), {})

    def test_the_owner_on_the_label_is_asked_for(self, judge: Judge) -> None:
        labelled, unlabelled = judge.decide([self.RUNNING, JobStatus(OTHER, JobState.RUNNING)])
        assert (labelled.decision.kind, unlabelled.decision.kind) == (
            DecisionKind.SUSPECT,
            DecisionKind.UNLABELLED,
        )
        assert labelled.task == "dag / run / task"

    def test_a_task_that_airflow_does_not_name_is_named_by_the_label(self, judge: Judge) -> None:
        """Its run was deleted. Whose job it was is to stand in the report all the same."""
        owner = Owner(OURS, "sales", "run", "load", -1, 2, UUID(int=1))
        deleted = MemoryAirflow({owner.ti_id: OwnerState(TryPhase.DELETED, state=NOT_THERE)})
        (found,) = replace(judge, airflow=deleted).decide([replace(self.RUNNING, label=owner.label)])
        assert found.task == "sales / run / load try 2"
        assert found.decision.because.startswith("sales / run / load try 2 is not in Airflow's database")

    def test_a_second_check_keeps_what_only_the_listing_shows(self, judge: Judge) -> None:
        suspects = judge.decide([self.RUNNING])
        (again,) = judge.decide_again(suspects, [JobStatus(JOB, JobState.RUNNING)])
        assert again.decision.kind is DecisionKind.ORPHAN
        assert again.claim.label == self.LABEL
        assert (again.claim.name, again.claim.submitted_at) == ("etl", LONG_AGO)

    def test_what_the_second_check_shows_counts_more(self, judge: Judge) -> None:
        suspects = judge.decide([self.RUNNING])
        now = replace(self.RUNNING, name="renamed", submitted_at=NOW)
        (again,) = judge.decide_again(suspects, [now])
        assert (again.claim.name, again.claim.submitted_at) == ("renamed", NOW)

    @pytest.mark.parametrize("other", [UUID(int=1), UUID(int=(1 << 128) - 1)])
    def test_a_job_with_another_label_is_a_suspect_for_the_first_time(
        self, judge: Judge, other: UUID
    ) -> None:
        suspects = judge.decide([self.RUNNING])
        (again,) = judge.decide_again(suspects, [replace(self.RUNNING, label=Label(OURS, other))])
        assert again.decision.kind is not DecisionKind.ORPHAN

    def test_a_deployment_is_compared_by_its_letters(self, judge: Judge) -> None:
        label = Label(OURS.encode().decode(), TI)
        assert label.deployment is not judge.deployment
        (found,) = judge.decide([replace(self.RUNNING, label=label)])
        assert found.decision.kind is DecisionKind.SUSPECT

    @pytest.mark.parametrize("deployment", ["00000000", THEIRS, "production"])
    def test_nobody_asks_for_the_owners_of_another_deployment(self, judge: Judge, deployment: str) -> None:
        foreign = replace(
            self.RUNNING, label=Label(deployment, UUID(int=2))
        )  # one that Airflow does not know
        (found,) = judge.decide([foreign])
        assert found.decision.kind is DecisionKind.FOREIGN
        assert judge.troubles == []
        assert cast("MemoryAirflow", judge.airflow).questions == 0
