"""What was asked of the cloud, by whom, and how it went."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Entry:
    """One request. status stays None while there is no answer, and for good when none was sent."""

    time: float
    service: str
    operation: str
    scope: str = ""
    ids: tuple[str, ...] = ()
    region: str = ""
    access_key: str = ""
    status: int | None = None
    fault: str = ""


class Journal:
    """Requests in the order of their arrival. Holds access key ids, never secrets or bodies."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[Entry] = []

    def add(self, entry: Entry) -> None:
        """Note a request as it arrives."""
        with self._lock:
            self._entries.append(entry)

    def __iter__(self) -> Iterator[Entry]:
        with self._lock:
            return iter(list(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def entries(self, service: str = "*", operation: str = "*") -> list[Entry]:
        """The requests for a service and operation."""
        wanted = [entry for entry in self if service in ("*", entry.service)]
        return [entry for entry in wanted if operation in ("*", entry.operation)]

    def count(self, service: str = "*", operation: str = "*") -> int:
        """How many requests came for a service and operation, faults included."""
        return len(self.entries(service, operation))

    def clear(self) -> None:
        """Forget all requests."""
        with self._lock:
            self._entries.clear()

    def as_list(self, service: str = "*", operation: str = "*") -> list[dict[str, Any]]:
        """JSON-ready entries."""
        return [asdict(entry) for entry in self.entries(service, operation)]
