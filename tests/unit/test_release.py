"""What a release covers, and which label counts."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID

import pytest

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import Label, Owner, release_key
from airflow_cancel_provider.reaper.backends.base import RELEASE_PREFIX
from airflow_cancel_provider.release import Release

JOB, OTHER = (RemoteJob(f"emr://aws_default@us-east-1/j-1/s-{number}") for number in (1, 2))
OURS, TI = "0a1b2c3d", UUID(int=7)


class TestRelease:
    def test_its_key(self) -> None:
        assert release_key(TI) == release_key(str(TI)) == f"remote_jobs_released_{TI}"
        assert release_key(TI).startswith(RELEASE_PREFIX)

    def test_what_a_guard_writes(self) -> None:
        text = json.dumps({"all": False, "jobs": [JOB], "at": "2026-11-20T12:00:00+01:00", "task": "d / r"})
        release = Release.parse(text)
        assert release == Release(all=False, jobs=(JOB,), at=datetime(2026, 11, 20, 11, tzinfo=UTC))
        assert release.covers(JOB)
        assert not release.covers(OTHER)
        assert Release.parse(json.dumps({"all": True, "jobs": [JOB]})).covers(OTHER)

    def test_over_whatever_connection_the_job_is_reached(self) -> None:
        here = RemoteJob("batch://aws_default@us-east-1/5b1f")
        for there in ("batch://5b1f", "batch://other@us-east-1/5b1f", "batch://@us-east-1/5b1f"):
            with suppress(InvalidInput):
                assert Release(all=False, jobs=(RemoteJob(there),)).covers(here)
        assert not Release(all=False, jobs=(RemoteJob("emr://a/j-2/s-1"),)).covers(JOB)

    @pytest.mark.parametrize(
        "text",
        [
            *("", "1", "null", "[]", "{}", "no JSON", "[" * 100_000, '{"all": "no", "jobs": []}'),
            *('{"all": false}', '{"all": false, "jobs": "batch://a/1"}', '{"all": false, "jobs": [7]}'),
            *('{"all": 0, "jobs": []}', '{"all": false, "jobs": ["no address"]}', None),
        ],
    )
    def test_what_can_not_be_read_covers_everything(self, text: str | None) -> None:
        """In doubt a job is kept; also after it has travelled from the API server."""
        for release in (Release.parse(text), Release.from_json(Release.parse(text).as_json())):
            assert release.covers(JOB)
            assert "can't be read" in str(release)


def test_of_two_labels_the_last_counts() -> None:
    first, last = Label(OURS, UUID(int=1)), Label(OURS, TI, reconnects=True)
    found = Label.find(f"nightly {first} {last}")
    assert found == last
    assert found.reconnects
    assert Label.find(f"nightly-{first}-{last}") == last
    # The names behind a label may look like one.
    owner = Owner(OURS, "d", f"r {first}", "t", -1, 1, TI)
    in_full = Label.find(owner.label.in_full)
    assert in_full is not None
    assert (in_full, in_full.owner) == (owner.label, owner)
