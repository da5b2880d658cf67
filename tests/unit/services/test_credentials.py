"""Logins in the words of others."""

from __future__ import annotations

import time

import pytest

from airflow_cancel_provider.services.credentials import without_logins


@pytest.mark.parametrize(
    "words",
    [
        *(
            "http://user:hunter2@host:1",
            "user:hunter2@host:1",
            "proxies='user:hunter2@host'",
            ":hunter2@host",
        ),
        *("https://host/a?key=hunter2", "https://host?a=b&key=hunter2", "http://u:hunter2?x@h/?hunter2"),
    ],
)
def test_a_login_is_not_repeated(words: str) -> None:
    assert "hunter2" not in without_logins(f"Could not connect to {words}: refused")


@pytest.mark.parametrize("words", ["emr://aws_default@us-east-1/j-1/s-1", "12:30 a@b.com", "Endpoint: a@b"])
def test_other_words_stay(words: str) -> None:
    assert without_logins(words) == words


@pytest.mark.parametrize("line", ["a{color:red;margin:0}", "x", "http://x"])
def test_a_page_without_spaces_holds_nobody_up(line: str) -> None:
    """A proxy's page with its style sheet in one line: no other thread runs while it is searched."""
    begin = time.process_time()
    without_logins(line * (80_000 // len(line)))
    assert time.process_time() - begin < 2
