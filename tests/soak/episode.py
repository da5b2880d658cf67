"""One task of a soak: it is started, struck, and brought to an end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.matrix import faults
from tests.matrix.ground import SUBMITS, Ground
from tests.matrix.scenario import Cell, Expected
from tests.matrix.victim import ALIVE, Victim, has_run
from tests.real_airflow.world import SUCCEEDED
from tests.soak.kinds import KINDS
from tests.soak.places import Places
from tests.soak.plan import Task
from tests.soak.record import Record, Try
from tests.soak.tries import DELETED, run_state, tries_of

IN_PLACE_SECONDS = 60.0
LEFT_ALONE_SECONDS = 6.0
ENDING_SECONDS = 60.0
LAST_WORDS_SECONDS = 6.0
ATTEMPTS = 4
"""To end a run."""
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
        self._were_there: set[str] = set()

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
        self._were_there = {job["id"] for job in victim.jobs()}
        victim.spare(*self._were_there)
        self.record.dag_id, self.record.scope = victim.dag_id, place
        self.victim = victim
        return victim

    # Before the fault.

    def _begin(self, victim: Victim) -> None:
        if self.task.company:
            try:
                self.places.add_company(self.task.company, self.task.service, victim.scope)
            finally:
                self._keep_company(victim, self.task.company)
        if self.kind.scenario.prepare:
            try:
                self.kind.scenario.prepare(victim)
            finally:
                self._keep_company(victim, "by hand")
        if self.task.calls == "submit":
            self._let_weather_in(victim)
        self.record.begun = time.time()
        if self.kind.scenario.shape in BY_ITSELF:
            self.record.caused(self.kind.name)
        victim.runs = [self.ground.rest.trigger(victim.dag_id, victim.conf)]
        self.record.run_id = victim.runs[0]
        (self.kind.scenario.ready or self._wait_in_place)(victim)
        self.record.in_place = time.time()

    def _keep_company(self, victim: Victim, whose: str) -> None:
        """Whatever is in the place by now is not the task's: more than one where an answer was lost."""
        there = [job["id"] for job in victim.jobs()]
        self.places.note(whose, (job for job in there if job not in self._were_there))
        victim.spare(*there)

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
        tries = tries_of(victim)
        return not tries or tries[-1].state not in ALIVE or tries[-1].start > max(self.record.strikes)

    def _end(self, victim: Victim) -> None:
        """Bring to an end what lives on: its job succeeds, or its run is marked failed."""
        deadline = time.monotonic() + ENDING_SECONDS
        while self._is_open(victim) and time.monotonic() < deadline:
            if self.task.ending == "run failed" and self.kind.scenario.expected is Expected.CANCELLED:
                break
            self._let_succeed(victim)
            time.sleep(STEP * 2)
        for _ in range(ATTEMPTS):
            if self._is_open(victim) or self._task_is_open(victim):
                self._fail_run(victim)
        # Airflow calls a task failed before its process knows: for a moment it may still start a job.
        time.sleep(LAST_WORDS_SECONDS)

    def _fail_run(self, victim: Victim) -> None:
        self.record.caused("run failed in the end")
        self.record.strikes.append(time.time())
        try:
            faults.run_failed(victim)
        except RuntimeError as error:  # Airflow's database lets one of two changes at a time down
            self.record.notes.append(repr(error))
        deadline = time.monotonic() + ENDING_SECONDS / ATTEMPTS
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
        if sensed := victim.conf.get("id"):
            service.finish(sensed, SUCCEEDED[self.task.service])

    def _is_open(self, victim: Victim) -> bool:
        """Whether its run is there and not over."""
        return bool(victim.runs) and run_state(victim) not in ("success", "failed", DELETED)

    def _task_is_open(self, victim: Victim) -> bool:
        tries = tries_of(victim)
        return bool(tries) and tries[-1].state in ALIVE

    def has_a_process(self) -> bool:
        """Whether its task is in, or on its way into, a process; a deferred one is not."""
        if self.victim is None:
            return False
        return any(each.state in ALIVE and each.state != "deferred" for each in tries_of(self.victim))

    # What is written down.

    def _take_notes(self, victim: Victim) -> None:
        self.look_at_tries()
        self.record.is_over = True

    def look_at_tries(self) -> None:
        """Write down how each try stands."""
        victim = self.victim
        if victim is None or not victim.runs:
            return
        if found := tries_of(victim):
            self.record.tries = found
        else:
            end = max(self.record.strikes, default=time.time())
            self.record.tries = [Try(1, DELETED, self.record.begun, end)]
