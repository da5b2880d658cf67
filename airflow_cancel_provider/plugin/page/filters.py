"""What a user wants to see of the remote jobs, as it stands in the page's address."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from airflow_cancel_provider.owner import is_storable

PAGE_SIZE = 50
LONGEST = 250
"""Characters of a Dag's, a run's or a task's id."""
MOST_PAGES = 100_000
STATES = {
    "living": "Active",
    "ended": "Ended",
    "released": "Released",
    "unknown": "Unknown",
    "foreign": "Another Airflow's",
}
AGES = {"1h": timedelta(hours=1), "1d": timedelta(days=1), "7d": timedelta(days=7), "30d": timedelta(days=30)}


@dataclass(frozen=True)
class Filters:
    """Each is empty where it does not matter.

    :param age: a key of :data:`AGES`.
    :param page: from 1 on.
    """

    dag_id: str = ""
    run_id: str = ""
    task_id: str = ""
    map_index: int | None = None
    service: str = ""
    state: str = ""
    age: str = ""
    orphans: bool = False
    page: int = 1

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Filters:
        """Read a query; what it has that means nothing is passed over."""
        texts = {name: query.get(name, "").strip()[:LONGEST] for name in ("dag_id", "run_id", "task_id")}
        map_index = _number(query.get("map_index"))
        is_index = map_index is not None and map_index >= 0 and is_storable(map_index)
        return cls(
            **{name: text for name, text in texts.items() if is_storable(text)},
            map_index=map_index if is_index else None,
            service=query.get("service", "")[:LONGEST],
            state=query["state"] if query.get("state") in STATES else "",
            age=query["age"] if query.get("age") in AGES else "",
            orphans=query.get("orphans") == "1",
            page=min(max(_number(query.get("page")) or 1, 1), MOST_PAGES),
        )

    @property
    def is_narrow(self) -> bool:
        """Whether something is filtered out."""
        return replace(self, page=1) != Filters()

    @property
    def offset(self) -> int:
        """Jobs before this page."""
        return (self.page - 1) * PAGE_SIZE

    @property
    def since(self) -> datetime | None:
        """The earliest time of interest."""
        return datetime.now(UTC) - AGES[self.age] if self.age else None

    def query(self, **changes: Any) -> str:
        """The query of an address with these filters, changed so."""
        changed = replace(self, **changes)
        values = {each.name: getattr(changed, each.name) for each in fields(self)}
        values["orphans"] = "1" if changed.orphans else ""
        values["page"] = changed.page if changed.page > 1 else ""
        given = {name: value for name, value in values.items() if value not in ("", None)}
        return urlencode(given, quote_via=quote)


def _number(text: str | None) -> int | None:
    with suppress(TypeError, ValueError):
        return int(text)  # type: ignore[arg-type]
    return None
