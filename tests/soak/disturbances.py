"""What concerns many tasks at once: components that go down and come back, services in trouble."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tests.matrix import phases
from tests.matrix.ground import Ground
from tests.soak.episode import Episode
from tests.soak.plan import COMPONENTS, Disturbance

FAULTS: dict[str, tuple[str, dict[str, Any]]] = {
    "outage": ("reset", {}),
    "throttled": ("throttle", {"rate": 2.0, "burst": 4}),
    "failing": ("server_error", {"every": 2}),
    "losing replies": ("lost_reply", {"every": 4}),
}
"""Kind of fault, and which calls of a service it strikes."""
AFTERWARDS = 30.0
"""Seconds after its end for which trouble of a service may still be why a task failed: tasks retry calls."""
HANGING_EVERY = 10.0


@dataclass
class Trouble:
    """A disturbance as it came: epoch seconds from its begin to its last effect."""

    what: str
    service: str
    begin: float
    end: float


class Disturbances:
    """Brings them about, one after the other, in a thread.

    ``troubles`` is what came so far; ``hung`` counts triggerers that were found hanging and started anew.

    :param episodes: the tasks of this moment: those that a component takes along are told.
    """

    def __init__(self, ground: Ground, episodes: Callable[[], Iterable[Episode]]) -> None:
        self._ground, self._episodes = ground, episodes
        self.troubles: list[Trouble] = []
        self.failures: list[str] = []
        self.hung = 0
        self._stop = threading.Event()
        self._acts: dict[str, Callable[[float], None]] = {
            "triggerer killed": lambda gap: self._restart("triggerer", gap, kill=True),
            "triggerer restarted": lambda gap: self._restart("triggerer", gap),
            "scheduler restarted": self._restart_scheduler,
            "Dag processor restarted": lambda gap: self._restart("dag-processor", gap),
        }

    def run(self, planned: Iterable[Disturbance], begun: float) -> None:
        """Do each at its time; ``begun`` is the monotonic time of the plan's zero."""
        for disturbance in planned:
            if self._wait_until(begun + disturbance.at):
                return
            print(disturbance, flush=True)
            try:
                self._bring(disturbance)
            except Exception as error:  # noqa: BLE001  the soak goes on, and says so in the end
                self.failures.append(f"{disturbance}: {error!r}")

    def stop(self) -> None:
        """Begin no more."""
        self._stop.set()

    def _bring(self, disturbance: Disturbance) -> None:
        what, service, now = disturbance.what, disturbance.service, time.time()
        trouble = Trouble(what, service, now, now + disturbance.seconds)
        self.troubles.append(trouble)
        if what in COMPONENTS:
            self._acts[what](disturbance.seconds)
            trouble.end = time.time() + AFTERWARDS
            return
        kind, calls = FAULTS[what]
        self._ground.cloud.faults.add(service, "*", kind, seconds=disturbance.seconds, **calls)
        trouble.end += AFTERWARDS

    def _restart(self, name: str, gap: float, *, kill: bool = False) -> None:
        if kill:
            phases.kill(self._ground, name)
        else:
            self._ground.airflow.processes.stop(name)
        time.sleep(gap)
        self._ground.airflow.start_component(name)

    def _restart_scheduler(self, gap: float) -> None:
        """Restart it; what runs under it ends with it, what is deferred does not."""
        for episode in self._episodes():
            if episode.has_a_process():
                episode.record.caused("scheduler restarted", AFTERWARDS + gap)
        self._restart("scheduler", gap)

    def _wait_until(self, at: float) -> bool:
        """Wait, and see to the triggerer meanwhile; whether it is time to stop."""
        while (left := at - time.monotonic()) > 0:
            if self._stop.wait(min(left, HANGING_EVERY)):
                return True
            self.hung += phases.mend(self._ground)
        return self._stop.is_set()
