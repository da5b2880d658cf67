"""What must hold, said by the model itself: nothing here asks the package."""

from __future__ import annotations

from tests.model.world import STRANGER, Row, World

UNDER_WAY = ("queued", "running", "deferred")


def may_be_cancelled(world: World, id: str) -> str:
    """Why a job must not be asked to end now; empty where it may be."""
    job = world.jobs[id]
    if job.owner == STRANGER:
        return "it is somebody else's"
    if why := _let_go(world, id):
        return why
    if _is_alive(world, job.owner):
        return "its try is alive"
    if job.reconnects and _is_taken_over(world, job.owner):
        return "the next try goes on with it"
    return ""


def _let_go(world: World, id: str) -> str:
    """Why the job may run on whatever happens; empty where it may not."""
    if world.has_lost_write and (world.is_deleted or id in world.released):
        return ""  # nobody can know of the release; the log has said what to do
    if id in world.released:
        return "it was released"
    return "its try has succeeded" if _has_succeeded(world.rows[world.jobs[id].owner]) else ""


def missed(world: World, *, has_reaper: bool) -> list[str]:
    """Jobs that should have been asked to end, now that nothing happens any more."""
    return [name for name in world.jobs if _is_missed(world, name, has_reaper=has_reaper)]


def _is_missed(world: World, id: str, *, has_reaper: bool) -> bool:
    job = world.jobs[id]
    if job.is_asked or id in world.released or may_be_cancelled(world, id):
        return False
    row = world.rows[job.owner]
    # Its work was done, and that could not be reported: in doubt the job is kept.
    if row.has_returned or (job.reconnects and any(later.has_returned for later in world.rows[job.owner :])):
        return False
    # `airflow db clean` removes tries whose jobs a later one has taken over: in doubt the job is kept.
    if job.reconnects and world.is_deleted:
        return False
    # Only the layers beside the reaper know that a success was set by a person.
    if has_reaper and "success" in (row.state, world.row.state):
        return False
    return has_reaper or not row.was_orphaned


def _has_succeeded(row: Row) -> bool:
    return row.state == "success" and not row.is_marked


def _is_alive(world: World, number: int) -> bool:
    row = world.rows[number]
    is_current = number == world.number and not world.is_deleted and row.state in UNDER_WAY
    return is_current and not (row.is_doomed or row.has_failed)


def _is_taken_over(world: World, number: int) -> bool:
    """Whether a later try goes on with the jobs of this one, or will do."""
    if world.rows[number].is_told or world.is_deleted:
        return False
    # The last try has failed: whoever clears it later comes too late.
    if any(row.has_failed for row in world.rows[max(number, world.max_tries) :]):
        return False
    if number == world.number:
        return number < world.max_tries and world.row.state in UNDER_WAY
    later = world.row
    if any(row.is_told or row.is_marked for row in world.rows[number:]):
        return False
    return _has_succeeded(later) or later.state == "up_for_retry" or _is_alive(world, world.number)
