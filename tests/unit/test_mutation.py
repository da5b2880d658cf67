"""``make mutants``: the modules that it changes, and their tests."""

from __future__ import annotations

import pytest

from tests.mutation.groups import GROUPS, PACKAGE, ROOT, Group, names


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.modules[0])
def test_what_a_group_names_exists(group: Group) -> None:
    assert [each for each in group.modules if not list((ROOT / PACKAGE).glob(f"{each}.py"))] == []
    assert [path for path in group.tests if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("folder", ["guard", "engine", "reaper", "triggers"])
def test_every_module_that_decides_is_changed(folder: str) -> None:
    package = ROOT / PACKAGE
    modules = {
        str(path.relative_to(package).with_suffix("")) for path in (package / folder).rglob("[!_]*.py")
    }
    assert {name for name in modules if "/backends/" not in name} <= set(names())
