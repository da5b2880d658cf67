"""Change the decisions, one at a time, and see which changes the fast tests notice.

``python -m tests.mutation [name ...]``: prints a score for each module, and the changes that nobody noticed.
Works in a copy of the repository. Needs cosmic-ray and coverage beside what the tests need.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from itertools import count, groupby
from pathlib import Path

from tests.mutation.changes import Change, changes
from tests.mutation.forked import PASSED, preload, run
from tests.mutation.groups import PACKAGE, ROOT, Group, group_of, names
from tests.mutation.noticed import Reached, reach

ALL_TESTS = 1800.0
"""Seconds for all tests of a group."""
MOMENTS = count(1)


def main() -> int:
    """Run the modules that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("names", nargs="*", choices=[*names(), []], help="modules")
    parser.add_argument("--most", type=int, default=10_000, help="changes of a module, spread over it")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy")
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "dist", "_build", "__pycache__"))
        os.chdir(copy)
        sys.path.insert(0, str(copy))
        os.environ["PYTHONPATH"] = str(copy)
        for group, chosen in groupby(given.names or names(), group_of):
            _run(copy, group, chosen, given.most)
    return 0


def _run(copy: Path, group: Group, chosen: Iterable[str], most: int) -> None:
    reached = reach(copy, group.tests, copy, ALL_TESTS)
    print(f"{len(reached.seconds)} tests pass, {len(reached.bad)} do not and are left out: {reached.bad}")
    preload(reached.modules)
    for name in chosen:
        print(_score(copy, name, reached, most, elsewhere=group.elsewhere), flush=True)


def _score(copy: Path, name: str, reached: Reached, most: int, *, elsewhere: bool) -> str:
    module = copy / PACKAGE / f"{name}.py"
    source = module.read_text()
    chosen = changes(source, most)
    alive: list[Change] = []
    for change in chosen:
        tests = reached.all() if elsewhere else reached.tests(module, change.first_line, change.last_line)
        if not tests or _survives(module, change, tests, reached):
            alive.append(change)
    lines = [f"{name}: {len(chosen) - len(alive)} of {len(chosen)} killed", *map(str, alive)]
    return "\n".join(lines)


def _survives(module: Path, change: Change, tests: list[str], reached: Reached) -> bool:
    seconds = 20 + 4 * sum(reached.seconds[test] for test in tests)
    module.write_text(change.code)
    # Python takes a compiled module for good by the second at which its source was written, and its size.
    os.utime(module, (next(MOMENTS),) * 2)
    try:
        return run(tests, module.parent / "change.log", seconds=seconds) == PASSED
    finally:
        module.write_text(change.source)
        os.utime(module, (next(MOMENTS),) * 2)


if __name__ == "__main__":
    sys.exit(main())
