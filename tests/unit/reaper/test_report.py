"""What a sweep says: to people, to machines, as metrics."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, JobState, JobStatus, RemoteJob
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.reaper.backends.base import OwnerState, TryPhase
from airflow_cancel_provider.reaper.judge import Decision, DecisionKind, Found
from airflow_cancel_provider.reaper.report import Orphan, Report, letter_in_words, send

TI = UUID("01997d3c-6e9f-7c3a-9d15-3f1b5a4c2d10")
SUBMITTED = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
OWNER = OwnerState(TryPhase.FAILED, task="dag / run / task try 1", state="failed")


def found(id: str, kind: DecisionKind = DecisionKind.ORPHAN, deployment: str = "0a1b2c3d") -> Found:
    job = RemoteJob.of("emr", id, scope="j-1", conn_id="aws_default", region="us-east-1")
    status = JobStatus(job, JobState.RUNNING, name="load it")
    claim = replace(status, label=Label(deployment, TI), submitted_at=SUBMITTED)
    return Found(claim, OWNER, Decision(kind, str(OWNER)), SUBMITTED)


def orphan(id: str, outcome: CancelOutcome | None, state: JobState | None = None) -> Orphan:
    each = found(id)
    result = CancelResult(each.job, outcome, "words") if outcome else None
    return Orphan(each, result=result, status=JobStatus(each.job, state) if state else None)


ORPHANS = {
    "ended": orphan("s-1", CancelOutcome.REQUESTED, JobState.CANCELLED),
    "requested": orphan("s-2", CancelOutcome.REQUESTED, JobState.CANCELLING),
    "refused": orphan("s-3", CancelOutcome.REFUSED),
    "unanswered": orphan("s-4", CancelOutcome.UNANSWERED),
    "found": orphan("s-5", None),
    "braked": Orphan(found("s-6"), is_braked=True),
}


@pytest.fixture
def report() -> Report:
    report = Report("0a1b2c3d", started=SUBMITTED + timedelta(hours=2, minutes=10), seconds=1.25)
    for step, kind in (
        ("s-1", DecisionKind.SUSPECT),
        ("s-2", DecisionKind.SUSPECT),
        ("s-9", DecisionKind.ALIVE),
    ):
        report.count("emr://aws_default", "j-1", found(step, kind))
    report.count("emr://aws_default", "j-2", found("s-8", DecisionKind.FOREIGN, "99999999"))
    report.scopes["emr://aws_default/j-3"] += Counter()
    report.orphans = list(ORPHANS.values())
    report.letters = {
        "emr://aws_default@us-east-1/j-1/s-3": {"why": "denied", "since": "2026-11-18T14:40:00+02:00"}
    }
    report.troubles = ["batch://aws_default: ListJobs failed."]
    report.calls = Counter(ListSteps=3, CancelSteps=1)
    return report


@pytest.mark.parametrize("fate", ORPHANS)
def test_what_became_of_an_orphan(fate: str) -> None:
    each = ORPHANS[fate]
    assert each.fate == fate
    assert each.is_over is (fate == "ended")
    assert each.is_taken is (fate in ("ended", "requested"))


@pytest.mark.parametrize("outcome", [CancelOutcome.GONE, CancelOutcome.ALREADY_ENDED])
def test_a_job_that_was_over_before(outcome: CancelOutcome) -> None:
    each = orphan("s-1", outcome)
    assert (each.fate, each.is_taken) == ("ended", False)


def test_for_people(report: Report) -> None:
    lines = str(report).splitlines()
    assert lines[:4] == [
        "Deployment 0a1b2c3d: 1 alive, 1 foreign, 2 suspect; 3 scopes, 4 calls, 1.2 s.",
        "  emr://aws_default/j-1: 1 alive, 2 suspect",
        "  emr://aws_default/j-2: 1 foreign",
        "  of another Airflow, 99999999: 1",
    ]
    assert lines[4] == (
        "  ORPHAN emr://aws_default@us-east-1/j-1/s-1 'load it', "
        "submitted 2026-11-20 12:30:00 UTC, 2 hours ago: dag / run / task try 1 is failed: ended [words]"
    )
    assert lines[-5].endswith("is failed: found")
    assert lines[-4].endswith("is failed: braked")
    assert lines[-3] == (
        "  DEAD LETTER emr://aws_default@us-east-1/j-1/s-3: denied "
        "(since 2026-11-18 12:40:00 UTC, 2 days ago; task unknown)"
    )
    assert lines[-2] == (
        "  Jobs with a dead letter are not asked again. When you have seen to them: "
        "airflow remote-jobs dead-letters --retry JOB, or --acknowledge JOB."
    )
    assert lines[-1] == "  TROUBLE batch://aws_default: ListJobs failed."


def test_nothing_to_say() -> None:
    report = Report("0a1b2c3d")
    assert str(report) == "Deployment 0a1b2c3d: no jobs seen; 0 scopes, 0 calls, 0.0 s."
    assert report.is_clean


def test_a_letter_of_this_sweep_is_not_of_the_future(report: Report) -> None:
    report.seconds = 60
    report.letters = {
        "batch://@r/1": {"why": "denied", "since": (report.started + timedelta(seconds=50)).isoformat()}
    }
    assert " ago; task unknown" in str(report)


def test_a_dry_run_says_what_it_would_do(report: Report) -> None:
    report.is_dry = True
    report.orphans = [ORPHANS["found"], ORPHANS["braked"]]
    words = str(report)
    assert words.startswith("Dry run: nothing is cancelled. Deployment")
    assert "s-5" in words.partition("is failed: would be cancelled")[0]
    assert words.count("would be cancelled") == 1


def test_for_machines(report: Report) -> None:
    values = json.loads(json.dumps(report.as_json()))
    assert values["jobs"] == {"alive": 1, "foreign": 1, "suspect": 2}
    assert values["scopes"]["emr://aws_default/j-1"] == {"alive": 1, "suspect": 2}
    assert values["foreign"] == {"99999999": 1}
    assert values["fates"] == dict.fromkeys(ORPHANS, 1)
    assert values["calls"] == {"ListSteps": 3, "CancelSteps": 1}
    assert (values["dry_run"], values["seconds"], values["troubles"]) == (False, 1.25, report.troubles)
    assert values["orphans"][0] == {
        "job": "emr://aws_default@us-east-1/j-1/s-1",
        "name": "load it",
        "task": "dag / run / task try 1",
        "because": "dag / run / task try 1 is failed",
        "submitted_at": "2026-11-20T12:30:00+00:00",
        "state": "CANCELLED",
        "fate": "ended",
        "detail": "words",
    }


def test_it_can_be_kept_short(report: Report) -> None:
    values = report.as_json(most=1)
    assert [len(values[name]) for name in ("orphans", "scopes", "dead_letters", "troubles")] == [1] * 4
    assert values["fates"] == dict.fromkeys(ORPHANS, 1), "what is counted is counted in full"


@pytest.mark.parametrize("matter", ["troubles", "letters"])
def test_what_a_person_should_look_at(report: Report, matter: str) -> None:
    other = {"troubles": "letters", "letters": "troubles"}[matter]
    setattr(report, other, type(getattr(report, other))())
    assert not report.is_clean
    setattr(report, matter, type(getattr(report, matter))())
    assert report.is_clean


class Figures:
    """Takes metrics."""

    def __init__(self) -> None:
        self.gauges: dict[str, float] = {}
        self.counters: Counter[str] = Counter()

    def incr(self, stat: str, count: int = 1, *, tags: dict[str, str] | None = None) -> None:
        assert tags == {"layer": "reaper", "service": "emr"}
        self.counters[stat] += count

    def timing(self, stat: str, dt: float, *, tags: dict[str, str] | None = None) -> None:
        raise AssertionError(f"{stat}: a sweep does not know when the cancel of one job began")

    def gauge(self, stat: str, value: float) -> None:
        self.gauges[stat] = value


def test_what_became_of_orphans_is_counted_once_though_several_sweeps_report_it(report: Report) -> None:
    sent = Figures()
    send(report, lambda: sent)
    send(report, lambda: sent)
    assert sent.counters == {
        "remote_jobs.cancel.requested.reaper.emr": 2,
        "remote_jobs.cancel.confirmed.reaper.emr": 1,
        "remote_jobs.cancel.failed.reaper.emr": 2,
    }


def test_metrics_that_cannot_be_sent_end_no_sweep(report: Report, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> Figures:
        raise OSError("no such host")

    send(report, fail)
    assert "The metrics of this sweep could not be sent: no such host" in caplog.text


def test_metrics(report: Report) -> None:
    sent = Figures()
    send(report, lambda: sent)
    assert sent.gauges == {
        "remote_jobs.living": 4,
        "remote_jobs.orphans": 6,
        "remote_jobs.cancelled": 2,
        "remote_jobs.confirmed": 1,
        "remote_jobs.braked": 1,
        "remote_jobs.refused": 1,
        "remote_jobs.unanswered": 1,
        "remote_jobs.unknown": 0,
        "remote_jobs.dead_letters": 1,
        "remote_jobs.troubles": 1,
        "remote_jobs.calls": 4,
        "remote_jobs.sweep_seconds": 1.25,
    }


@pytest.mark.parametrize(
    "since, words",
    [
        ("2026-11-20T12:29:00+00:00", "since 2026-11-20 12:29:00 UTC, 1 minute ago;"),
        ("2026-11-20T14:00:00+05:30", "since 2026-11-20 08:30:00 UTC, 4 hours ago;"),
        ("2026-11-20T12:29:00", "since 2026-11-20 12:29:00 UTC, 1 minute ago;"),
        ("2026-11-21T12:30:00Z", "since 2026-11-21 12:30:00 UTC, 1 day ahead;"),
        *((since, "since an unknown time;") for since in ("then", "", None, 7, "9999-12-31T23:59:59-12:00")),
    ],
)
def test_the_age_of_a_dead_letter(since: object, words: str) -> None:
    assert words in letter_in_words("batch://a/1", {"since": since}, SUBMITTED)


def test_a_dead_letter_without_anything_in_it() -> None:
    expected = "batch://a/1: None (since an unknown time; task unknown)"
    assert letter_in_words("batch://a/1", {}, SUBMITTED) == expected
