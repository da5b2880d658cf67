"""From the words of a command line to jobs: all of it is checked before a request."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from inspect import signature
from typing import Any

from airflow_cancel_provider.exceptions import CancelProviderError, InvalidInput
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.services.pool import ServicePool
from airflow_cancel_provider.services.registry import SERVICES, service_info

STDIN = "-"


def named_jobs(words: Iterable[str]) -> list[RemoteJob]:
    """The jobs of some addresses, each once; ``-`` stands for those on standard input.

    :raises InvalidInput: some are no addresses, or there are none; all of them are named.
    """
    jobs: dict[RemoteJob, None] = {}
    wrong = []
    for word in _words(words):
        try:
            jobs[RemoteJob(word)] = None
        except InvalidInput as error:
            wrong.append(str(error))
    if wrong:
        raise InvalidInput("\n".join(wrong))
    if not jobs:
        raise InvalidInput("No job is named: standard input holds no address.")
    return list(jobs)


def _words(words: Iterable[str]) -> Iterator[str]:
    for word in words:
        yield from sys.stdin.read().split() if word == STDIN else [word]


def checked_pool(jobs: Iterable[RemoteJob], options: Mapping[str, Any] | None = None) -> ServicePool:
    """The services of these jobs. No service was sent anything.

    :param options: the service's own options for a cancel.
    :raises InvalidInput: an id or a connection is unusable; all of them are named.
    """
    jobs, options = list(jobs), options or {}
    _check_options({job.service for job in jobs}, options)
    access, wrong = Access(options=options), dict[str, None]()
    pool = access.pool()
    for place in dict.fromkeys(job.service_key for job in jobs):
        try:
            access.check_connections([place])
        except InvalidInput as error:
            wrong[str(error)] = None
    if not wrong:
        for job in jobs:
            try:
                pool.check([job])
            except InvalidInput as error:
                wrong[str(error)] = None
    if wrong:
        raise InvalidInput("\n".join(wrong))
    return pool


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
