"""Run suites in every environment although one fails; write the table; exit 1 where something failed."""

from __future__ import annotations

import argparse
import subprocess
import sys
from fnmatch import fnmatch

from tests.versions.environments import ENVIRONMENTS, QUICK, Environment
from tests.versions.results import is_there, line, sources, write
from tests.versions.suites import run
from tests.versions.venv import make, versions


def main() -> int:
    """Run what the command line asks for."""
    options = _options()
    chosen = [each for each in ENVIRONMENTS if any(fnmatch(each.name, one) for one in options.only or "*")]
    failed: list[str] = []
    for environment in chosen:
        suites = [suite for suite in environment.suites if _is_wanted(environment.name, suite, options)]
        if options.list:
            print(f"{environment.name}: {', '.join(suites)}")
            continue
        failed += _run(environment, suites, options)
    for each in failed:
        print(f"FAILED: {each}", file=sys.stderr)
    return int(bool(failed))


def _is_wanted(name: str, suite: str, options: argparse.Namespace) -> bool:
    wanted = options.suite or (QUICK if options.quick else ())
    if wanted and suite not in wanted:
        return False
    return not (options.missing and is_there(name, suite, sources()))


def _run(environment: Environment, suites: list[str], options: argparse.Namespace) -> list[str]:
    """What failed in one environment; each suite's result is written as it comes."""
    if not suites:
        return []
    print(f"== {environment.name}", flush=True)
    try:
        make(environment)
        found = versions(environment)
    except (RuntimeError, subprocess.CalledProcessError) as error:
        return [f"{environment.name}: {error}"]
    failed = []
    for suite in suites:
        began_with = sources()
        try:
            counts = run(environment, suite, workers=options.workers, more=options.pytest.split())
        except RuntimeError as error:
            failed.append(f"{environment.name}: {error}")
            continue
        print(
            f"   {suite}: {counts.passed} passed, {counts.failed} failed, {counts.skipped} skipped",
            flush=True,
        )
        failed += [f"{environment.name} {suite}: {name}" for name in counts.failures]
        if not options.pytest:  # part of a suite is no result of it
            write([line(environment.name, suite, found, counts, began_with)])
    return failed


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.versions", description=__doc__)
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="environments of this name, or pattern"
    )
    parser.add_argument("--suite", action="append", metavar="NAME", help="only this suite")
    parser.add_argument(
        "--missing", action="store_true", help="only what the table does not have of these sources yet"
    )
    parser.add_argument("--quick", action="store_true", help="unit tests and the matrix's core")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="for tests side by side")
    parser.add_argument("--pytest", default="", metavar="WORDS", help="more arguments; writes no table")
    parser.add_argument("--list", action="store_true", help="name them, run nothing")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
