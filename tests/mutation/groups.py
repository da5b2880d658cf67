"""Modules that are changed, and the fast tests of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = Path("airflow_cancel_provider")


@dataclass(frozen=True)
class Group:
    """Modules that have their tests in common.

    :param modules: patterns below the package.
    :param tests: paths of tests.
    :param elsewhere: the modules run in processes that tests start, where nobody sees which test reaches
        which line: each change gets all tests.
    """

    modules: tuple[str, ...]
    tests: tuple[str, ...]
    elsewhere: bool = False

    def names(self) -> list[str]:
        """The modules, as ``reaper/judge``."""
        folder = ROOT / PACKAGE
        paths = sorted(path for each in self.modules for path in folder.glob(f"{each}.py"))
        return [str(path.relative_to(folder).with_suffix("")) for path in paths if path.stem != "__init__"]


GROUPS = (
    Group(
        ("reaper/*",),
        ("tests/unit/reaper", "tests/unit/cli/test_reap.py", "tests/unit/cli/test_dead_letters.py"),
    ),
    Group(
        ("engine/*", "record", "release", "ends_on_record", "cancellation", "watch"),
        (
            "tests/unit/test_recorded.py",
            "tests/unit/test_recorded_unseen.py",
            "tests/unit/test_record.py",
            "tests/unit/test_release.py",
            "tests/unit/test_vocabulary.py",
            "tests/unit/test_cancellation.py",
            "tests/unit/test_watch.py",
            "tests/unit/guard/test_label_search.py",
            "tests/unit/guard/test_releases.py",
            "tests/unit/reaper/test_cancels.py",
            "tests/fuzz/test_records.py",
        ),
    ),
    Group(("triggers/*", "guard/trigger"), ("tests/unit/triggers", "tests/unit/guard/test_trigger.py")),
    Group(("guard/*",), ("tests/unit/guard",)),
    Group(("guard/sentinel/*",), ("tests/unit/guard/sentinel",), elsewhere=True),
)


def group_of(name: str) -> Group:
    """The group of a module."""
    return next(group for group in GROUPS if name in group.names())


def names() -> list[str]:
    """All modules."""
    return list(dict.fromkeys(name for group in GROUPS for name in group.names()))
