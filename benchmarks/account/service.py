"""What the services of the account share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, ClassVar

from benchmarks.account.ends import Ends
from benchmarks.account.population import Population

SINCE = 1_790_000_000
"""When all jobs were submitted, in epoch seconds."""


class Refused(Exception):
    """A call that the service does not take, in its own words."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


class SimulatedService(ABC):
    """One service: answers a call that was let in."""

    name: ClassVar[str]
    throttling: ClassVar[Refused] = Refused("ThrottlingException", "Rate exceeded")

    def __init__(self, population: Population, ends: Ends) -> None:
        self.population, self.ends = population, ends
        self.scopes = population.scopes(self.name)

    @abstractmethod
    def answer(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        """The answer to a call.

        :raises Refused: the service does not take it.
        """


def page(
    numbers: range, size: int, token: str | None, is_wanted: Callable[[int], bool]
) -> tuple[list[int], str | None]:
    """A page of a listing, and the token of the next one if there is more.

    :param token: where the page starts, from the page before.
    """
    rest = numbers[int(token) :] if token else numbers
    found = list(islice(filter(is_wanted, rest), size + 1))
    more = str(numbers.index(found[size])) if len(found) > size else None
    return found[:size], more


def with_token(answer: dict[str, Any], name: str, token: str | None) -> dict[str, Any]:
    """The answer, with the token if there is one."""
    return answer | ({name: token} if token else {})


def place(number: int, scopes: Iterable[range]) -> int:
    """In which of the scopes a job is.

    :raises LookupError: in none.
    """
    for index, numbers in enumerate(scopes):
        if number in numbers:
            return index
    raise LookupError(number)
