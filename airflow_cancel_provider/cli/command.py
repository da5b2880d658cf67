"""What every command shares: where it writes, what it logs, how it ends."""

from __future__ import annotations

import argparse
import errno
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager

from airflow_cancel_provider.cli.answers import fill_in_streams, standard_output, warnings_only
from airflow_cancel_provider.cli.printer import Printer
from airflow_cancel_provider.exceptions import CancelProviderError, InvalidInput
from airflow_cancel_provider.reaper.backends.base import Airflow
from airflow_cancel_provider.reaper.backends.database import Database

log = logging.getLogger("airflow_cancel_provider")
Command = Callable[[argparse.Namespace, Printer], int]

WELL, TROUBLED, WRONG_INPUT = 0, 1, 2
TIMED_OUT = 124
"""As ``timeout`` of the GNU core utilities."""
INTERRUPTED = 130
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a write to a disk that is full, or to a file that may not grow."""


def run(command: Command, options: argparse.Namespace) -> int:
    """Run a command, and give the exit code. Errors of this package are one sentence on standard error."""
    fill_in_streams()
    try:
        with _logged(options), standard_output() as out:
            return command(options, Printer(out, options.output, is_quiet=options.quiet))
    except BrokenPipeError:  # nobody reads any more
        return WELL
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        return complain([f"The answer could not be written: {error.strerror}."])
    except KeyboardInterrupt as interrupt:
        sys.stderr.write("\n" if sys.stderr.isatty() else "")  # behind "^C"
        complain([str(interrupt) or "Interrupted."])
        return INTERRUPTED
    except CancelProviderError as error:
        complain([error])
        return WRONG_INPUT if isinstance(error, InvalidInput) else TROUBLED


@contextmanager
def _logged(options: argparse.Namespace) -> Iterator[None]:
    """Log to standard error: warnings; everything with ``--verbose``, errors alone with ``--quiet``."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    level, disabled = log.level, logging.root.manager.disable
    with ExitStack() as stack:
        if options.verbose:
            log.setLevel(logging.DEBUG)
        else:
            stack.enter_context(warnings_only())
        if options.quiet:
            logging.disable(logging.WARNING)
        try:
            yield
        finally:
            log.setLevel(level)
            logging.disable(disabled)


def complain(troubles: Iterable[object]) -> int:
    """Write troubles to standard error; the exit code that they make."""
    words = [f"{trouble}\n" for trouble in troubles]
    sys.stderr.write("".join(words))
    return TROUBLED if words else WELL


def airflow_of(options: argparse.Namespace) -> Airflow:
    """The Airflow that a command asks: its API server if a connection to one is named, else its database."""
    if not options.airflow_conn_id:
        return Database()
    # Most commands do without: `list` starts faster.
    from airflow_cancel_provider.reaper.factory import rest_airflow

    return rest_airflow(options.airflow_conn_id)
