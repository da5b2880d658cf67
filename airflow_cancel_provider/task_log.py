"""Log lines on remote jobs: their common prefix, and the log file of a try for processes beside the task."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

PREFIX = "[remote jobs]"
MOST_NAMED = 20
"""Jobs that one line names."""
LONGEST_EVENT = 8000
"""Characters of one line."""

_log = logging.getLogger(__name__)


class Log(Protocol):
    """A logger: one of the standard library, or the one that Airflow gives a task."""

    def info(self, message: str, /, *args: Any) -> Any:
        """Log what happens."""
        ...

    def warning(self, message: str, /, *args: Any) -> Any:
        """Log what may become a problem."""
        ...

    def error(self, message: str, /, *args: Any) -> Any:
        """Log what somebody must look at."""
        ...

    def exception(self, message: str, /, *args: Any) -> Any:
        """Log an error with its traceback."""
        ...


class PrefixedLog:
    """Puts the prefix before every line, so that all lines on remote jobs can be found together.

    A line that can't be written, as the receiving process has ended, raises no error.
    """

    def __init__(self, log: Log) -> None:
        self._log = log

    def info(self, message: str, /, *args: Any) -> None:
        """Log what happens."""
        self._write(self._log.info, message, args)

    def warning(self, message: str, /, *args: Any) -> None:
        """Log what may become a problem."""
        self._write(self._log.warning, message, args)

    def error(self, message: str, /, *args: Any) -> None:
        """Log what somebody must look at."""
        self._write(self._log.error, message, args)

    def exception(self, message: str, /, *args: Any) -> None:
        """Log an error with its traceback."""
        self._write(self._log.exception, message, args)

    def _write(self, write: Callable[..., Any], message: str, args: tuple[Any, ...]) -> None:
        try:
            write(f"{PREFIX} {message}", *args)
        except Exception as error:  # noqa: BLE001  reported; an error of the log must not stop a cancel
            _log.warning("A line could not be written into the log of the task: %r", error)


def named(jobs: Iterable[Any]) -> str:
    """The first addresses, and how many others there are."""
    texts = [str(job) for job in jobs]
    others = f" and {len(texts) - MOST_NAMED} others" if len(texts) > MOST_NAMED else ""
    return ", ".join(texts[:MOST_NAMED]) + others


def log_line(level: str, message: str, at: float) -> bytes:
    """A line as Airflow's supervisor writes it into a task's log: JSON, with the time in UTC.

    :param at: epoch seconds; Airflow sorts lines of several files by it.
    """
    entry = {
        "timestamp": datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z"),
        "level": level,
        "event": message[:LONGEST_EVENT],
        "logger": "airflow_cancel_provider",
    }
    return json.dumps(entry).encode() + b"\n"


class TryLogFile:
    """The log file of a try, for lines that can't go through Airflow's supervisor any more.

    Airflow's supervisor appends to the same file; a line is written at once and whole. Airflow's interface
    shows what is in the file when it is looked at. With remote logging the supervisor uploads the file when
    the task's process ends; what is written later stays on this host.

    :param path: of the file, which must be there.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def write(self, line: bytes) -> bool:
        """Append a line; whether that was possible."""
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return os.write(file, line) == len(line)
        except OSError:
            return False
        finally:
            os.close(file)


def log_file_of(ti: Any) -> str | None:
    """Path of the log file of a try on this host, by Airflow's settings; None where there is none.

    :param ti: the task instance in its own process, or in a triggerer.
    """
    try:
        path = _path_of(ti)
    except Exception as error:  # noqa: BLE001  a template may be anything; a task must not fail for it
        _log.debug("The path of the try's log file is not known: %r", error)
        return None
    return path


def _path_of(ti: Any) -> str | None:
    from airflow_cancel_provider.version_compat import conf

    folder = os.path.realpath(conf.get("logging", "base_log_folder"))
    name = _rendered(conf.get("logging", "log_filename_template"), ti)
    path = os.path.realpath(Path(folder, name))
    # As Airflow's reader does: a run id, which people choose, must not lead out of the folder.
    is_inside = os.path.commonpath([folder, path]) == folder
    return path if is_inside and Path(path).parent.is_dir() else None


def _rendered(template: str, ti: Any) -> str:
    run = getattr(getattr(ti, "_ti_context_from_server", None), "dag_run", None)
    date = getattr(run, "logical_date", None) or getattr(run, "run_after", None)
    ts = date.isoformat() if date else ""
    if "{{" in template:
        from jinja2 import Template

        return str(Template(template).render(ti=ti, ts=ts, try_number=ti.try_number))
    names = {name: getattr(ti, name) for name in ("dag_id", "task_id", "run_id", "try_number")}
    ends = {name: _iso(getattr(run, name, None)) for name in ("data_interval_start", "data_interval_end")}
    return template.format(**names, **ends, logical_date=ts)


def _iso(date: Any) -> str:
    return date.isoformat() if date else ""
