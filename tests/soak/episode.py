"""One task of a soak: it is started, struck, and brought to an end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.matrix import faults
from tests.matrix.ground import SUBMITS, Ground
from tests.matrix.scenario import Cell, Expected
from tests.matrix.victim import ALIVE, TASK, Victim, has_run, moment
from tests.real_airflow.world import SUCCEEDED
from tests.soak.kinds import KINDS
from tests.soak.places import Places
from tests.soak.plan import Task
from tests.soak.record import FOR_EVER, Record, Try

IN_PLACE_SECONDS = 60.0
LEFT_ALONE_SECONDS = 6.0
ENDING_SECONDS = 60.0
LATE_SECONDS = 60.0
"""For how long after its last bad answer foul weather may still be why a task failed."""
STEP = 0.4
BY_ITSELF = ("timeout", "attempts", "run_timeout")
"""Shapes that end in failure whether anybody does something or not."""


class Episode:
    """The life of one task."""

    def __init__(self, ground: Ground, places: Places, task: Task) -> None:
        self.ground, self.places, self.task = ground, places, task
        self.kind = KINDS[task.kind]
        self.record = Record(task)
        self.victim: Victim | None = None

    def run(self) -> None:
        """Live it from beginning to end; what goes wrong on the way is noted."""
        with self.places.lease(self.task.service) as place:
            victim = self._make_victim(place)
            self._try_to(self._live, victim)
            self._try_to(self._end, victim)
            self._take_notes(victim)

    def _live(self, victim: Victim) -> None:
        self._begin(victim)
        self._strike(victim)
        self._look_on(victim)

    def _try_to(self, act: Callable[[Victim], None], victim: Victim) -> None:
        """What goes wrong is noted: the jobs are judged, however far it came."""
        try:
            act(victim)
        except Exception as error:  # noqa: BLE001  whatever it is, it is this task's
            self.record.notes.append(repr(error))

    def _make_victim(self, place: str) -> Victim:
        scenario = self.kind.scenario
        cell = Cell(scenario, self.task.service, self.task.mode)
        victim = Victim(self.ground, cell, place)
        victim.patience = IN_PLACE_SECONDS
        if self.task.shape:
            victim.dag_id = f"{self.task.shape}__{self.task.service}__{self.task.mode}"
        victim.spare(*(job["id"] for job in victim.jobs()))
        self.record.dag_id, self.record.scope = victim.dag_id, place
        self.victim = victim
        return victim

    # Before the fault.

    def _begin(self, victim: Victim) -> None:
        if self.task.company:
            victim.spare(self.places.add_company(self.task.company, self.task.service, victim.scope))
        before = set(victim.spared)
        if self.kind.scenario.prepare:
            self.kind.scenario.prepare(victim)
        self.places.note_by_hand(victim.spared - before)
        if self.task.calls == "submit":
            self._let_weather_in(victim)
        self.record.begun = time.time()
        if self.kind.scenario.shape in BY_ITSELF:
            self.record.caused(self.kind.name)
        victim.runs = [self.ground.rest.trigger(victim.dag_id, victim.conf)]
        self.record.run_id = victim.runs[0]
        (self.kind.scenario.ready or self._wait_in_place)(victim)
        self.record.in_place = time.time()

    def _wait_in_place(self, victim: Victim) -> None:
        """Wait until the job runs and the task waits for it, or until the task is over."""
        deadline = time.monotonic() + IN_PLACE_SECONDS
        while not any(has_run(job) for job in victim.own_jobs()):
            if victim.task()["state"] not in ALIVE:
                break
            if time.monotonic() > deadline:
                raise TimeoutError("no job")
            time.sleep(STEP)
        victim.look_at_tasks()

    def _let_weather_in(self, victim: Victim) -> None:
        """Let some of the calls about this task's jobs go wrong."""
        if not self.task.weather:
            return
        calls = {"poll": faults.POLLS, "cancel": faults.CANCELS}.get(self.task.calls)
        calls = calls or {service: (operation,) for service, operation in SUBMITS.items()}
        self.record.caused(f"{self.task.weather} on {self.task.calls}", LATE_SECONDS)
        faults.spoil(victim, self.task.weather, calls, times=self.task.times, seconds=LATE_SECONDS / 2)

    # The fault, and what comes of it.

    def _strike(self, victim: Victim) -> None:
        time.sleep(self.task.pause)
        if self.task.calls != "submit":
            self._let_weather_in(victim)
        if self.kind.scenario.expected is Expected.LEFT_ALONE:
            if self.kind.scenario.shape == "senses":
                self.kind.scenario.strike(victim)
            return
        self.record.caused(self.kind.name)
        try:
            self.kind.scenario.strike(victim)
            self.record.is_marked_success = "marked success" in self.kind.name
        finally:
            self.record.strikes += victim.strikes

    def _look_on(self, victim: Victim) -> None:
        """Wait as long as the guard may take."""
        scenario = self.kind.scenario
        if scenario.expected is Expected.LEFT_ALONE:
            time.sleep(LEFT_ALONE_SECONDS)
            return
        deadline = max(self.record.strikes, default=time.time()) + scenario.within
        while time.time() < deadline:
            doomed = [job for job in victim.own_jobs() if job["created_at"] < max(self.record.strikes)]
            if all(job["ended_at"] for job in doomed) and self._try_is_over(victim):
                return
            time.sleep(STEP)

    def _try_is_over(self, victim: Victim) -> bool:
        """Whether the struck task is not at work any more, or a later try of it is."""
        tries = self._tries(victim)
        return not tries or tries[-1].state not in ALIVE or tries[-1].start > max(self.record.strikes)

    def _end(self, victim: Victim) -> None:
        """Bring to an end what lives on: its job succeeds, or its run is marked failed."""
        deadline = time.monotonic() + ENDING_SECONDS
        while self._is_open(victim) and time.monotonic() < deadline:
            if self.task.ending == "run failed" and self.kind.scenario.expected is Expected.CANCELLED:
                break
            self._let_succeed(victim)
            time.sleep(STEP * 2)
        if self._is_open(victim):
            self.record.caused("run failed in the end")
            self.record.strikes.append(time.time())
            faults.run_failed(victim)
        deadline = time.monotonic() + ENDING_SECONDS
        while self._task_is_open(victim) and time.monotonic() < deadline:
            time.sleep(STEP * 2)

    def _let_succeed(self, victim: Victim) -> None:
        """Let the job succeed that was started after the last fault, if its task waits for it."""
        service: Any = self.ground.cloud.services[self.task.service]
        since = max(self.record.strikes, default=0.0)
        for job in victim.own_jobs():
            living = not job["ended_at"] and not job["cancel_requested_at"]
            if living and has_run(job) and job["created_at"] > since:
                service.finish(job["id"], SUCCEEDED[self.task.service])
        if self.kind.scenario.shape == "senses":
            for job_id in {victim.conf["id"]}:
                service.finish(job_id, SUCCEEDED[self.task.service])

    def _is_open(self, victim: Victim) -> bool:
        """Whether its run is there and not over."""
        return bool(victim.runs) and self._run_state(victim) not in ("success", "failed", "deleted")

    def _task_is_open(self, victim: Victim) -> bool:
        tries = self._tries(victim)
        return bool(tries) and tries[-1].state in ALIVE

    def _run_state(self, victim: Victim) -> str:
        try:
            return self.ground.rest.run_state(victim.dag_id, victim.runs[0])
        except RuntimeError as error:
            if "HTTP 404" not in str(error):
                raise
            return "deleted"

    def has_a_process(self) -> bool:
        """Whether its task is in, or on its way into, a process; a deferred one is not."""
        if self.victim is None or not self.victim.runs:
            return False
        return any(each.state in ALIVE and each.state != "deferred" for each in self._tries(self.victim))

    # What is written down.

    def _take_notes(self, victim: Victim) -> None:
        self.record.jobs = [job["id"] for job in victim.own_jobs()]
        self.look_at_tries()
        self.record.is_over = True

    def look_at_tries(self) -> None:
        """Write down how each try stands."""
        victim = self.victim
        if victim is None or not victim.runs:
            return
        if found := self._tries(victim):
            self.record.tries = found
        else:
            end = max(self.record.strikes, default=time.time())
            self.record.tries = [Try(1, "deleted", self.record.begun, end)]

    def _tries(self, victim: Victim) -> list[Try]:
        """All tries so far, the first one first; none if the run was deleted."""
        path = f"dags/{victim.dag_id}/dagRuns/{victim.runs[0]}/taskInstances/{TASK}/tries"
        try:
            found = self.ground.rest.call("GET", path)["task_instances"]
        except RuntimeError as error:
            if "HTTP 404" not in str(error):
                raise
            return []
        return sorted((_try(each) for each in found), key=lambda each: (each.number, each.start))


def _try(found: dict[str, Any]) -> Try:
    start, end = found["start_date"], found["end_date"]
    return Try(
        found["try_number"],
        found["state"],
        moment(start) if start else FOR_EVER,
        moment(end) if end else None,
    )
