"""How long calls are repeated: only time that is spent on them counts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from airflow_cancel_provider.services.retry import CallSeries, Patience


class TestPatience:
    def test_time_between_calls_does_not_wear_it_out(self) -> None:
        """A listing is read page by page, and who reads it may take long over each."""
        persistence = Patience(seconds=1, first_pause=0.01, longest_pause=0.02).started()
        assert self.attempts(persistence, failures=1) == 2
        time.sleep(1.1)
        assert self.attempts(persistence, failures=2) == 3

    def test_nor_does_waiting_for_a_turn(self) -> None:
        def slow(**_: Any) -> float:
            time.sleep(0.5)
            return 0.5

        persistence = Patience(seconds=1, first_pause=0.01, longest_pause=0.02).started()
        assert self.attempts(persistence, failures=3, turn=slow) == 4

    def test_but_it_does_for_a_task_that_is_about_to_be_killed(self) -> None:
        """Nor do its turns take longer, all together, than it has time for."""
        allowed: list[float] = []

        def slow(*, at_most: float, **_: Any) -> float:
            allowed.append(at_most)
            return at_most

        hurried = Patience(seconds=0.3, first_pause=0.01, longest_pause=0.02, longest_turn=100).started()
        with pytest.raises(ConnectionError):
            self.attempts(hurried, failures=500, turn=slow)
        assert 0 <= allowed[-1] < allowed[0] <= 100

    def test_time_spent_in_vain_does(self) -> None:
        persistence = Patience(seconds=0.3, first_pause=0.01, longest_pause=0.02).started()
        with pytest.raises(ConnectionError):
            self.attempts(persistence, failures=10**6)
        # No answer since then: what comes next is tried once.
        with pytest.raises(ConnectionError):
            self.attempts(persistence, failures=1)

    @pytest.mark.parametrize("asked, least, most", [(0.15, 3, 12), (60, 3, 17)])
    def test_what_a_service_asks_for_is_waited_if_it_allows_that(
        self, asked: float, least: int, most: int
    ) -> None:
        """Otherwise as long as it waits at most: what is urgent may be answered sooner."""
        made = 0

        def call() -> None:
            nonlocal made
            made += 1
            raise ConnectionError

        persistence = Patience(seconds=1.5, first_pause=0.01, longest_pause=0.1).started()
        with pytest.raises(ConnectionError):
            persistence.call(call, lambda _: True, asked=lambda _: asked)
        assert least <= made <= most

    def attempts(
        self, persistence: CallSeries, failures: int, turn: Callable[..., float] = lambda **_: 0.0
    ) -> int:
        """How many attempts a call took that fails so often at first."""
        made = 0

        def call() -> None:
            nonlocal made
            made += 1
            if made <= failures:
                raise ConnectionError

        persistence.call(call, lambda error: isinstance(error, ConnectionError), turn)
        return made
