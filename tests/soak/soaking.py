"""A soak from its first task to the last verdict."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait

from tests.matrix.ground import Ground
from tests.soak.disturbances import Disturbances
from tests.soak.episode import Episode
from tests.soak.judge import judge
from tests.soak.places import Places
from tests.soak.plan import Plan, Task
from tests.soak.report import Outcome
from tests.soak.traces import cancelled_by, not_guarded

AT_ONCE = 12
SETTLING_SECONDS = 90.0
LAST_TASKS_SECONDS = 300.0
TOLD_EVERY = 60.0


class Soak:
    """Runs a plan on one ground."""

    def __init__(self, ground: Ground, plan: Plan) -> None:
        self.ground, self.plan = ground, plan
        self.places = Places(ground)
        self.episodes: list[Episode] = []
        self.disturbances = Disturbances(ground, self._living)
        self._slots = threading.Semaphore(AT_ONCE)
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="task")
        self._told = time.monotonic()

    def run(self) -> Outcome:
        """Start and strike tasks until the time is up, let things settle, and judge."""
        begun = time.monotonic()
        trouble = threading.Thread(target=self.disturbances.run, args=(self.plan.disturbances, begun))
        trouble.start()
        futures = [self._start(task) for task in self.plan.tasks if self._comes_in_time(task, begun)]
        self.disturbances.stop()
        trouble.join()
        self._tell("No more tasks; the last come to their ends.")
        _, late = wait(futures, timeout=LAST_TASKS_SECONDS)
        failures = [f"{len(late)} tasks came to no end"] if late else []
        self._tell(f"Settling for {SETTLING_SECONDS:.0f} s.")
        time.sleep(SETTLING_SECONDS)
        return self._conclude([*failures, *self.disturbances.failures, *_errors(futures)])

    def _comes_in_time(self, task: Task, begun: float) -> bool:
        """Wait for a task's time and for a free slot; False if the time is up before there is one."""
        time.sleep(max(0.0, begun + task.at - time.monotonic()))
        end = begun + self.plan.minutes * 60
        if not self._slots.acquire(timeout=max(0.01, end - time.monotonic())):
            return False
        if time.monotonic() >= end:
            self._slots.release()
            return False
        if time.monotonic() - self._told > TOLD_EVERY:
            self._tell(f"{time.monotonic() - begun:5.0f} s")
        return True

    def _start(self, task: Task) -> Future[None]:
        episode = Episode(self.ground, self.places, task)
        self.episodes.append(episode)
        future = self._pool.submit(episode.run)
        future.add_done_callback(lambda _: self._slots.release())
        return future

    def _living(self) -> list[Episode]:
        return [episode for episode in list(self.episodes) if not episode.record.is_over]

    def _tell(self, words: str) -> None:
        self._told = time.monotonic()
        over = sum(episode.record.is_over for episode in self.episodes)
        print(f"{words} {len(self.episodes)} tasks, {over} of them over.", flush=True)

    def _conclude(self, failures: list[str]) -> Outcome:
        """Look at everything once more."""
        try:
            self.ground.airflow.processes.check()
        except RuntimeError as error:
            failures.append(f"a component is down: {error}")
        for episode in self.episodes:
            try:
                episode.look_at_tries()
            except RuntimeError as error:
                failures.append(f"task {episode.task.number} can't be looked at: {error}")
        records = [episode.record for episode in self.episodes]
        jobs = self.ground.cloud.jobs()
        verdicts = judge(jobs, records, self.disturbances.troubles, self.places.company)
        who = cancelled_by(self.ground.airflow.home, [verdict.job for verdict in verdicts])
        failures += [f"not guarded: {log}" for log in not_guarded(self.ground.airflow.home)]
        troubles, hung = self.disturbances.troubles, self.disturbances.hung
        return Outcome(self.plan, records, troubles, verdicts, who, failures, hung)


def _errors(futures: list[Future[None]]) -> list[str]:
    return [repr(error) for future in futures if future.done() and (error := future.exception())]
