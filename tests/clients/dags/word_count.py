"""A job for mrjob, which wants a file of its own for each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mrjob.job import MRJob


class WordCount(MRJob):  # type: ignore[misc,no-any-unimported]
    def mapper(self, _: Any, line: str) -> Iterator[tuple[str, int]]:
        yield from ((word, 1) for word in line.split())

    def reducer(self, word: str, counts: Iterator[int]) -> Iterator[tuple[str, int]]:
        yield word, sum(counts)


if __name__ == "__main__":
    WordCount.run()
