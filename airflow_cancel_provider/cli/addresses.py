"""From the words of a command line to jobs: all of it is checked before a request."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

from airflow_cancel_provider.cli.reach import CommandAccess
from airflow_cancel_provider.exceptions import CancelProviderError, InvalidInput
from airflow_cancel_provider.jobs import RemoteJob, by_service_key
from airflow_cancel_provider.services.pool import ServicePool
from airflow_cancel_provider.services.registry import SERVICES, service_info

STDIN = "-"


@dataclass
class NamedJobs:
    """The jobs that a command is about.

    :param lines: by job, the line of standard input that names it first.
    :param troubles: lines of standard input that name no job; the others are gone on with.
    """

    jobs: list[RemoteJob]
    lines: Mapping[RemoteJob, int] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)

    def pool(self, options: Mapping[str, Any] | None = None) -> ServicePool:
        """The services of these jobs, after all jobs were checked. No service was sent anything.

        A job of standard input that its service can't have issued is taken out, and is a trouble.

        :param options: the service's own options for a cancel.
        :raises InvalidInput: an id or a connection of an argument is unusable, or no job is left; all of
            them are named.
        """
        options = options or {}
        _check_options({job.service for job in self.jobs}, options)
        access = CommandAccess(options=options)
        pool = access.pool()
        self._take_out(_unusable(access, self.jobs))
        self._take_out(_malformed(pool, self.jobs))
        return pool

    def _take_out(self, wrong: Mapping[RemoteJob, str]) -> None:
        """Go on without these jobs, if all of them are from standard input.

        :raises InvalidInput: they are not, or no job is left.
        """
        if arguments := dict.fromkeys(error for job, error in wrong.items() if job not in self.lines):
            raise InvalidInput("\n".join(arguments))
        self.troubles += _by_line((self.lines[job], error) for job, error in wrong.items())
        self.jobs = [job for job in self.jobs if job not in wrong]
        if not self.jobs:
            raise InvalidInput("\n".join(self.troubles))


def named_jobs(words: Sequence[str]) -> NamedJobs:
    """The jobs of some addresses, each once; ``-`` stands for those on standard input.

    There, an address stands on each line, or several; what follows a ``#`` is a comment.

    :raises InvalidInput: some arguments are no addresses, or no job is named; all of them are told.
    """
    jobs, wrong = _read((0, word) for word in words if word != STDIN)
    if wrong:
        raise InvalidInput("\n".join(error for _, error in wrong))
    lines, wrong = _read(_words_of_input() if STDIN in words else ())
    troubles = list(_by_line(wrong))
    lines = {job: line for job, line in lines.items() if job not in jobs}
    if not jobs and not lines:
        raise InvalidInput("\n".join(troubles) or "No job is named: standard input holds no address.")
    return NamedJobs([*jobs, *lines], lines, troubles)


def _read(words: Iterable[tuple[int, str]]) -> tuple[dict[RemoteJob, int], list[tuple[int, str]]]:
    """Jobs, and the words that are no addresses, each with its line."""
    jobs: dict[RemoteJob, int] = {}
    wrong = []
    for line, word in words:
        try:
            jobs.setdefault(RemoteJob(word.strip()), line)
        except InvalidInput as error:
            wrong.append((line, f"{error} The command 'list' shows addresses."))
    return jobs, wrong


def _words_of_input() -> Iterator[tuple[int, str]]:
    try:
        lines = sys.stdin.read().removeprefix("\ufeff").splitlines()
    except UnicodeDecodeError:
        raise InvalidInput("Standard input is not text in UTF-8.") from None
    for number, line in enumerate(lines, 1):
        for word in line.split():
            if word.startswith("#"):
                break
            yield number, word


def _by_line(wrong: Iterable[tuple[int, str]]) -> Iterator[str]:
    """Each error once, with the line that has it first."""
    lines: dict[str, list[int]] = {}
    for line, error in wrong:
        lines.setdefault(error, []).append(line)
    for error, some in lines.items():
        others = f", and {len(some) - 1} more like it" if len(some) > 1 else ""
        yield f"Line {some[0]} of standard input{others}: {error}"


def _unusable(access: CommandAccess, jobs: Iterable[RemoteJob]) -> dict[RemoteJob, str]:
    """Jobs whose connections can't be used, and why; all connections are read."""
    wrong: dict[RemoteJob, str] = {}
    for some in by_service_key(jobs):
        try:
            access.check_connections([some[0].service_key])
        except InvalidInput as error:
            wrong |= dict.fromkeys(some, str(error))
    return wrong


def _malformed(pool: ServicePool, jobs: Iterable[RemoteJob]) -> dict[RemoteJob, str]:
    """Jobs whose ids their services can't have issued, and why."""
    wrong = {}
    for job in jobs:
        try:
            pool.check([job])
        except InvalidInput as error:
            wrong[job] = str(error)
    return wrong


def _check_options(services: Iterable[str], options: Mapping[str, Any]) -> None:
    """:raises InvalidInput: one of the services has not one of the options."""
    for name in options:
        for service in sorted(services):
            if not _has_option(service, name):
                having = " and ".join(
                    info.title for info in SERVICES.values() if _has_option(info.name, name)
                )
                title = service_info(service).title
                raise InvalidInput(f"--{name.replace('_', '-')} is an option of {having}; {title} has none.")


def _has_option(service: str, name: str) -> bool:
    return name in signature(service_info(service).hook_class.__init__).parameters


def errors_by_service(
    jobs: Iterable[RemoteJob], errors: Mapping[RemoteJob, CancelProviderError]
) -> Iterator[str]:
    """Each error once, in the order of the jobs."""
    yield from dict.fromkeys(str(errors[job]) for job in jobs if job in errors)
