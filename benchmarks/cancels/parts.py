"""Whose code a cancel's processor time goes to, as a profiler sees it.

``python -m benchmarks.cancels.parts <address of the account> <plan as JSON>``: the last line of its output is
JSON, a share by part.
"""

from __future__ import annotations

import cProfile
import json
import pstats
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

PARTS = (
    ("airflow_cancel_provider/services/aws/answers.py", "ours: answers are checked"),
    ("airflow_cancel_provider", "ours: the rest"),
    ("botocore/parsers.py", "botocore: answers are read"),
    ("botocore/utils.py", "botocore: answers are read"),
    ("json/", "JSON is read"),
    ("botocore", "botocore: requests are written and signed"),
    ("urllib3", "HTTP"),
    ("http/", "HTTP"),
    ("ssl.py", "HTTP"),
    ("socket.py", "HTTP"),
)
"""Part by what the path of a file contains; the first one that fits counts."""
REST = "the rest of Python and Airflow"

Function = tuple[str, int, str]
"""File, line, name; built-in functions have no file."""


def shares(stats: Mapping[Function, tuple[Any, ...]]) -> dict[str, float]:
    """Share of each part, the biggest first. What a built-in function takes is its callers'."""
    seconds: Counter[str] = Counter()
    for function, (_, _, own, _, callers) in stats.items():
        if is_built_in(function):
            for caller, (_, _, of_caller, _) in callers.items():
                seconds[part_of(caller)] += of_caller
        else:
            seconds[part_of(function)] += own
    total = sum(seconds.values()) or 1.0
    return {part: taken / total for part, taken in seconds.most_common()}


def is_built_in(function: Function) -> bool:
    """Whether a function of a profile is in no file."""
    return function[0] == "~"


def part_of(function: Function) -> str:
    """The part that a function belongs to."""
    return next((part for piece, part in PARTS if piece in function[0]), REST)


def profiled(function: Callable[[], Any]) -> dict[Function, tuple[Any, ...]]:
    """A function's profile by processor time, that of the threads it starts included."""
    profiles = [cProfile.Profile(time.thread_time)]
    plain = threading.Thread.run

    def run(self: threading.Thread) -> None:
        profile = cProfile.Profile(time.thread_time)
        profiles.append(profile)
        profile.runcall(plain, self)

    threading.Thread.run = run  # type: ignore[method-assign]
    try:
        profiles[0].runcall(function)
    finally:
        threading.Thread.run = plain  # type: ignore[method-assign]
    stats = pstats.Stats(profiles[0])
    for profile in profiles[1:]:
        stats.add(profile)
    found: dict[Function, tuple[Any, ...]] = vars(stats)["stats"]
    return found


def main() -> None:
    """Profile the requests and the polls of a cancel, and print."""
    from benchmarks.cancels import cancelling
    from benchmarks.cancels.plan import Plan
    from benchmarks.waits.triggers import addresses

    plan = Plan(**json.loads(sys.argv[2]))
    jobs = [job for _, job in addresses(plan.population)]
    # Imports and the client are made by another cancel before: they are no matter of how many jobs there are.
    cancelling.ours(plan, jobs[:1])
    print(json.dumps(shares(profiled(lambda: cancelling.ours(plan, jobs)))))


if __name__ == "__main__":
    main()
