"""The protocol in small: every order of events, and faults that must be found."""

from __future__ import annotations

import pytest

from tests.model.explorer import explore
from tests.model.guards import Rules
from tests.model.mutants import MUTANTS, Mutant

QUICK = 600
"""States in which most seeded faults show."""


@pytest.mark.parametrize("has_reaper", [True, False])
@pytest.mark.parametrize("faults,most", [(0, 5_000), (1, 600)])
def test_the_promises_hold_in_every_order_of_events(has_reaper: bool, faults: int, most: int) -> None:
    found = explore(Rules(has_reaper=has_reaper), faults, most=most)
    assert found.wrongs == {}
    assert found.states > 100
    assert found.ends > 5


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "rules", [Rules(has_reaper=False), Rules(), Rules(has_reaper=False, max_tries=1)], ids=repr
)
def test_the_promises_hold_with_one_fault(rules: Rules) -> None:
    assert explore(rules, 1, most=60_000).wrongs == {}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "mutant",
    [each for each in MUTANTS if not each.doubled_by],
    ids=lambda mutant: mutant.what.replace(" ", "_"),
)
def test_a_seeded_fault_is_found(mutant: Mutant) -> None:
    with mutant.planted():
        assert explore(mutant.rules, mutant.faults, most=60_000, stop_at_first=True).wrongs


@pytest.mark.parametrize(
    "mutant",
    [each for each in MUTANTS if each.faults == 0][:4],
    ids=lambda mutant: mutant.what.replace(" ", "_"),
)
def test_the_model_is_not_blind(mutant: Mutant) -> None:
    with mutant.planted():
        assert explore(mutant.rules, mutant.faults, most=QUICK, stop_at_first=True).wrongs
