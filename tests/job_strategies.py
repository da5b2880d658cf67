"""Jobs of any service, and their parts, made by hypothesis."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st

from airflow_cancel_provider.jobs import (
    RemoteJob,
)

HOSTILE = (
    "/@:%#?&=+;,.~[]{}<>|\\'\"$ \t\r\n\0\x7f\x85"
    "\u00a0\u200b\u200e\u200f\u202e\u2028\u2066\ufeff\u00e9\u65e5\U0001f701"
)


hostile_text = st.text(st.sampled_from(HOSTILE) | st.characters(codec="utf-8"), min_size=1)


services = st.from_regex(r"[a-z][a-z0-9-]*", fullmatch=True)


class Parts(NamedTuple):
    service: str
    id: str
    scope: str | None
    conn_id: str | None
    region: str | None

    def job(self) -> RemoteJob:
        return RemoteJob.of(self.service, self.id, scope=self.scope, conn_id=self.conn_id, region=self.region)


def parts_made_of(text: st.SearchStrategy[str], service: st.SearchStrategy[str]) -> st.SearchStrategy[Parts]:
    maybe = st.none() | text
    return st.builds(Parts, service, text, maybe, maybe, maybe)


parts = parts_made_of(hostile_text, services)


jobs = parts.map(Parts.job)
