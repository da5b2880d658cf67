"""Standard output is for answers alone."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import structlog

OUT, ERR = 1, 2
_QUIET = frozenset({"debug", "info"})


def fill_in_streams() -> None:
    """Have streams that the process was started without (``<&-``) lead nowhere."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115  until the process ends
            setattr(sys, name, stream)


@contextmanager
def standard_output() -> Iterator[TextIO]:
    """Standard output as a stream for answers: what Airflow logs there goes to standard error meanwhile.

    Raises :class:`BrokenPipeError` where nobody reads any more.
    """
    if sys.__stdout__ is None:  # its number may be that of another file by now
        yield sys.stdout
        return
    sys.stdout.flush()
    output = os.fdopen(os.dup(OUT), "w", encoding="utf-8", errors="surrogateescape")
    # Airflow's loggers keep the stream that they were made with: only its file can be changed.
    os.dup2(ERR if sys.__stderr__ is not None else sys.stderr.fileno(), OUT)
    try:
        yield output
        output.flush()
    finally:
        sys.stdout.flush()
        os.dup2(output.fileno(), OUT)
        _close(output)


@contextmanager
def warnings_only() -> Iterator[None]:
    """Log nothing below warnings meanwhile: by the standard library's loggers, and by Airflow's own."""
    # The list that all of Airflow's loggers share.
    processors = structlog.get_config()["processors"]
    processors.insert(0, _without_chatter)
    disabled = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(disabled)
        processors.remove(_without_chatter)


def _without_chatter(_: Any, method: str, event: Any) -> Any:
    if method in _QUIET:
        raise structlog.DropEvent
    return event


def _close(output: TextIO) -> None:
    # What is left in its buffer is for nobody.
    with suppress(OSError):
        output.close()
