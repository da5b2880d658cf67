"""The places of a reaper: each a connection in a region, for one service or for all of AWS."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import NamedTuple

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.jobs import RemoteJob, decoded, encoded
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.registry import PLACES, SERVICES

_PLACE = re.compile(
    r"(?P<service>[a-z][a-z0-9-]*)://(?P<conn>[^@/\s]*)(?:@(?P<region>[^@/\s]+))?/?", re.ASCII
)


class Place(NamedTuple):
    """One service over one connection in one region; ``None`` leaves either to the service's own defaults."""

    service: str
    conn_id: str | None = None
    region: str | None = None

    def __str__(self) -> str:
        conn = encoded(self.conn_id or "")
        return f"{self.service}://{conn}" + (f"@{encoded(self.region)}" if self.region else "")

    @classmethod
    def of(cls, job: RemoteJob) -> Place:
        """Where a job is."""
        return cls(*job.service_key)

    @classmethod
    def at(cls, service: JobService) -> Place:
        """Where a service is, with the region of its connection."""
        return cls(service.name, service.conn_id, service.region)

    @classmethod
    def parse(cls, text: str) -> list[Place]:
        """Places that ``service://connection@region`` names; the service ``aws`` stands for all of AWS.

        :raises InvalidInput: this is no place, or there is no such service.
        """
        found = _PLACE.fullmatch(text.strip())
        if found is None:
            raise InvalidInput(
                f"{text!r} is not a place to look for jobs; expected service://connection@region, "
                "as aws://aws_default@us-east-1. A slash in the connection's id is written as %2F."
            )
        named = found["service"]
        if named not in PLACES:
            raise InvalidInput(f"There is no service {named!r}; there are {', '.join(PLACES)}.")
        services = [row.name for row in SERVICES.values() if named in (row.name, row.family)]
        conn, region = (decoded(part or "", text) or None for part in found.group("conn", "region"))
        return [cls(service, conn, region) for service in services]


def places(texts: Iterable[str]) -> list[Place]:
    """Parse places; each once, in the order given.

    :raises InvalidInput: there is none, or one can't be read.
    """
    found = list(dict.fromkeys(place for text in texts for place in Place.parse(text)))
    if not found:
        raise InvalidInput(
            "A reaper needs places to look at, as aws://connection@region or mrs://connection: "
            "name them, or set [cancel_provider] reaper_places."
        )
    return found


@dataclass(frozen=True, slots=True)
class Scopes:
    """Which clusters, queues and applications are checked.

    They are named as :meth:`JobService.scopes` names: Batch queues by name, all else by id.

    :param allow: patterns, one of which has to match.
    :param deny: patterns, none of which may.
    """

    allow: Collection[str] = field(default=("*",))
    deny: Collection[str] = field(default=())

    def chosen(self, scopes: Iterable[str]) -> Iterator[str]:
        """Those that are checked."""
        return (
            scope
            for scope in scopes
            if any(fnmatchcase(scope, pattern) for pattern in self.allow)
            and not any(fnmatchcase(scope, pattern) for pattern in self.deny)
        )
