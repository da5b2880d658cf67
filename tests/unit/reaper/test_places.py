"""The places and scopes that a reaper checks."""

from __future__ import annotations

import pytest

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.reaper.places import Place, places


class TestPlaces:
    def test_what_they_are_called(self) -> None:
        assert places(["aws://a@eu-west-1", "mrs://m", "batch://"]) == [
            Place("emr", "a", "eu-west-1"),
            Place("batch", "a", "eu-west-1"),
            Place("emr-serverless", "a", "eu-west-1"),
            Place("emr-containers", "a", "eu-west-1"),
            Place("glue", "a", "eu-west-1"),
            Place("mrs", "m"),
            Place("batch"),
        ]
        assert list(map(str, places(["emr://a@eu-west-1", "batch://"]))) == ["emr://a@eu-west-1", "batch://"]

    @pytest.mark.parametrize(
        "text", ["aws", "gcp://a", "aws://a@b@c", "", "aws://a b", "AWS://a", "aws://%ff"]
    )
    def test_what_is_none(self, text: str) -> None:
        with pytest.raises(InvalidInput):
            places([text])

    def test_a_connection_whose_name_has_other_letters(self) -> None:
        """Airflow takes slashes in ids, and jobs' addresses have them encoded."""
        job = RemoteJob.of("batch", "1", conn_id="prod/aws #1", region="r")
        text = "batch://prod%2Faws%20%231@r"
        assert places([text]) == [Place("batch", "prod/aws #1", "r")] == [Place.of(job)]
        assert str(Place.of(job)) == text
        assert str(job).startswith(f"{text}/")
