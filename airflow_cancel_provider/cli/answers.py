"""Standard output is for answers alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

OUT, ERR = 1, 2


@contextmanager
def standard_output() -> Iterator[TextIO]:
    """Standard output as a stream for answers: what Airflow logs there goes to standard error meanwhile.

    Raises :class:`BrokenPipeError` where nobody reads any more.
    """
    sys.stdout.flush()
    output = os.fdopen(os.dup(OUT), "w", encoding="utf-8", errors="surrogateescape")
    # Airflow's loggers keep the stream that they were made with: only its file can be changed.
    os.dup2(ERR, OUT)
    try:
        yield output
        output.flush()
    finally:
        sys.stdout.flush()
        os.dup2(output.fileno(), OUT)
        _close(output)


def _close(output: TextIO) -> None:
    # What is left in its buffer is for nobody.
    with suppress(BrokenPipeError):
        output.close()
