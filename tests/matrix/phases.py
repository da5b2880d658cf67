"""Faults of Airflow's components: they concern everybody, so each has the place to itself for a while."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from tests.matrix import faults
from tests.matrix.ground import Ground
from tests.matrix.victim import Victim
from tests.real_airflow.processes import children
from tests.real_airflow.world import eventually

SECOND = "-2"
STARTING = "Starting the triggerer"
"""What a triggerer logs first."""
Group = dict[str, list[Victim]]
"""Victims by the name of their scenario."""


def triggerer(ground: Ground, group: Group) -> None:
    """Restart it; then kill it, do things, and start it again."""
    processes = ground.airflow.processes
    if restarted := group.get("triggerer restarted", []):
        processes.stop("triggerer")
        ground.airflow.start_component("triggerer")
        _wait_for_polls(restarted)
        _strike(restarted)
    killed = group.get("triggerer killed and restarted", [])
    marked = group.get("triggerer killed, marked failed, back", [])
    deleted = group.get("run deleted while triggerer down", [])
    kill(ground, "triggerer")
    for victim in marked:
        faults.marked("failed")(victim)
    for victim in deleted:
        faults.run_deleted(victim)
    time.sleep(2)
    ground.airflow.start_component("triggerer")
    _wait_for_polls(killed)
    _strike(killed)


def two_triggerers(ground: Ground, group: Group) -> None:
    """Freeze a triggerer until its triggers have moved; stop one of the two; kill one for good."""
    moved = group.get("moved to another triggerer", [])
    marked = group.get("its triggerer of two killed, marked failed", [])
    if moved:
        name = _holder(ground, moved[0])
        _to_group(ground, name, signal.SIGSTOP)
        try:
            _wait_until_moved(moved)
        finally:
            _to_group(ground, name, signal.SIGCONT)
        _strike(moved)
        time.sleep(5)
    stopping = group.get("marked failed while its triggerer of two stops", [])
    left = group.get("its triggerer of two stopped", [])
    if stopping or left:
        name = _holder(ground, [*stopping, *left][0])
        _to_group(ground, name, signal.SIGTERM)
        for victim in stopping:
            faults.marked("failed")(victim)
        ground.airflow.processes.stop(name)
        _strike(left)
        _start_another(ground, name)
    if marked:
        name = _holder(ground, marked[0])
        kill(ground, name)
        _wait_until_moved(marked)
        for victim in marked:
            faults.marked("failed")(victim)


def others(ground: Ground, group: Group) -> None:
    """Restart the Dag processor, then the scheduler."""
    processes = ground.airflow.processes
    for component, words in (("dag-processor", "Dag processor"), ("scheduler", "scheduler")):
        victims = group.get(f"{words} restarted", [])
        if not victims:
            continue
        processes.stop(component)
        ground.airflow.start_component(component)
        _strike(victims)
        if component == "dag-processor":
            # The running tasks of LocalExecutor would not survive what comes next.
            time.sleep(12)


def gone(ground: Ground, group: Group) -> None:
    """Kill the triggerer, and let it stay dead."""
    kill(ground, "triggerer")
    for victims in group.values():
        for victim in victims:
            faults.marked("failed")(victim)


def kill(ground: Ground, name: str) -> None:
    """SIGKILL to a component and to all that it has started, which may lead groups of their own."""
    for pid in [*_descendants(ground.airflow.processes.process(name).pid)]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    ground.airflow.processes.stop(name, kill=True)


def _descendants(pid: int) -> Iterator[int]:
    for child in children(pid):
        yield from _descendants(child)
    yield pid


def mend(ground: Ground) -> bool:
    """Start the triggerer anew if it hangs: one cell's deadlock must not be every later cell's orphan."""
    log = _triggerer_log(ground)
    if "appears deadlocked" not in log.rpartition(STARTING)[2]:
        return False
    print("The triggerer hangs; it is started anew.", flush=True)
    starts = log.count(STARTING)
    kill(ground, "triggerer")
    ground.airflow.start_component("triggerer")
    # Who looks again before it has said so would take the old one's words for its.
    eventually(lambda: _triggerer_log(ground).count(STARTING) > starts, "a triggerer", seconds=60)
    return True


def _triggerer_log(ground: Ground) -> str:
    return (ground.airflow.home / "triggerer.log").read_text(errors="replace")


def _strike(victims: Iterable[Victim]) -> None:
    for victim in victims:
        victim.strike()


def _wait_for_polls(victims: Sequence[Victim]) -> None:
    """Wait until each job is polled again: its trigger is back."""
    since = time.time()

    def are_back() -> bool:
        return all(any(call.time > since for call in victim.calls()) for victim in victims)

    eventually(are_back, "triggers at work again", seconds=60)


def _newest_triggerer(ground: Ground) -> int:
    """Id of the job of the triggerer that was started last."""
    reply = ground.rest.call("GET", "jobs?job_type=TriggererJob&limit=100")
    return max(int(job["id"]) for job in reply["jobs"])


def _job_of(victim: Victim) -> int | None:
    job: Any = victim.task().get("triggerer_job")
    return job["id"] if job else None


def _holder(ground: Ground, victim: Victim) -> str:
    eventually(lambda: _job_of(victim) is not None, "a triggerer", seconds=30)
    job = _job_of(victim)
    assert job is not None
    return ground.triggerers[job]


def _wait_until_moved(victims: Sequence[Victim]) -> None:
    before = {victim.scope: _job_of(victim) for victim in victims}
    held = [victim for victim in victims if before[victim.scope] == before[victims[0].scope]]

    def are_moved() -> bool:
        return all(_job_of(victim) not in (None, before[victim.scope]) for victim in held)

    eventually(are_moved, "triggers moved", seconds=60)


def _to_group(ground: Ground, name: str, number: signal.Signals) -> None:
    os.killpg(ground.airflow.processes.process(name).pid, number)


def prepare(phase: str, ground: Ground) -> None:
    """Done before the victims of a phase start."""
    BEFORE.get(phase, _nothing)(ground)


def restore(phase: str, ground: Ground) -> None:
    """Done after a phase."""
    AFTER.get(phase, _nothing)(ground)


def _start_second(ground: Ground) -> None:
    ground.triggerers = {_newest_triggerer(ground): "triggerer"}
    _start_another(ground, f"triggerer{SECOND}")


def _start_another(ground: Ground, name: str) -> None:
    latest = _newest_triggerer(ground)
    ground.airflow.start_component("triggerer", name.removeprefix("triggerer"))
    eventually(lambda: _newest_triggerer(ground) != latest, "another triggerer", seconds=60)
    ground.triggerers[_newest_triggerer(ground)] = name


def _keep_one(ground: Ground) -> None:
    """Be left with one triggerer, of the usual name."""
    processes = ground.airflow.processes
    for name in ("triggerer", f"triggerer{SECOND}"):
        try:
            processes.stop(name)
        except KeyError:
            continue
    ground.airflow.start_component("triggerer")


PHASES: dict[str, Callable[[Ground, Group], None]] = {
    "triggerer": triggerer,
    "two triggerers": two_triggerers,
    "others": others,
    "gone": gone,
}


def _nothing(_: Ground) -> None:
    """Most phases need nothing before and after."""


BEFORE: dict[str, Callable[[Ground], None]] = {
    "two triggerers": _start_second,
}
AFTER: dict[str, Callable[[Ground], None]] = {
    "two triggerers": _keep_one,
    "gone": lambda ground: ground.airflow.start_component("triggerer"),
}
