"""What commands write. ``tests/aws_cli`` compares it with the AWS CLI's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_cancel_provider.cli.service_commands.output import OUTPUTS, searcher, written
from airflow_cancel_provider.exceptions import InvalidInput

REPLY = {"Jobs": [{"Id": "a", "Tags": ["x", "y"]}, {"Id": "ü"}], "Count": 2}


@pytest.mark.parametrize(
    "reply, text",
    [
        ("ü", "ü\n"),
        (None, "None\n"),
        (["a", 2], "a\t2\n"),
        ([["a", "x"], ["b", None]], "a\tx\nb\tNone\n"),
        ([], ""),
        ({"Id": "ü"}, '{"Id": "ü"}\n'),
        ([{"Id": "a"}, {"Id": "b"}], '{"Id": "a"}\n{"Id": "b"}\n'),
        ([["a", ["x"]]], 'a\t["x"]\n'),
    ],
)
def test_values_and_rows_as_text(reply: Any, text: str) -> None:
    assert written(reply, "text") == text


def test_a_reply_without_a_body_is_no_output() -> None:
    assert [written({}, output) for output in OUTPUTS] == ["", ""]


def test_times_and_bytes_are_text() -> None:
    moment = datetime(2026, 11, 28, 12, tzinfo=UTC)
    assert written([moment, b"ab"], "text") == "2026-11-28T12:00:00+00:00\tYWI=\n"
    assert "2026-11-28T12:00:00+00:00" in written([moment], "json")


@pytest.mark.parametrize("query", ["[", "", "foo(", "a..b"])
def test_a_query_that_is_none(query: str) -> None:
    with pytest.raises(InvalidInput, match="Bad value for --query"):
        searcher(query)


@pytest.mark.parametrize("query", ["sum(Jobs)", "nosuch(Jobs)", "length(Count)"])
def test_a_query_that_does_not_fit(query: str) -> None:
    with pytest.raises(InvalidInput):
        searcher(query)(REPLY)
