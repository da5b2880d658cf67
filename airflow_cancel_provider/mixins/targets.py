"""Which jobs an operator or a sensor is about, and how it reaches them."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf, nan
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.jobs import JobState, RemoteJob
from airflow_cancel_provider.services.registry import service_info
from airflow_cancel_provider.version_compat import BaseOperator, conf

if TYPE_CHECKING:
    from airflow_cancel_provider.services.pool import ServicePool

DEFERRABLE: bool = conf.getboolean("operators", "default_deferrable", fallback=False)
JobNames = str | Iterable[str] | None
"""Ids or addresses of jobs: one text, several, or a template that renders to either."""


class Targets(BaseOperator):
    """A task about jobs, named by the service's own ids or by their addresses.

    A subclass names its service, and has the parameters that the service's row names.

    :param remote_jobs: addresses of jobs (a list, one text, or a template that renders to either),
        instead of ids.
    """

    service_name: ClassVar[str]
    scope_param: ClassVar[str | None]
    """Parameter with the cluster or application, or None where jobs have none."""
    ids_param: ClassVar[str]
    common_fields: ClassVar[tuple[str, ...]] = ()
    """Templated parameters of all services."""
    service_fields: ClassVar[tuple[str, ...]] = ()
    """Templated parameters of this service, beside its scope and its ids."""
    connection_fields: ClassVar[tuple[str, ...]] = ()
    """Templated parameters of its connection."""
    flags: ClassVar[tuple[str, ...]] = ()
    """Parameters that are True or False, and never templated."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "service_name" in vars(cls):
            row = service_info(cls.service_name)
            cls.scope_param, cls.ids_param = row.scope_param, row.ids_param
            scope = (cls.scope_param,) if cls.scope_param else ()
            own = (*scope, cls.ids_param, *cls.common_fields, *cls.connection_fields, *cls.service_fields)
            if "template_fields" not in vars(cls):
                cls.template_fields = own

    def __init__(self, *, remote_jobs: JobNames = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.remote_jobs = remote_jobs
        self.jobs: list[RemoteJob] = []

    def connection(self) -> tuple[str | None, str | None]:
        """Connection and region for jobs that are named by their ids."""
        raise NotImplementedError

    def named_jobs(self, pool: ServicePool) -> list[RemoteJob]:
        """The jobs that were named, each once, checked and reachable.

        :raises InvalidInput: none or both ways were used, or a value can't name a job.
        """
        self._check_one_way()
        jobs = self._addressed() if self.remote_jobs is not None else self._identified(pool)
        pool.check(jobs)
        return list(dict.fromkeys(jobs))

    def check_literals(self) -> None:
        """Check what is known when the Dag is parsed; called when the constructor has set all parameters.

        :raises InvalidInput: a parameter, or two of them together, can't be right.
        """
        for name in self.flags:
            flag(name, getattr(self, name))
        if is_literal(self, self._ways()):
            self._check_one_way()
        if self._is_given("remote_jobs"):
            self._addressed()
        check_literal(self, texts, self.ids_param)
        if self._is_given(self.scope_param):
            self.scope()

    def _is_given(self, param: str | None) -> bool:
        value = getattr(self, param) if param else None
        return value is not None and is_literal(self, value)

    def _ways(self) -> list[Any]:
        """The parameters that name jobs, of which some exclude others."""
        return [self.remote_jobs, getattr(self, self.ids_param)]

    def _check_one_way(self) -> None:
        if self.remote_jobs is not None and getattr(self, self.ids_param) is not None:
            raise InvalidInput(f"Give either {self.ids_param} or remote_jobs, not both.")

    def scope(self) -> str | None:
        """The cluster or application given, for jobs that are named by their ids.

        :raises InvalidInput: none was given, or more than one.
        """
        return one_id(self.scope_param, getattr(self, self.scope_param)) if self.scope_param else None

    def _addressed(self) -> list[RemoteJob]:
        jobs = [RemoteJob(uri.strip()) for uri in texts("remote_jobs", _without_state(self.remote_jobs))]
        for job in jobs:
            if job.service != self.service_name:
                raise InvalidInput(f"{job} is a job of {job.service}; this task is for {self.service_name}.")
        return jobs

    def _identified(self, pool: ServicePool) -> list[RemoteJob]:
        wanted = texts(self.ids_param, getattr(self, self.ids_param))
        scope = self.scope()
        service = pool.service(self.service_name, *self.connection())
        return [service.address(job_id, scope) for job_id in wanted]


EMPTY_XCOM = "If it comes from XCom, the task that should have pushed it may have pushed nothing."
_ON_RECORD = "What a guarded task has started is in its XCom remote_jobs, also if it has failed."


def is_empty(value: Any) -> bool:
    """Whether a value is what an empty XCom or template leaves behind."""
    return value is None or (isinstance(value, str) and value.strip() in ("", "None", "null", "[]"))


def texts(param: str, value: Any) -> list[str]:
    """A list of texts from what people pass: one text, a list of them, or a list rendered by a template.

    Of a mapped task it is a sequence of what each of its instances has returned: lists, or records. It may
    stand in a list itself, beside the results of other tasks.

    :raises InvalidInput: nothing is named, or something that is not a text.
    """
    items = [*_flat(listed(value))]
    if is_empty(value) or not items:
        raise InvalidInput(f"{param} is {value!r}: it names no job. {EMPTY_XCOM} {_ON_RECORD}")
    for item in items:
        if not isinstance(item, str) or is_empty(item):
            raise InvalidInput(f"{param} holds {item!r}, which names no job. {EMPTY_XCOM} {_ON_RECORD}")
    return items


def _flat(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        is_one = isinstance(item, str) or not isinstance(item, Iterable)
        if is_one or (isinstance(item, Mapping) and not _names_jobs(item)):
            yield item
        else:
            yield from _flat(listed(item))


def _without_state(value: Any) -> Any:
    """The address alone of a pair: what a task gets that is mapped over what a cancel operator returned."""
    is_pair = isinstance(value, (list, tuple)) and len(value) == 2 and value[1] in tuple(JobState)
    return value[0] if is_pair else value


def one_id(param: str, value: Any) -> str:
    """The value, if it is one text with something in it.

    :raises InvalidInput: it is not.
    """
    if not isinstance(value, str) or is_empty(value):
        raise InvalidInput(f"{param} is {value!r}; it must be one id. {EMPTY_XCOM}")
    return value


def listed(value: Any) -> list[Any]:
    """The items of what people pass: one text, a list of them, or a list rendered by a template."""
    if isinstance(value, str):
        read = read_back(value)
        return [value.strip()] if isinstance(read, str) else listed(read)
    if isinstance(value, Mapping):
        if _is_record(value):
            return list(_jobs_on(value))
        return list(value) if _names_jobs(value) else [value]
    return list(value) if isinstance(value, Iterable) else [value]


def _names_jobs(value: Mapping[Any, Any]) -> bool:
    """Whether these are jobs with their states, or a record. Whatever else has keys that are no jobs."""
    return _is_record(value) or all(state in tuple(JobState) for state in value.values())


def _jobs_on(record: Mapping[Any, Any]) -> Iterator[Any]:
    """The jobs of a try, and those that it has taken over from earlier ones and not replaced."""
    yield from record["jobs"]
    others = record.get("earlier")
    for earlier in others if isinstance(others, list) else ():  # anybody may have written it
        if isinstance(earlier, Mapping) and _is_record(earlier):
            failed = _failed_on(earlier) if record["jobs"] else []
            yield from (job for job in _jobs_on(earlier) if job not in failed)


def _failed_on(record: Mapping[Any, Any]) -> list[Any]:
    """The jobs that have ended without success, as far as the record tells."""
    ends = record.get("ends")
    known = ends.items() if isinstance(ends, Mapping) else ()
    return [job for job, end in known if isinstance(end, Mapping) and end.get("state") != JobState.SUCCEEDED]


def _is_record(value: Mapping[Any, Any]) -> bool:
    """Whether this is what a try has left in XCom ``remote_jobs``."""
    return isinstance(value.get("jobs"), list) and "ti_id" in value


def read_back(value: Any) -> Any:
    """A list, a dict or a record that a template turned into text; whatever else it is, the same value."""
    if not isinstance(value, str) or not value.strip().startswith(("[", "(", "{")):
        return value
    for reads in (ast.literal_eval, json.loads):  # the latter for the filter ``tojson``
        try:
            read = reads(value.strip())
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        return read if isinstance(read, (list, tuple, dict, set)) else value
    return value


def is_literal(task: BaseOperator, value: Any) -> bool:
    """Whether a value is known when the Dag is parsed: no template, and nothing from another task."""
    if isinstance(value, str):
        return not _has_own_marks(task) and not any(mark in value for mark in ("{{", "{%", "{#"))
    if isinstance(value, Mapping):
        return is_literal(task, [*value.keys(), *value.values()])
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(is_literal(task, item) for item in value)
    return value is None or isinstance(value, (int, float))


def _has_own_marks(task: BaseOperator) -> bool:
    """Whether the task's Dag has its own marks of templates: then any text may be one."""
    environment = getattr(task.get_dag(), "jinja_environment_kwargs", None) or {}
    return any(name.endswith(("_string", "_prefix")) for name in environment)


def check_literal(task: BaseOperator, check: Callable[..., object], param: str, *rest: Any) -> None:
    """Check a parameter of a task when the Dag is parsed, if it is given and known by then.

    :raises InvalidInput: the check fails.
    """
    value = getattr(task, param)
    if value is not None and is_literal(task, value):
        check(param, value, *rest)


def text(param: str, value: Any) -> str:
    """The value, if it is text.

    :raises InvalidInput: it is not.
    """
    if not isinstance(value, str):
        raise InvalidInput(f"{param} is {value!r}; it must be text.")
    return value


def rendered_text(param: str, value: Any) -> str:
    """The value as text, also a number: a template of a Dag with native types makes one of a date.

    :raises InvalidInput: it is neither.
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return str(value) if is_number else text(param, value)


def flag(param: str, value: Any) -> bool:
    """The value, if it is True or False: any text is true, "False" and templates included.

    :raises InvalidInput: it is not.
    """
    if not isinstance(value, bool):
        raise InvalidInput(f"{param} is {value!r}; it must be True or False, and can't be templated.")
    return value


def one_of(param: str, value: str, choices: Iterable[str]) -> str:
    """The value, if it is one of the choices.

    :raises InvalidInput: it is not.
    """
    if value not in choices:
        raise InvalidInput(f"{param} is {value!r}; it must be one of {', '.join(choices)}.")
    return value


def number(param: str, value: Any) -> float:
    """A finite number above 0, also one that a template rendered to text.

    :raises InvalidInput: it is not.
    """
    try:
        read = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        read = nan
    if not 0 < read < inf:
        raise InvalidInput(f"{param} is {value!r}; it must be a number above 0.")
    return read


def whole_number(param: str, value: Any) -> int:
    """A whole number above 0, also one that a template rendered to text.

    :raises InvalidInput: it is not.
    """
    if not (read := number(param, value)).is_integer():
        raise InvalidInput(f"{param} is {value!r}; it must be a whole number above 0.")
    return int(read)
