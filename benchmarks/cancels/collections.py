"""What Python's garbage collector takes of a run: while it collects, no thread of the process goes on."""

from __future__ import annotations

import gc
import time
from typing import Any


class Collections:
    """Full collections from now on; each goes through all objects of the process, Airflow's included."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.times = 0
        self._begun = 0.0
        gc.callbacks.append(self._note)

    def _note(self, phase: str, info: dict[str, Any]) -> None:
        if info["generation"] < 2:
            return
        if phase == "start":
            self._begun = time.perf_counter()
        else:
            self.seconds += time.perf_counter() - self._begun
            self.times += 1
