"""Change the decisions, one at a time, and see which changes the fast tests notice.

``python -m tests.mutation [name ...]``: prints a score for each module, and the changes that nobody noticed.
Works in a copy of the repository. Needs cosmic-ray beside what the tests need.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome

ROOT = Path(__file__).parents[2]
PACKAGE = Path("airflow_cancel_provider")
TESTS = {
    "reaper/judge": "tests/unit/reaper/test_judge.py",
    "record": "tests/unit/test_vocabulary.py tests/unit/test_recorded.py tests/fuzz/test_records.py",
    "guard/events": "tests/unit/guard/test_store.py tests/fuzz/test_records.py tests/model/test_model.py",
    "guard/trigger": "tests/unit/guard/test_trigger.py tests/unit/triggers/test_on_kill.py",
    "guard/capture": "tests/unit/guard/test_capture.py tests/unit/guard/test_capture_handlers.py",
    "guard/sentinel/main": "tests/unit/guard/sentinel",
    "engine/cancel": "tests/unit/test_recorded.py tests/unit/test_cancellation.py",
}
"""Fast tests of each module."""
SKIPPED = (
    "core/NumberReplacer",
    "core/RemoveDecorator",
    "core/ReplaceBinaryOperator_BitOr",
    "core/ReplaceComparisonOperator_Is_Eq",
    "core/ReplaceComparisonOperator_IsNot_NotEq",
)
"""Changes that say nothing: paces and sizes; dataclasses and properties; ``|`` in annotations; members of an
enumeration, and None, are equal to nothing but themselves."""
CONFIG = """
[cosmic-ray]
module-path = "{module}"
timeout = {timeout}
excluded-modules = []
test-command = "{python} -m pytest -xqp no:cacheprovider -m 'not slow and not wide and not airflow' {tests}"

[cosmic-ray.distributor]
name = "local"
"""


def main() -> int:
    """Run the modules that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("names", nargs="*", choices=[*TESTS, []], help="modules")
    parser.add_argument("--most", type=int, default=10_000, help="changes of a module, spread over it")
    parser.add_argument("--timeout", type=float, default=120, help="seconds for the tests of one change")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy")
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "dist", "_build", "__pycache__"))
        for name in given.names or TESTS:
            print(_score(copy, name, given.most, given.timeout), flush=True)
    return 0


def _score(copy: Path, name: str, most: int, timeout: float) -> str:
    module = PACKAGE / f"{name}.py"
    config, session = copy / "config.toml", copy / f"{name.replace('/', '.')}.sqlite"
    config.write_text(CONFIG.format(module=module, timeout=timeout, python=sys.executable, tests=TESTS[name]))
    run = [sys.executable, "-m", "cosmic_ray.cli"]
    subprocess.run([*run, "init", str(config), str(session)], cwd=copy, check=True)
    with use_db(session, WorkDB.Mode.open) as database:
        _choose(database, most)
    subprocess.run([*run, "exec", str(config), str(session)], cwd=copy, check=True)
    with use_db(session, WorkDB.Mode.open) as database:
        return _report(name, database)


def _choose(database: WorkDB, most: int) -> None:
    """Leave out what says nothing, and what is too much."""
    items = list(database.work_items)
    kept = [item for item in items if not item.mutations[0].operator_name.startswith(SKIPPED)]
    step = max(1, -(-len(kept) // most))
    chosen = kept[::step]
    database.clear()
    database.add_work_items(chosen)


def _report(name: str, database: WorkDB) -> str:
    results = dict(database.results)
    by_job = {item.job_id: item.mutations[0] for item in database.work_items}
    alive = [job for job, result in results.items() if result.test_outcome is TestOutcome.SURVIVED]
    lines = [f"{name}: {len(results) - len(alive)} of {len(results)} killed"]
    for job in alive:
        at = by_job[job]
        lines.append(f"  line {at.start_pos[0]}: {at.operator_name} {at.occurrence}")
        lines += [f"    {line}" for line in results[job].diff.splitlines() if line[:1] in "+-"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
