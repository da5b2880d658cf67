"""The call that starts MRS jobs, and how their names carry a label. Imports no SDK."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.services.ratelimit import EVERY, Quotas
from airflow_cancel_provider.services.submissions import Submission

LONGEST_JOB_NAME = 64
JOB_TYPES = (
    "MapReduce",
    "SparkSubmit",
    "SparkPython",
    "HiveScript",
    "HiveSql",
    "DistCp",
    "SparkScript",
    "SparkSql",
    "Flink",
)
_NAME = re.compile(rf"[0-9A-Za-z_-]{{1,{LONGEST_JOB_NAME}}}", re.ASCII)
SUBMISSIONS = (Submission("mrs", "CreateExecuteJob", joint="-", longest_name=LONGEST_JOB_NAME),)


def check_job_name(param: str, name: object) -> None:
    """Check a job's name.

    :raises InvalidInput: MRS would not take it.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidInput(f"{param} {name!r} is not a name of MRS; expected {_NAME.pattern}.")


def argument_texts(param: str, arguments: object) -> list[str]:
    """A program's arguments; numbers, as templates may render them, become texts.

    :raises InvalidInput: they are one text, whose characters would be taken for arguments, or hold something
        else than texts and numbers. No value is repeated: it may be a secret.
    """
    if isinstance(arguments, str):
        raise InvalidInput(f"{param} is one text; expected a list of texts.")
    if not isinstance(arguments, Iterable):
        raise InvalidInput(f"{param} is {_kind(arguments)}; expected a list of texts.")
    given = [*arguments]
    for each in given:
        if not isinstance(each, (str, int, float)) or isinstance(each, bool):
            raise InvalidInput(f"{param} holds a value {_kind(each)}; expected a list of texts.")
    return [str(each) for each in given]


def property_texts(param: str, properties: object) -> dict[str, str]:
    """A program's settings; numbers, True and False become texts, as they are written in JSON.

    :raises InvalidInput: they are no dict, or hold something else. No value is repeated: it may be a secret.
    """
    if not isinstance(properties, Mapping):
        raise InvalidInput(f"{param} is {_kind(properties)}; expected a dict.")
    for name, value in properties.items():
        if not isinstance(name, str) or not isinstance(value, (str, int, float)):
            wrong = value if isinstance(name, str) else name
            raise InvalidInput(f"{param} holds a value {_kind(wrong)}; expected names with texts.")
    return {
        name: value if isinstance(value, str) else json.dumps(value) for name, value in properties.items()
    }


def _kind(value: object) -> str:
    return f"of type {type(value).__name__}"


QUOTAS: Quotas = {EVERY: (50, 20.0)}
"""MRS publishes none. Huawei's API gateway lets 200 requests a second pass; other services of it were seen to
throttle at about 70."""
